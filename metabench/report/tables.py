"""The content of every format: tables of cells, the reasons and rules under them, and the protocol cards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metabench.config.schema import FOOTNOTE
from metabench.report.cells import Cell, make_cells
from metabench.report.expected import Experiments
from metabench.report.verdict import DEFINITION, METHOD, Kind
from metabench.runs.reader import Skipped, find
from metabench.runs.untrusted import clean_text
from metabench.utils.console import format_metric, inline
from metabench.utils.files import DamagedError

MOST = 5  # values of different seeds that a card shows


@dataclass(frozen=True)
class Table:
    """Cells of one data set: rows by algorithm, columns by setting."""

    data: str
    columns: list[str]
    rows: dict[tuple[str, str], dict[str, Cell]]  # by row and variant, then by column

    @property
    def title(self) -> str:
        """The data and the metric."""
        metrics = dict.fromkeys(cell.metric for row in self.rows.values() for cell in row.values())
        return f"{self.data}: {' and '.join(metrics)}"


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
        kinds = {cell.ours.over for cell in self.cells}
        return [f"± is a 95% interval of the mean {text}" for kind, text in METHOD.items() if kind in kinds]

    @property
    def footnotes(self) -> list[str]:
        """The meaning of the marks at published values."""
        return [FOOTNOTE] if any(cell.paper is not None and cell.paper.mark for cell in self.cells) else []

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


def make_report(folders: Iterable[Path], experiments: Experiments) -> Report:
    """Every run below `folders`, against what `experiments` ask for; raises `UserError` for what is no folder."""
    found, skipped = find(folders)
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
    tables = []
    for data in dict.fromkeys(cell.data for cell in cells):
        for part in _parts([cell for cell in cells if cell.data == data]):
            rows: dict[tuple[str, str], dict[str, Cell]] = {}
            for cell in part:
                rows.setdefault((cell.row, cell.variant), {})[cell.column] = cell
            tables.append(Table(data, sorted({cell.column for cell in part}, key=_natural), rows))
    return tables


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


# ---- a cell in words


def ours(cell: Cell) -> str:
    """Our result with its interval; of two seeds the result of each."""
    if cell.ours.over == "each seed":
        return " and ".join(format_metric(cell.metric, one.mean, one.ci95) for _, one in cell.by_seed)
    return format_metric(cell.metric, cell.ours.mean, cell.ours.ci95)


def paper(cell: Cell) -> str | None:
    """The published one, with a dagger where it is from memory, and what else it takes to read it."""
    if cell.paper is None:
        return None
    spread = None if cell.paper.spread is None else f"s = {format_metric(cell.metric, cell.paper.spread)}"
    more = "; ".join(filter(None, (spread, cell.paper.note)))
    value = format_metric(cell.paper.metric, cell.paper.value, cell.paper.ci95)
    return f"{value}{cell.paper.mark}{f' ({more})' if more else ''}"


def difference(cell: Cell) -> str | None:
    """Ours less the paper's, with its sign."""
    if cell.difference is None:
        return None
    text = format_metric(cell.metric, abs(cell.difference)).removesuffix("%")
    return ("−" if cell.difference < 0 else "+") + text


def count(cell: Cell) -> str:
    """The seeds and tasks that the interval is over: × where they are crossed, + where they are added in squares."""
    seeds, tasks = f"{cell.ours.seeds} seed{'s' if cell.ours.seeds > 1 else ''}", f"{cell.ours.tasks:,} tasks"
    joined = {"seeds and tasks": f"{seeds} × {tasks}", "seeds plus tasks": f"{seeds} + {tasks}"}
    return joined.get(cell.ours.over, f"{seeds}, {tasks}")


# ---- where the numbers come from


def test_card(cell: Cell) -> dict[str, str]:
    """The protocol in words: all that two numbers must share to be compared."""
    return {key: inline(value) for key, value in cell.card.items()}


def origin(cell: Cell) -> dict[str, str]:
    """All else that decides the number: training, versions, machine, commit, command; each value where seeds differ."""
    summaries = [run.summary for run, _ in cell.by_seed]
    first = summaries[0]
    training = {key: value for key, value in first.protocol.training.items() if key != "seed" and value is not None}
    found = {
        "shown": f"{cell.prediction} predictions, interval over {_interval(cell)}",
        "experiment": _each(s.experiment or "none" for s in summaries),
        "budget": _each(s.budget for s in summaries),
        "published": _source(cell),
        "training": inline(training),
        "seeds": ", ".join(str(s.protocol.training["seed"]) for s in summaries),
        "meta-training": _each(f"{s.train.seconds:,.0f} s" for s in summaries),
        "versions": _each(", ".join(f"{k} {v}" for k, v in s.environment.versions.items()) for s in summaries),
        "device": _each(s.environment.device for s in summaries),
        "commit": _each(s.environment.git or "not known" for s in summaries),
        "command": _each(s.environment.command for s in summaries),
        "folder": _each(clean_text(run.path.as_posix()) for run in cell.runs),
    }
    return {key: value for key, value in found.items() if value}


def _interval(cell: Cell) -> str:
    seeds, tasks = cell.ours.seeds, f"{cell.ours.tasks:,} tasks"
    return {
        "tasks": tasks,
        "each seed": f"{tasks} for each seed",
        "seeds and tasks": f"{seeds} seeds and {tasks}, crossed",
        "seeds plus tasks": f"{seeds} seeds and {tasks}, added in squares",
    }[cell.ours.over]


def _source(cell: Cell) -> str:
    if cell.paper is None:
        return ""
    arxiv = f", arXiv {cell.paper.arxiv}" if cell.paper.arxiv else ""
    seen = f" ({cell.paper.verified})" if cell.paper.verified else ""
    return f"{paper(cell)}, {cell.paper.source}{arxiv}{seen}; {cell.paper.prediction or 'prediction not stated'}"


def _each(values: Iterable[str]) -> str:
    """Each value once; of many the first."""
    found = list(dict.fromkeys(values))
    return " | ".join(found if len(found) <= MOST else [*found[: MOST - 1], f"… {len(found)} in all"])


def verdict_word(cell: Cell) -> str:
    """The verdict, or nothing where nothing is published."""
    return "" if cell.verdict.kind is Kind.NONE else str(cell.verdict.kind)
