"""`metabench leaderboard`: every method on one test after one training budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metabench.cli.arguments import Parser
from metabench.errors import UserError, suggest
from metabench.report.formats import SUFFIXES
from metabench.utils.exit import leave

if TYPE_CHECKING:
    from metabench.report.leaderboard import Board

BOARDS = ("omniglot", "sinusoid")


def main(arguments: list[str]) -> None:
    """Print the boards, or write them."""
    parser = Parser(
        prog="metabench leaderboard",
        description="The finished runs of bench=NAME below some folders: a row per method, with its results, rank, the "
        "methods that it cannot be told apart from, and cost. What is of another test or budget is left out and named.",
    )
    parser.add_argument("folder", nargs="*", type=Path, metavar="DIR", help="outputs by default")
    parser.add_argument("--board", choices=BOARDS, help="by default every board that has runs")
    parser.add_argument("--prediction", choices=("inductive", "transductive"), default="inductive")
    parser.add_argument("--format", help=f"{', '.join(SUFFIXES.values())}; that of FILE's name, else the terminal's")
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="write there; pictures of FILE.md beside it")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write the pictures there")
    parser.add_argument(
        "--picture-format", choices=("svg", "pdf", "png"), default="svg", help="of these files; png has 300 dpi"
    )
    options = parser.parse_args(arguments)
    try:
        _leaderboard(
            options.folder or [Path("outputs")], options.board, options.prediction, options.format, options.output,
            options.pictures, options.picture_format,
        )  # fmt: skip
    except UserError as fault:
        leave(str(fault), fault.exit_code)


def _leaderboard(
    folders: list[Path], board: str | None, prediction: str, kind: str | None, output: Path | None,
    folder: Path | None, picture_format: str,
) -> None:  # fmt: skip
    if kind is not None and kind not in SUFFIXES.values():
        raise UserError(f"--format={kind}: {suggest(kind, SUFFIXES.values(), 'no such format')}")
    if output is not None and kind is None and output.suffix not in SUFFIXES:
        raise UserError(f"--output={output}: {suggest(output.suffix, SUFFIXES, 'says no format; --format does')}")
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UserError(f"--pictures={folder}: is not a folder")
    from metabench.report.leaderboard import make_boards

    boards = make_boards(folders, board, prediction)
    kind = kind or (SUFFIXES[output.suffix] if output else None)
    from metabench.report import leaderboard_formats as formats

    if folder is None and kind == "md" and output is not None:
        folder = output.with_suffix("")
    shown: dict[str, dict[str, str]] = {}
    if kind == "html":
        from metabench.report.leaderboard_pictures import pictures

        shown = {each.name: pictures(each) for each in boards}
    if folder is not None:
        paths = _write(boards, folder, f".{picture_format}", output.parent if output else None)
        shown = paths if kind == "md" else shown
    if kind is None:
        from metabench.utils.console import open_console

        formats.show(boards, open_console())
        return
    text = formats.WRITERS[kind](boards, shown)
    if output is None:
        print(text, end="")
    else:
        from metabench.utils.files import write_bytes

        write_bytes(output, text.encode())
        print(f"written to {output}")


def _write(boards: Sequence[Board], folder: Path, suffix: str, beside: Path | None) -> dict[str, dict[str, str]]:
    """Write every picture; their paths, by board and title, from the folder `beside`."""
    import os

    from metabench.report.leaderboard_pictures import as_file, figures
    from metabench.utils.files import write_bytes

    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, dict[str, str]] = {}
    for board in boards:
        for title, figure in figures(board).items():
            file = folder / f"{board.name}_{'cost' if 'cost' in title else 'ranks'}{suffix}"
            write_bytes(file, as_file(figure, title, suffix))
            paths.setdefault(board.name, {})[title] = Path(os.path.relpath(file, beside or Path())).as_posix()
    return paths
