"""The content of every format: tables of cells, the reasons and rules under them, and the protocol cards.

Tables of papers come first, one for each, then boards, then exploratory runs: those of no experiment, and those of an
experiment that another run makes as it stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from metabench.report.cells import Cell, make_cells
from metabench.report.expected import Experiments
from metabench.report.verdict import DEFINITION, Kind
from metabench.report.wording import footnotes, intervals
from metabench.runs.reader import Skipped, find
from metabench.utils.files import DamagedError

DECIDED = (Kind.MATCHES, Kind.BETTER, Kind.WORSE, Kind.UNDECIDED)


class Part(StrEnum):
    """The parts of a report, in order."""

    PAPERS = "published tables"
    BOARDS = "boards"
    EXPLORATORY = "exploratory runs"


@dataclass(frozen=True)
class Table:
    """Cells of one paper's table, one board or one data set: rows by algorithm, columns by setting."""

    part: Part
    name: str  # of the paper or the board
    data: str
    columns: list[str]
    rows: dict[tuple[str, str], dict[str, Cell]]  # by row and variant, then by column

    @property
    def cells(self) -> list[Cell]:
        """All of them, by row."""
        return [row[column] for row in self.rows.values() for column in self.columns if column in row]

    @property
    def title(self) -> str:
        """The paper or board, the data and the metric."""
        metrics = dict.fromkeys(cell.metric for row in self.rows.values() for cell in row.values())
        return f"{f'{self.name}, ' if self.name else ''}{self.data}: {' and '.join(metrics)}"


@dataclass(frozen=True)
class Report:
    """The whole content of a report."""

    cells: list[Cell]
    tables: list[Table]
    marks: dict[str, str]  # of a protocol hash: the letter beside its figures
    apart: list[str]  # what was not averaged
    skipped: list[Skipped]

    def models(self, protocol: str) -> list[tuple[str, Cell]]:
        """The cells of a protocol by the runs they are of, and one cell of each."""
        names: dict[Any, list[Cell]] = {}
        for cell in self.cells:
            if cell.protocol == protocol:
                names.setdefault(tuple(run.path for run in cell.runs), []).append(cell)
        return [("; ".join(cell.name for cell in cells), cells[0]) for cells in names.values()]

    @property
    def reasons(self) -> list[str]:
        """Of every verdict that the numbers alone do not say, a line."""
        return [
            f"{cell.name}: {cell.verdict.kind}: {cell.verdict.reason}" for cell in self.cells if cell.verdict.reason
        ]

    @property
    def notes(self) -> list[str]:
        """Explanations of the tables, one line each: only of what they contain."""
        kinds = {cell.verdict.kind for cell in self.cells}
        rules = [f"{kind}: {text}" for kind, text in DEFINITION.items() if kind in kinds]
        return [*self.intervals, *rules, *self.footnotes]

    @property
    def intervals(self) -> list[str]:
        """The formula of each kind of interval in the tables."""
        return intervals(self.cells)

    @property
    def footnotes(self) -> list[str]:
        """The meaning of the marks at published values."""
        return footnotes(self.cells)

    def sections(self) -> list[tuple[str, list[str]]]:
        """The sections between the tables and the protocol cards: a title and lines; no empty ones."""
        every = {
            "how to read this": self.notes,
            "why": self.reasons,
            "not averaged": self.apart,
            "left out": self.skips,
        }
        return [(title, lines) for title, lines in every.items() if lines]

    @property
    def skips(self) -> list[str]:
        """The folders and files that were left out, each with the reason."""
        return [str(skip) for skip in self.skipped]


def make_report(folders: Iterable[Path], experiments: Experiments, without: Path | None = None) -> Report:
    """Every run below `folders` but for those in `without`, against what `experiments` ask for.

    Raises `UserError` for what is no folder.
    """
    found, skipped = find(folders, without=without)
    runs = []
    for run in found:
        try:
            if run.summary:
                runs.append(run)
        except DamagedError as fault:
            skipped.append(Skipped(run.path, str(fault)))
    cells, spare, apart = make_cells(runs, experiments)
    hashes = dict.fromkeys(cell.protocol for cell in cells)
    marks = {protocol: _letters(i) for i, protocol in enumerate(hashes)}
    return Report(cells, _tables(cells), marks, apart, [*skipped, *spare])


def _letters(number: int) -> str:
    """A, b, …, z, aa, ab, …, in lower case."""
    more, last = divmod(number, 26)
    return (_letters(more - 1) if more else "") + chr(ord("a") + last)


def _tables(cells: list[Cell]) -> list[Table]:
    decided = {_place(cell) for cell in cells if cell.verdict.kind in DECIDED}
    places: dict[tuple[Part, str, str], list[Cell]] = {}
    for cell in cells:
        part, name = _part(cell, decided)
        places.setdefault((part, name, cell.data), []).append(cell)
    tables = []
    for (part, name, data), found in sorted(places.items(), key=lambda item: (list(Part).index(item[0][0]), item[0])):
        for together in _parts(found) if part is Part.EXPLORATORY else [found]:
            rows: dict[tuple[str, str], dict[str, Cell]] = {}
            for cell in sorted(together, key=_by_result) if part is Part.BOARDS else together:
                rows.setdefault((cell.row, _variant(cell, part)), {})[cell.column] = cell
            tables.append(Table(part, name, data, sorted({cell.column for cell in together}, key=_natural), rows))
    return tables


def _place(cell: Cell) -> tuple[str, ...]:
    return (cell.paper.source if cell.paper else "", cell.data, cell.row, cell.column)


def _part(cell: Cell, decided: set[tuple[str, ...]]) -> tuple[Part, str]:
    """The part that a cell stands in, and the name of its paper or board there."""
    first = cell.runs[0].summary
    if cell.paper is not None and (cell.verdict.kind in DECIDED or _place(cell) not in decided):
        return Part.PAPERS, cell.paper.source
    if cell.paper is None and first.board and not first.changes:
        return Part.BOARDS, f"board {first.board}"
    return Part.EXPLORATORY, ""


def _variant(cell: Cell, part: Part) -> str:
    """A cell's variant, less what the title of its table says."""
    if part is Part.PAPERS and cell.paper is not None:
        return cell.variant.removeprefix(cell.paper.source).removeprefix(", ")
    return cell.variant


def _by_result(cell: Cell) -> float:
    """A key that sorts the best first."""
    return -cell.ours.mean if cell.metric == "accuracy" else cell.ours.mean


def _parts(cells: list[Cell]) -> list[list[Cell]]:
    """The cells of one data set, those that share no row and no column apart: a table of them would be mostly empty."""
    parts: list[list[Cell]] = []
    for cell in cells:
        joined = [part for part in parts if any(_share(cell, other) for other in part)]
        parts = [part for part in parts if part not in joined] + [[*(each for part in joined for each in part), cell]]
    return parts


def _share(a: Cell, b: Cell) -> bool:
    return a.column == b.column or (a.row, a.variant) == (b.row, b.variant)


def _natural(text: str) -> list[tuple[bool, int, str]]:
    """A key that sorts 5-way before 20-way."""
    import re

    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.findall(r"\d+|\D+", text)]
