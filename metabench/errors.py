"""What a user can get wrong, said in one line.

Every mistake of a user ends as a `UserError`: the command line prints its message alone and exits with its code. Any
other exception is a fault of the program and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MANY = 80  # names, more than anyone reads on one line


class UserError(Exception):
    """A mistake of the user or of their machine; the message is one line that says what to do."""

    exit_code = 2
    status = "failed"  # of the run that it ends


class ConfigError(UserError):
    """A value that cannot be used, named by its key."""

    def __init__(self, key: str, value: object, valid: str) -> None:
        super().__init__(f"{key}={format_value(value)}: {valid}")
        self.key = key


class DataError(UserError):
    """Data that is missing, damaged or partial."""

    exit_code = 1


class MissingDataError(DataError):
    """Data that is nowhere to be found."""


def format_value(value: object, limit: int = 200) -> str:
    """`value` as a user would type it, on one line."""
    text = "null" if value is None else " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def suggest(name: str, options: Iterable[str], what: str) -> str:
    """`what` is wrong with `name`, the nearest option, and all of them, or the nearer ones of many."""
    known = sorted(options)
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ";"
    listed = known if len(known) <= MANY else [*get_close_matches(name, known, n=8, cutoff=0), f"… {len(known)} in all"]
    return f"{what}{hint} valid: {', '.join(listed) or 'none'}"


def last_line(fault: BaseException) -> str:
    """The last line of a fault of many: torch lists what does not fit, a worker's traceback ends with what it is."""
    return str(fault).strip().split("\n")[-1].strip()
