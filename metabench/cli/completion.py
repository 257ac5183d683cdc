"""TAB in a shell: the commands, their flags and choices; overrides are completed by Hydra."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import import_module

from metabench.cli.arguments import FlagsAskedError, Parser, split_config_dir
from metabench.cli.commands import WORDS
from metabench.config.catalog import GROUPS, entries, folders
from metabench.errors import UserError

OVERRIDES = ("tune",)  # commands whose words are overrides as of a run


def complete() -> bool:
    """Print what may follow the line in COMP_LINE; returns False where Hydra is to add its own."""
    line = os.environ["COMP_LINE"]
    given = line.split()[1:]
    current = "" if not given or line[-1:].isspace() else given.pop()
    try:
        words, config_dir = split_config_dir(given)
    except UserError:
        return True
    if not words:
        print("\n".join(word for word in WORDS if word.startswith(current)))
        return False
    if words[0] not in WORDS:
        return False
    if words[0] in OVERRIDES and not current.startswith("-"):
        os.environ["COMP_LINE"] = line.replace(f" {words[0]}", "", 1)
        return False
    print("\n".join(one for one in _choices(words, current, config_dir) if one.startswith(current)))
    return True


def _choices(words: list[str], current: str, config_dir: str | None) -> list[str]:
    """Words that may follow those of a command; none where it is a file or a folder, which the shell completes."""
    if current.startswith("-"):
        return _flags(words[0])
    if words[0] == "ls":
        return list(GROUPS)
    if words[0] == "validate":
        return list(entries("experiment", folders(config_dir)))
    if words == ["plot"]:
        from metabench.cli.commands.plot import KINDS

        return list(KINDS)
    return []


def _flags(word: str) -> list[str]:
    """The flags of a command, as its own parser has them."""
    Parser.asked = []
    try:
        with suppress(FlagsAskedError):
            import_module(f"metabench.cli.commands.{word}").main([])
        return Parser.asked
    finally:
        Parser.asked = None
