"""Task shift on a board: what each test of `suite=shift` costs a method, paired over the same test tasks.

A test is set against the run's own test, or against another test of the suite that differs from it in the shift alone
(`wrong_labels` of five shots against `shots5`). Task i of both has the same key; where sizes or data differ, the tasks
share no more than that, and the interval is as wide as that of two independent tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from metabench.board.columns import COLUMNS, SHIFT
from metabench.board.eligible import tests_below
from metabench.board.leaderboard import Board, make_boards
from metabench.board.row import Row
from metabench.config.compose import compose_plain
from metabench.errors import UserError
from metabench.report.cells import figure_of, over_seeds
from metabench.report.verdict import Figure
from metabench.runs.reader import RunReader, Skipped, read_refused
from metabench.runs.run_id import flat
from metabench.runs.summary import OF_MODES
from metabench.utils.files import DamagedError
from metabench.utils.interval import FEWEST, crossed, half_width

HOME = "home"
NOT_OF_SIZE = (*OF_MODES, "data.shift", "episodes", "data.classes")  # of the card: not which tasks these are


@dataclass(frozen=True)
class Loss:
    """The cost of a shift to a method: accuracy lost, or error gained; less than 0: an improvement."""

    against: str  # the test it is set against: the home test, or another of the suite
    mean: float  # the result under the shift
    loss: Figure


@dataclass(frozen=True)
class Shifted:
    """The rows of a board with the losses of each, by the name of the test."""

    board: Board
    names: Sequence[str]  # of tests that some method has, in the order of the suite
    losses: Mapping[str, Mapping[str, Loss]]  # by the row's name
    refused: Mapping[str, Mapping[str, str]]  # why a method cannot have a test
    left_out: list[Skipped] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        """The rows that were tested under the suite, and not by the board's own tests alone."""
        own = {column.test for column in self.board.columns}
        return [row for row in self.board.rows if self.losses.get(row.name, {}).keys() - own]

    @property
    def against(self) -> dict[str, str]:
        """The test that each is set against, where that is not the home test."""
        found = {name: loss.against for losses in self.losses.values() for name, loss in losses.items()}
        return {name: found[name] for name in self.names if found.get(name, HOME) != HOME}


def make_shifts(folders: Sequence[Path], board: str | None, prediction: str) -> list[Shifted]:
    """The shifts of the boards below `folders`; raises `UserError` where no run was tested under them."""
    suites = {name: list(compose_plain(f"suite={SHIFT}/{name}")["tests"]) for name in COLUMNS if board in (None, name)}
    boards = make_boards(folders, board, prediction, suites)
    made = [shifted for each in boards if (shifted := _make(each, suites[each.name])).rows]
    if not made:
        where = ", ".join(map(str, folders))
        raise UserError(f"{where}: no run of a board was tested under shifts; metabench test RUN suite={SHIFT} does it")
    return made


def _make(board: Board, names: Sequence[str]) -> Shifted:
    losses: dict[str, dict[str, Loss]] = {}
    refused: dict[str, dict[str, str]] = {}
    left_out = list(board.left_out)
    rows = [_complete(board, row, names) for row in board.rows]
    for row in rows:
        refused[row.name] = _refused(board, row, names)
        for name in names:
            found = _tests(board, row, name)
            if not found or name in refused[row.name]:
                continue
            try:
                losses.setdefault(row.name, {})[name] = _loss(board, row, name, found, names)
            except (DamagedError, KeyError) as fault:
                left_out.append(Skipped(found[0][1].path, f"{fault}; not set against the home test"))
    there = [name for name in names if any(name in found for found in losses.values())]
    return Shifted(replace(board, rows=rows), there, losses, refused, left_out)


def _complete(board: Board, row: Row, names: Sequence[str]) -> Row:
    """The row of the seeds that have the most tests, so that all its numbers are of the same models.

    A test that was tried and has no result counts: the seeds that came through are no method.
    """
    counts = [len({*names} & {*tests_below(board.tests, run), *read_refused(run.path)}) for run in row.runs]
    runs = tuple(run for run, count in zip(row.runs, counts, strict=True) if count == max(counts))
    home = [figure_of(run, board.prediction, None) for run in runs]
    found = tuple(figure for figure in home if figure is not None)
    title = board.columns[0].title
    cells = {title: over_seeds(runs, found, board.prediction)} if len(found) == len(runs) else {}
    return replace(row, runs=runs, cells=cells)


def _refused(board: Board, row: Row, names: Sequence[str]) -> dict[str, str]:
    """Why a method has no result of a test, by name: it has none where one of its seeds has none."""
    return {
        name: reason
        for run in row.runs
        for name, reason in read_refused(run.path).items()
        if name in names and name not in tests_below(board.tests, run)
    }


def _tests(board: Board, row: Row, name: str) -> list[tuple[RunReader, RunReader]]:
    """Each run of a row and its test of that name, where it has it."""
    pairs = [(run, tests_below(board.tests, run).get(name)) for run in row.runs]
    return [(run, test) for run, test in pairs if test is not None]


def _loss(board: Board, row: Row, name: str, found: list[tuple[RunReader, RunReader]], names: Sequence[str]) -> Loss:
    against = _reference(board, row, found[0][1], names)
    under, before = [], []
    for run, test in found:
        other = run if against == HOME else tests_below(board.tests, run).get(against)
        if other is None:
            raise DamagedError(f"seed {run.seed} has no test {against}")
        under.append(test.episodes(board.prediction))
        before.append(other.episodes(board.prediction))
    tasks = min(map(len, [*under, *before]))
    values = np.array([one[:tasks] for one in under])
    lost = np.array([one[:tasks] for one in before]) - values
    return Loss(against, float(values.mean()), estimate(lost if board.metric == "accuracy" else -lost))


def _reference(board: Board, row: Row, test: RunReader, names: Sequence[str]) -> str:
    """The test of the suite that differs in the shift alone; the home test where that is so, or where none is."""
    if not _shift(test):
        return HOME
    run = row.runs[0]
    below = tests_below(board.tests, run)
    rivals = {HOME: run, **{name: below[name] for name in names if name in below and not _shift(below[name])}}
    size = _size(test)
    return next((name for name, rival in rivals.items() if _size(rival) == size), HOME)


def _shift(run: RunReader) -> Any:
    data = run.summary.protocol.test["data"]
    return data.get("shift") if isinstance(data, dict) else None


def _size(run: RunReader) -> dict[str, Any]:
    """All of a test's card but the shift, and what goes with it."""
    return {key: value for key, value in flat(run.summary.protocol.test).items() if not key.startswith(NOT_OF_SIZE)}


def estimate(values: ndarray) -> Figure:
    """The mean of paired differences `[S, E]` and its 95% interval, as results have it: over tasks, or seeds too."""
    seeds, tasks = values.shape
    if seeds == 1:
        return Figure(float(values.mean()), half_width(values[0]), 1, tasks)
    if seeds < FEWEST:
        return Figure(float(values.mean()), None, seeds, tasks, "each seed")
    return Figure(float(values.mean()), crossed(values).half_width(), seeds, tasks, "seeds and tasks")
