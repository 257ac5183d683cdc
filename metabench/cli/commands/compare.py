"""`metabench compare A B`: two runs, or two groups of seeds, over the same test tasks."""

from __future__ import annotations

from pathlib import Path

from metabench.cli.arguments import Parser


def main(arguments: list[str]) -> None:
    """Print how A stands to B."""
    parser = Parser(
        prog="metabench compare",
        description="Compare A with B on the same test tasks, task by task: how much better or worse A is, "
        "with its 95% interval, and p-values.",
    )
    side = "the directory of a run, or a folder of runs that differ only in the seed"
    parser.add_argument("a", metavar="A", type=Path, help=side)
    parser.add_argument("b", metavar="B", type=Path, help="the same, of what A is compared with")
    parser.add_argument(
        "--prediction", choices=("transductive", "inductive"), help="by default the one that the runs report first"
    )
    options = parser.parse_args(arguments)
    from metabench.report.compare import versus

    for line in versus(options.a, options.b, options.prediction):
        print(line)
