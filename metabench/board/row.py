"""A row of a board: a method, its results over seeds and what it cost."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from numpy import array, ndarray

from metabench.board.columns import Column
from metabench.board.eligible import Tests, tests_below
from metabench.errors import format_value
from metabench.report.cells import Runs, algorithm, figure_of, over_seeds
from metabench.report.verdict import Figure
from metabench.runs.reader import RunReader, Skipped, read_refused
from metabench.utils.files import DamagedError

MODES = ("inductive", "transductive")


@dataclass(frozen=True)
class Row:
    """A method: its runs over seeds and their results, in the chosen mode and in the other."""

    method: str
    variant: str
    runs: Runs  # by seed
    cells: dict[str, Figure]  # by column's title; what was not run is missing
    others: dict[str, Figure]
    values: ndarray | None  # of the first column: every test task of each seed [S, E]

    @property
    def name(self) -> str:
        """The method, and how it differs from others of its name."""
        return f"{self.method} ({self.variant})" if self.variant else self.method

    @property
    def train_seconds(self) -> float:
        """Core or GPU seconds of meta-training, the mean of the seeds."""
        return _mean([run.summary.train.seconds * run.summary.environment.processors for run in self.runs])

    @property
    def test_seconds(self) -> float | None:
        """Seconds of 1,000 tasks of the board's first test."""
        tests = [run.summary.test for run in self.runs]
        seconds = [1000 * test.seconds / test.modes[test.prediction].episodes for test in tests if test.seconds]
        return _mean(seconds) if seconds else None

    @property
    def memory(self) -> float | None:
        """Peak memory of the process in MB, of its device where that is a GPU; the largest of the seeds."""
        found = [value for run in self.runs if (value := run.summary.train.peak_memory)]
        return max(found) / 1e6 if found else None

    @property
    def parameters(self) -> int | None:
        """Trained parameters."""
        found = self.runs[0].summary.protocol.training.get("parameters")
        return found if type(found) is int else None

    @property
    def meta_steps(self) -> int:
        """The meta-steps of a run."""
        return self.runs[0].summary.train.steps


def by_method(groups: Iterable[dict[int, RunReader]]) -> dict[tuple[str, str], list[Runs]]:
    """The cells of each method, and of each method with values set on the command line."""
    found: dict[tuple[str, str], list[Runs]] = {}
    for group in groups:
        members = tuple(run for _, run in sorted(group.items()))
        found.setdefault((algorithm(members[0]), tuned(members[0])), []).append(members)
    return found


def tuned(run: RunReader) -> str:
    """Values of the algorithm that the command line set; those of an early version's run are read off its command."""
    found = run.summary.tuned
    if not found:
        with suppress(ValueError):  # no command of a shell
            found = [word for word in shlex.split(run.summary.environment.command) if word.startswith("algo.")]
    return format_value(" ".join(found), 80) if found else ""


def make_row(
    method: str,
    variant: str,
    runs: Runs,
    tests: Tests,
    columns: Sequence[Column],
    prediction: str,
    left_out: list[Skipped],
) -> Row:
    """The row of a method's runs, one of each seed, with its cells in both modes; what cannot be read is left out."""
    cells: dict[str, dict[str, Figure]] = {mode: {} for mode in MODES}
    for column in columns:
        shown = runs
        if column.test is not None:
            below = [tests_below(tests, run).get(column.test) for run in runs]
            shown = tuple(run for run in below if run is not None)
            missing = [run for run, test in zip(runs, below, strict=True) if test is None] if shown else []
            refused = {run.path: read_refused(run.path).get(column.test) for run in missing}
            for path, reason in refused.items():
                why = f"{reason}: the cell is empty" if reason else "the cell is without it"
                left_out.append(Skipped(path, f"has no test {column.test}: {why}"))
            if any(refused.values()):  # the mean of the seeds that came through would be of no method
                continue
        for mode in MODES:
            figures = [figure_of(run, mode, column.at) for run in shown]
            found = tuple(figure for figure in figures if figure is not None)
            if found and len(found) == len(shown):
                cells[mode][column.title] = over_seeds(shown, found, mode, at=column.at)
            elif found and mode == prediction:  # for the same reason
                lost = [run for run, figure in zip(shown, figures, strict=True) if figure is None]
                left_out += [Skipped(run.path, f"has no result of {column.title}: the cell is empty") for run in lost]
    values = None
    if columns[0].title in cells[prediction]:
        try:
            values = array([run.episodes(prediction) for run in runs])
        except (DamagedError, KeyError) as fault:
            left_out.append(Skipped(runs[0].path, f"{fault}; not compared with others"))
    other = next(mode for mode in MODES if mode != prediction)
    differing = {
        title: figure
        for title, figure in cells[other].items()
        if title not in cells[prediction] or cells[prediction][title].mean != figure.mean
    }
    return Row(method, variant, runs, cells[prediction], differing, values)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
