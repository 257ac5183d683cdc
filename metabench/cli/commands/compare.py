"""`metabench compare A B`: two runs, or two groups of seeds, over the same test tasks."""

from __future__ import annotations

from pathlib import Path

from metabench.cli.arguments import Parser


def main(arguments: list[str]) -> None:
    """Print how A stands to B."""
    parser = Parser(
        prog="metabench compare",
        description="A and B, each a run directory or a folder with the same run over several seeds, "
        "set against each other task by task.",
    )
    parser.add_argument("a", metavar="A", type=Path)
    parser.add_argument("b", metavar="B", type=Path)
    parser.add_argument(
        "--prediction", choices=("transductive", "inductive"), help="by default the one that the runs report first"
    )
    options = parser.parse_args(arguments)
    from metabench.report.compare import versus

    for line in versus(options.a, options.b, options.prediction):
        print(line)
