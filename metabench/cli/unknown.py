"""A first word that is no command, and files of a user that nothing reads: said with what was probably meant."""

from __future__ import annotations

import sys

from metabench.cli.commands import WORDS
from metabench.config.catalog import GROUPS, entries, folders, ignored, user_folder
from metabench.errors import suggest
from metabench.utils.distributed import silent

MOST = 3  # files that a warning names


def unknown_command(word: str, config_dir: str | None) -> str:
    """The error message for a first word that is neither a command nor KEY=VALUE."""
    for group in GROUPS:
        if word in entries(group, folders(config_dir)):
            return f"{word}: no such command; did you mean {group}={word}? see metabench --help"
    return f"{word}: {suggest(word, WORDS, 'no such command')}; or KEY=VALUE: see metabench --help"


def say_ignored(config_dir: str) -> None:
    """Say on stderr which files of `--config-dir` end in .yml; raises `UserError` for a folder that cannot be read."""
    found = ignored(user_folder(config_dir))
    if found and not silent():
        named = ", ".join(map(str, found[:MOST])) + (f" and {len(found) - MOST} more" if len(found) > MOST else "")
        print(f"metabench: warning: {named}: not read; configs end in .yaml", file=sys.stderr)
