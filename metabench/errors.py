"""User errors, each reported in one line.

The command line prints the message of a `UserError` alone and exits with its code. Any other exception is a bug and
keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

MANY = 80  # names; longer lists are shortened


class UserError(Exception):
    """A problem that the user can fix; the message is one line that says how."""

    exit_code = 2
    status = "failed"  # of the run it ends

    def _render_traceback_(self) -> list[str]:
        """Lines that a notebook shows: the message alone."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(UserError):
    """An invalid configuration value; the message is `key=value: valid`."""

    def __init__(self, key: str, value: object, valid: str) -> None:
        super().__init__(f"{key}={format_value(value)}: {valid}")
        self.key = key


class UnreadTasksError(ConfigError):
    """Tasks that a method does not read at all, whatever its settings; a sweep skips such a job."""

    status = "skipped"


class UnfitBackboneError(ConfigError):
    """A backbone that a method cannot use on such data."""


class BusyError(UserError):
    """A run that another process writes."""


class DataError(UserError):
    """Missing, damaged or incomplete data."""

    exit_code = 1


class MissingDataError(DataError):
    """Data that was not found."""


def format_value(value: object, limit: int = 200) -> str:
    """`value` as a user would type it, on one line of at most `limit` characters."""
    text = "null" if value is None else " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


@contextmanager
def system_refusals() -> Iterator[None]:
    """Turn what the system refuses about a path into a `DataError` of one line: the path and the reason."""
    try:
        yield
    except OSError as fault:
        if fault.filename is None:
            raise
        paths = [str(path) for path in (fault.filename, fault.filename2) if path is not None]
        raise DataError(": ".join([*paths, fault.strerror or str(fault)])) from fault


def suggest(name: str, options: Iterable[str], what: str) -> str:
    """An error message: `what` is wrong, the closest option to `name`, and all options, or the closest of many."""
    known = sorted(options)
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ";"
    listed = known if len(known) <= MANY else [*get_close_matches(name, known, n=8, cutoff=0), f"… {len(known)} in all"]
    return f"{what}{hint} valid: {', '.join(listed) or 'none'}"


def last_line(fault: BaseException) -> str:
    """The last line of an exception's message, which in torch's lists and workers' tracebacks names the error."""
    return str(fault).strip().split("\n")[-1].strip()
