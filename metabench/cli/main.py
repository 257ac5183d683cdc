"""The command line: a few reserved first words, everything else is Hydra.

Help, lists and completion answer at once: Hydra is imported only to compose, torch only to run.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

from metabench import __version__
from metabench.cli.commands import WORDS
from metabench.utils.exit import leave


def main() -> None:
    """Entry point; exits with 0, 1 (failed), 2 (bad input), 3 (not finite), 4 (out of memory) or 128 + signal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal or a log without ± is no reason to fail
    try:
        _dispatch(sys.argv[1:])
    except KeyboardInterrupt:
        leave("stopped", 130)


def _dispatch(arguments: list[str]) -> None:
    if arguments and arguments[0] in WORDS:
        import_module(f"metabench.cli.commands.{arguments[0]}").main(arguments[1:])
    elif "--version" in arguments:
        print(f"metabench {__version__}")
    elif {"--help", "-h"} & set(arguments):
        from metabench.cli.help import page

        print(page(arguments), end="")
    else:
        sys.path.append(str(Path.cwd()))  # a user's own package, named by a `_target_`; installed ones come first
        os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra's errors through: they are said in one line, by us
        # Threads that wait for each other should soon sleep. With one other busy process on two cores GNU OpenMP's own
        # count made a convolutional meta-step take 7 s; this one 0.6 s, and on an idle machine the same 0.17 s.
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
        sys.argv[1:] = sorted(arguments, key=_is_override)  # Hydra's parser takes overrides on one side of a flag only
        from metabench.cli.app import COMMAND, hydra_main

        os.environ[COMMAND] = " ".join(arguments)
        hydra_main()


def _is_override(word: str) -> bool:
    return not word.startswith(("-", "~/")) and ("=" in word or word.startswith("~"))
