"""Arguments: those of a reserved word, where what is wrong with them is one line and exit code 2; flags of Hydra."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from metabench.config.catalog import user_folder
from metabench.errors import UserError
from metabench.utils.exit import leave

# Flags of Hydra's whose value may be the next word, and one whose value may be left out.
WITH_VALUE = ("--config-path", "--config-name", "--config-dir", "--cfg", "--package", "--experimental-rerun", "--info")
SHORT = ("-cp", "-cn", "-cd", "-c", "-p", "-i")


def flags_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with overrides last: Hydra's parser takes overrides on one side of a flag only."""
    flags: list[str] = []
    overrides: list[str] = []
    words = iter(arguments)
    for word in words:
        if _is_override(word):
            overrides.append(word)
            continue
        flags.append(word)
        if word in SHORT or (len(word) > 2 and any(flag.startswith(word) for flag in WITH_VALUE)):
            value = next(words, None)
            optional = word == "-i" or (word.startswith("--i") and "--info".startswith(word))
            if value is not None:
                (overrides if optional and _is_override(value) else flags).append(value)
    return [*flags, *overrides]


def split_config_dir(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """The arguments without `--config-dir FOLDER`, wherever it stands, and the folder; a flag without one is left.

    Raises `UserError` where it is given twice.
    """
    rest: list[str] = []
    found: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag not in ("-cd", "--config-dir") and not (flag > "--config-" and "--config-dir".startswith(flag)):
            rest.append(word)
        elif equals:
            found.append(value)
        else:
            given = next(words, None)
            (rest.append(word) if given is None else found.append(given))
    if len(found) > 1:
        raise UserError(f"--config-dir: is given twice, {found[0]} and {found[1]}; put the configs in one folder")
    return rest, found[0] if found else None


def _is_override(word: str) -> bool:
    return not word.startswith(("-", "~/")) and ("=" in word or word.startswith("~"))


def working_directory() -> Path:
    """The working directory; ends the process where there is none any more, or it cannot be entered."""
    try:
        found = Path.cwd()
        os.stat(".")  # noqa: PTH116 -- one that was removed may still have a name
    except OSError as fault:
        named = os.environ.get("PWD", ".")
        leave(f"{named}: the working directory cannot be read: {fault.strerror}; cd to another one", 1)
    return found


def find_own_packages() -> None:
    """Let a `_target_` name a package of the user in the working directory; installed packages come first."""
    sys.path.append(str(working_directory()))


class FlagsAskedError(Exception):
    """Raised in place of parsing where TAB asks which flags there are."""


class Parser(ArgumentParser):
    """argparse's, without its page of usage."""

    asked: list[str] | None = None
    """Where TAB asks: the flags are put there, and nothing is parsed."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The options; raises `FlagsAskedError` where only the flags were asked for."""
        if Parser.asked is not None:
            Parser.asked += self._flags()
            raise FlagsAskedError
        return super().parse_args(args, namespace)

    def _flags(self) -> list[str]:
        """The flags, and those of the parsers of its first word."""
        found = [flag for action in self._actions for flag in action.option_strings]
        inner = [action.choices.values() for action in self._actions if isinstance(action, _SubParsersAction)]
        return [*dict.fromkeys([*found, *(flag for parsers in inner for one in parsers for flag in one._flags())])]

    def error(self, message: str) -> NoReturn:
        """End the process with `message`."""
        leave(message, 2)

    def take_config_dir(self) -> None:
        """Take a folder with configs of one's own."""
        self.add_argument("--config-dir", "-cd", help="a folder with configs of your own")

    def check_config_dir(self, options: Namespace) -> None:
        """End the process if there is no such folder, or it cannot be read."""
        try:
            if options.config_dir:
                user_folder(options.config_dir)
        except UserError as fault:
            self.error(str(fault))
