"""The command line: a few reserved first words, everything else is Hydra.

Help, lists and completion answer at once: Hydra is imported only to compose, torch only to run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from metabench import __version__


def main() -> None:
    """Entry point of `metabench`; ends the process with 0, 1 (failed), 2 (bad input), 3 (not finite) or 128 + signal."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["ls"]:
        from metabench.listing import ls

        sys.exit(ls(arguments[1:]))
    if "--version" in arguments:
        print(f"metabench {__version__}")
    elif {"--help", "-h"} & set(arguments):
        from metabench.usage import page

        print(page(), end="")
    else:
        sys.path.append(str(Path.cwd()))  # a user's own package, named by a `_target_`; installed ones come first
        os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra's errors through: they are said in one line, by us
        from metabench.job import hydra_main

        hydra_main()
