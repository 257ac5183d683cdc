"""`metabench report`: the runs of some folders as tables beside the published figures."""

from __future__ import annotations

from pathlib import Path

from metabench.cli.arguments import Parser
from metabench.cli.output import emit, pick_format
from metabench.errors import UserError
from metabench.report.formats import FORMATS, SUFFIXES, writer
from metabench.utils.exit import leave


def main(arguments: list[str]) -> None:
    """Print the report, or write it."""
    parser = Parser(
        prog="metabench report",
        description="All runs below some folders in tables beside the published values, with verdicts and protocols.",
    )
    parser.add_argument(
        "folder",
        nargs="*",
        type=Path,
        help="by default outputs without the recorded runs in outputs/reference; "
        "links are followed, hidden folders are not entered",
    )
    parser.add_argument("--full", action="store_true", help="on the terminal: reasons, protocols and provenance too")
    parser.add_argument(
        "--format",
        help=f"{', '.join(FORMATS)}; csv: one row per cell; runs: one row per run. Default: by FILE's suffix, else "
        "terminal tables",
    )
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="write there, not to the terminal")
    parser.take_config_dir()
    options = parser.parse_args(arguments)
    parser.check_config_dir(options)
    _report(options.folder, options.format, options.output, options.config_dir, options.full)


def _report(folders: list[Path], kind: str | None, output: Path | None, config_dir: str | None, full: bool) -> None:
    kind = pick_format(kind, output, SUFFIXES, FORMATS)
    from metabench.report.expected import Experiments
    from metabench.report.tables import make_report
    from metabench.runs.reader import APART, OUTPUTS, recorded_apart

    without, folders = recorded_apart(folders), folders or [OUTPUTS]
    report = make_report(folders, Experiments(config_dir), without)
    if not report.cells and not report.skipped:
        raise UserError(f"{', '.join(map(str, folders))}: holds no run, which is a folder with a summary.json")
    if kind is None:
        from metabench.report.terminal import show
        from metabench.utils.console import open_console

        console = open_console()
        show(report, console, full=full)
        if without is not None:
            console.print(APART)
    else:
        emit(writer(kind)(report), output)
    if not report.cells:
        first, *more = report.skipped
        others = f"; and {len(more)} more" if more else ""
        leave(f"none of these runs can be read: {first}{others}", 1)
