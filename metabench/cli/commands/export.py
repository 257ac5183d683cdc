"""`metabench export RUN -o FILE`: the chosen weights of a finished run as safetensors, with a card."""

from __future__ import annotations

from pathlib import Path

from metabench.cli.arguments import Parser
from metabench.cli.output import check_output
from metabench.errors import UserError


def main(arguments: list[str]) -> None:
    """Write the weights and the card, and print where they lie."""
    parser = Parser(
        prog="metabench export",
        description="Write the chosen weights of a finished run as safetensors, and a card of them beside: "
        "result, protocol, configuration (.json) and a page to read (.md).",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the directory of a finished run")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("model.safetensors"), help="model.safetensors by default"
    )
    options = parser.parse_args(arguments)
    from metabench.runs.export import export, files
    from metabench.runs.reader import RunReader

    if not options.run.is_dir():
        raise UserError(f"{options.run}: no such folder; give the directory of a finished run")
    check_output(*files(options.output))
    for path in export(RunReader(options.run), options.output):
        print(f"written to {path}")
