"""`metabench doctor`: is this machine fit to run? One line a check; exit code 1 if something is to be mended."""

from __future__ import annotations

import sys

from metabench.cli.arguments import Parser
from metabench.utils.console import open_console
from metabench.utils.exit import continued


def main(arguments: list[str]) -> None:
    """Print every check as it is made, and what to do where one finds a problem."""
    parser = Parser(
        prog="metabench doctor",
        description="Check versions, device, data, folders and compiler, and train for a few seconds.",
    )
    parser.parse_args(arguments)

    from metabench.doctor.checks import CHECKS, examine

    console, problems = open_console(), 0
    for check in CHECKS:
        with continued():
            finding = examine(check)
        problems += finding.mark == "problem"
        line = f"{finding.mark:<8} {check.__name__.replace('_', ' '):<12} {' '.join(finding.said.split())}"
        console.print(line)
    if problems:
        console.print(f"{problems} of {len(CHECKS)} checks found a problem")
        sys.exit(1)
