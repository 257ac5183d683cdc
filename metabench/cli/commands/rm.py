"""`metabench rm RUN…`: remove runs, or the checkpoints of finished ones that nothing needs."""

from __future__ import annotations

import sys
from pathlib import Path

from metabench.cli.arguments import Parser
from metabench.errors import UserError
from metabench.utils.exit import leave
from metabench.utils.paths import expanded


def main(arguments: list[str]) -> None:
    """Ask and remove; exits with 0, 1 (answered no) or 2 (not a run, or one that is being written)."""
    parser = Parser(
        prog="metabench rm",
        description="Remove runs: their own files alone, after a question. A run that is being written is refused.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the directory of a run")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    parser.add_argument(
        "--checkpoints", action="store_true",
        help="of finished runs, remove the checkpoints but for the chosen weights (best.pt); keep all else",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    _remove([expanded(run) for run in options.runs], options.checkpoints, options.yes)


def _remove(paths: list[Path], checkpoints: bool, sure: bool) -> None:
    from metabench.runs.listing import row_of, size_text
    from metabench.runs.reader import RunReader
    from metabench.runs.removal import check_free, check_prunable, check_run, prune_checkpoints, remove_run

    paths = list({path.absolute(): path for path in paths}.values())
    for path in paths:  # all of them, before anything is removed
        check_run(path)
        if checkpoints:
            check_prunable(path)
        check_free(path)
    for path in paths:
        row = row_of(RunReader(path))
        print(f"{row.path}  {row.status}, {size_text(row.size)}")
    what, runs = "all checkpoints but best.pt" if checkpoints else "all", f"{len(paths)} run{'s' * (len(paths) != 1)}"
    if not sure:
        _ask(f"remove {what} of {runs}? [y/N] ")
    if checkpoints:
        freed = sum(prune_checkpoints(path) for path in paths)
        print(f"removed {what} of {runs}: {size_text(freed)}")
        return
    for path in paths:
        if left := remove_run(path):
            print(f"{path}: left, for it holds more than the run: {', '.join(left)}")
    print(f"removed {runs}")


def _ask(question: str) -> None:
    """Return for a yes; end the process otherwise."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UserError("rm asks first, and there is no terminal to answer; --yes does not ask")
    try:
        answer = input(question)
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        leave("nothing was removed", 1)
