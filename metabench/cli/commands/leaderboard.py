"""`metabench leaderboard`: every method on one test after one training budget."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metabench.board.columns import BOARDS, SHIFT
from metabench.cli.arguments import Parser
from metabench.cli.output import emit, pick_format
from metabench.errors import UserError
from metabench.report.formats import SUFFIXES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from metabench.board.formats import Sheet


def main(arguments: list[str]) -> None:
    """Print the boards, or write them."""
    parser = Parser(
        prog="metabench leaderboard",
        description="The finished runs of bench=NAME below some folders: a row per method, with its results, rank, "
        "the methods that it cannot be told apart from, and cost. "
        "Runs with another test or budget are left out and listed.",
    )
    parser.add_argument("folder", nargs="*", type=Path, metavar="DIR", help="outputs by default")
    parser.add_argument("--board", choices=BOARDS, help="by default every board that has runs")
    parser.add_argument("--suite", choices=(SHIFT,), help="the loss of each method under the tests of this suite")
    parser.add_argument("--prediction", choices=("inductive", "transductive"), default="inductive")
    parser.add_argument("--format", help=f"{', '.join(SUFFIXES.values())}; that of FILE's name, else the terminal's")
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="write there; pictures of FILE.md beside it")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write the pictures there")
    parser.add_argument(
        "--picture-format", choices=("svg", "pdf", "png"), default="svg", help="of these files; png has 300 dpi"
    )
    options = parser.parse_args(arguments)
    kind, pictures = pick_format(options.format, options.output, SUFFIXES), options.pictures
    if pictures is not None and pictures.exists() and not pictures.is_dir():
        raise UserError(f"--pictures={pictures}: is not a folder")
    view = _shifts if options.suite else _boards
    _write(view(options.folder or [Path("outputs")], options.board, options.prediction), kind, options)


@dataclass(frozen=True)
class View:
    """Tables to show, and functions that make the pictures and the records of them."""

    name: str
    heading: Sequence[str]
    sheets: Sequence[Sheet]
    figures: Callable[[], dict[str, dict[str, Figure]]]  # by board and title
    json: Callable[[], str]
    csv: Callable[[], str]


def _boards(folders: list[Path], board: str | None, prediction: str) -> View:
    from metabench.board import formats
    from metabench.board.leaderboard import make_boards

    boards = make_boards(folders, board, prediction)

    def draw() -> dict[str, dict[str, Figure]]:
        from metabench.board.pictures import figures

        return {each.name: figures(each) for each in boards}

    return View(
        "leaderboard", formats.HEADING, [formats.sheet(each) for each in boards], draw,
        lambda: formats.as_json(boards), lambda: formats.as_csv(boards),
    )  # fmt: skip


def _shifts(folders: list[Path], board: str | None, prediction: str) -> View:
    from metabench.board import shift_formats as formats
    from metabench.board.shift import make_shifts

    shifts = make_shifts(folders, board, prediction)

    def draw() -> dict[str, dict[str, Figure]]:
        from metabench.board.shift_pictures import figures

        return {each.board.name: figures(each) for each in shifts}

    return View(
        "task shift", formats.HEADING, [formats.sheet(each) for each in shifts], draw,
        lambda: formats.as_json(shifts), lambda: formats.as_csv(shifts),
    )  # fmt: skip


def _write(view: View, kind: str | None, options: argparse.Namespace) -> None:
    from metabench.board import formats
    from metabench.board.pictures import as_element

    output, folder = options.output, options.pictures
    if folder is None and kind == "md" and output is not None:
        folder = output.with_suffix("")
    figures = view.figures() if folder is not None or kind == "html" else {}
    shown = figures if kind == "html" else {}
    drawn = {name: {title: as_element(f, title) for title, f in found.items()} for name, found in shown.items()}
    links: dict[str, dict[str, str]] = {}
    if folder is not None:
        links = _write_pictures(figures, folder, f".{options.picture_format}", output.parent if output else None)
    if kind is None:
        from metabench.utils.console import open_console

        formats.show(view.sheets, open_console(), options.prediction)
        return
    writers = {
        "md": lambda: formats.as_md(view.sheets, links, view.heading),
        "latex": lambda: formats.as_latex(view.sheets),
        "html": lambda: formats.as_html(view.sheets, drawn, links, view.name),
        "json": view.json,
        "csv": view.csv,
    }
    emit(writers[kind](), output)


def _write_pictures(
    figures: dict[str, dict[str, Figure]], folder: Path, suffix: str, beside: Path | None
) -> dict[str, dict[str, str]]:
    """Write every picture; their paths, by board and title, from the folder `beside`."""
    import os

    from metabench.board.pictures import as_file
    from metabench.utils.files import write_bytes

    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, dict[str, str]] = {}
    for board, found in figures.items():
        for title, figure in found.items():
            kind = next((kind for kind in ("cost", "shift") if kind in title), "ranks")
            file = folder / f"{board}_{kind}{suffix}"
            write_bytes(file, as_file(figure, title, suffix))
            paths.setdefault(board, {})[title] = Path(os.path.relpath(file, beside or Path())).as_posix()
    return paths
