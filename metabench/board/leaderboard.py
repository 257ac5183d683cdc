"""A board: every method on one test after one training budget; rows, columns, ranks and groups.

Runs of a board have `board` in their summary (`bench=NAME`). What is not of the same test, budget or version is left
out with the reason.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy import array, ndarray

from metabench.board import ranks
from metabench.board.columns import BUDGET, COLUMNS, Column
from metabench.errors import UserError, format_value
from metabench.report.cells import Runs, algorithm, figure_of, name_variants, over_seeds
from metabench.report.verdict import Figure
from metabench.runs.experiment import FULL
from metabench.runs.groups import gather
from metabench.runs.reader import TESTS, RunReader, Skipped, find
from metabench.runs.run_id import flat
from metabench.utils.files import DamagedError

MODES = ("inductive", "transductive")
NEAR = 0.05  # share of the training budget that whole meta-steps may add or take


Tests = dict[str, dict[str, RunReader]]  # by the run's identity, then by the test's name


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
        """Core seconds of meta-training, the mean of the seeds."""
        return _mean([run.summary.train.seconds * (run.summary.environment.threads or 1) for run in self.runs])

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


@dataclass(frozen=True)
class Board:
    """The rows of one board, best first, and what was left out."""

    name: str
    prediction: str
    metric: str
    rows: list[Row]
    left_out: list[Skipped]
    columns: tuple[Column, ...]
    letters: dict[str, str] = field(default_factory=dict)  # of the names of rows with values of the first column
    tests: Tests = field(default_factory=dict)

    @property
    def compared(self) -> list[Row]:
        """The rows that are tested against each other: those whose value of every task is there."""
        return [row for row in self.rows if row.name in self.letters]

    def rank(self, row: Row) -> int | None:
        """Rank by the mean of the first column."""
        return self.rows.index(row) + 1 if self.columns[0].title in row.cells else None

    @property
    def _beside(self) -> str:
        """Circumstances of the measured costs: alone on the machine or beside other jobs, as far as runs say it."""
        known = Counter(run.summary.train.alone for row in self.rows for run in row.runs)
        words = {
            True: "measured alone",
            False: "measured beside other jobs",
            None: "measured beside other jobs or alone, which early runs do not say",
        }
        if len(known) == 1:
            return words[next(iter(known))]
        return ", ".join(f"{known[kind]} of {known.total()} runs {words[kind]}" for kind in words if known[kind])

    @property
    def notes(self) -> list[str]:
        """Explanations of the numbers, one line each."""
        first, unit = self.columns[0].title, BUDGET[self.name]
        trained = [count for row in self.rows if (count := examples(row.runs[0]))]
        budget = f"about {float(f'{sorted(trained)[len(trained) // 2]:.2g}'):,.0f}" if trained else "no"
        seeds = Counter(len(row.runs) for row in self.rows)
        said = ", ".join(
            f"{count} of {n} seed{'s' if n > 1 else ''}" for n, count in sorted(seeds.items(), reverse=True)
        )
        summaries = [run.summary for row in self.rows for run in row.runs]
        what = "accuracy in %, higher is better" if self.metric == "accuracy" else "mean squared error, lower is better"
        lines = [
            f"Every method after {budget} training {unit}, on the same test tasks from one checkpoint, which "
            f"validation tasks chose; {what}. A small budget: these are not the papers' results.",
            f"{self.prediction} prediction; ± is a 95% interval of the mean over test tasks, of three seeds or more "
            f"over seeds and tasks; two seeds have the mean alone. Methods: {said}.",
            f"rank: by the mean of {first}. Methods that share a letter cannot be told apart on the same tasks: paired "
            f"tests of {first} for all pairs, Holm-corrected, 5%; a single seed's test says nothing of other seeds.",
            "An empty cell was not run, or the method has no such result. train: core seconds of one seed; test: "
            f"seconds per 1,000 tasks; memory: the largest of the process; costs: {self._beside}.",
            "Inner hyperparameters are those of each method's file, not tuned for this board; those that the command "
            "line set are named beside the method.",
        ]
        for title, values in (
            ("Device", (s.environment.device for s in summaries)),
            ("metabench", (s.environment.metabench for s in summaries)),
            ("Commit", (s.environment.git for s in summaries)),
        ):
            lines.append(f"{title}: {', '.join(sorted({str(value) for value in values}))}.")
        return lines


def make_boards(
    folders: Sequence[Path], board: str | None, prediction: str, tests: Mapping[str, Sequence[str]] | None = None
) -> list[Board]:
    """The boards below `folders`, or the one of that name; raises `UserError` where there is no run of it.

    `tests` are the names of further tests of each board's runs, which `Board.tests` then has.
    """
    found, skipped = find(folders)
    runs: dict[str, list[RunReader]] = {name: [] for name in COLUMNS}
    faults: list[tuple[str | None, Skipped]] = [(None, skip) for skip in skipped]
    for run in found:
        try:
            name = run.summary.board
        except DamagedError as fault:
            if run.path.parent.name == TESTS and not (run.path / "summary.json").exists():
                continue  # a test that was not made is an empty cell
            faults.append((str((run.sound_config or {}).get("board")), Skipped(run.path, str(fault))))
            continue
        if name in runs:
            runs[name].append(run)
    names = [name for name in COLUMNS if board in (None, name)]
    made = [
        _make(
            name,
            runs[name],
            [skip for of, skip in faults if of in (None, name)],
            prediction,
            (tests or {}).get(name, ()),
        )
        for name in names
        if runs[name]
    ]
    where = ", ".join(map(str, folders))
    if not made:
        wanted = f"board {board}" if board else "a board"
        raise UserError(f"{where}: holds no finished run of {wanted}; metabench bench={board or 'omniglot'} makes one")
    if all(not row.cells for each in made for row in each.rows):
        raise UserError(f"--prediction={prediction}: no run in {where} has it")
    return made


def _make(name: str, runs: list[RunReader], left_out: list[Skipped], prediction: str, more: Sequence[str]) -> Board:
    columns = COLUMNS[name]
    own = [run for run in runs if run.summary.test_of is None]
    left_out += [fault for run in own if (fault := _changed(run)) is not None]
    own, spare = _alike([run for run in own if _changed(run) is None])
    left_out += spare
    kept, spare = _budget(own)
    left_out += spare
    groups, spare = gather(kept)
    left_out += spare
    below, spare = tests_of(kept, runs, dict.fromkeys([*(column.test for column in columns if column.test), *more]))
    left_out += spare
    rows = []
    for (method, tuned), members in _by_method(groups).items():
        variants = name_variants(members) if len(members) > 1 else [""]
        for variant, seeds in zip(variants, members, strict=True):
            named = ", ".join(filter(None, (tuned, variant)))
            rows.append(_row(method, named, seeds, below, columns, prediction, left_out))
    metric = own[0].summary.test.metric if own else "accuracy"
    first, sign = columns[0].title, -1 if metric == "accuracy" else 1
    worst = float("inf")
    rows.sort(key=lambda row: (sign * row.cells[first].mean if first in row.cells else worst, row.name))
    values = {row.name: row.values for row in rows if row.values is not None}
    apart = ranks.told_apart(values)
    return Board(name, prediction, metric, rows, left_out, columns, ranks.letters(list(values), apart), below)


def tests_of(kept: Sequence[RunReader], runs: Iterable[RunReader], names: Iterable[str]) -> tuple[Tests, list[Skipped]]:
    """The tests of those names among `runs` that are of the runs `kept`, and those left out."""
    runs = list(runs)
    found: Tests = {}
    left_out = []
    known = {run.summary.identity for run in kept}
    for name in names:
        named = [run for run in runs if run.summary.test_of and run.summary.test_of.get("name") == name]
        alike, spare = _alike(named)
        left_out += spare
        for run in alike:
            of = str((run.summary.test_of or {}).get("run"))
            if run.tested is None or of not in known:
                left_out.append(Skipped(run.path, "is a test of a run that is not on the board"))
            else:
                found.setdefault(of, {}).setdefault(name, run)
    return found, left_out


def _by_method(groups: Iterable[dict[int, RunReader]]) -> dict[tuple[str, str], list[Runs]]:
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


def _row(
    method: str,
    variant: str,
    runs: Runs,
    tests: Tests,
    columns: Sequence[Column],
    prediction: str,
    left_out: list[Skipped],
) -> Row:
    cells: dict[str, dict[str, Figure]] = {mode: {} for mode in MODES}
    for column in columns:
        shown = runs
        if column.test is not None:
            below = [tests.get(run.summary.identity, {}).get(column.test) for run in runs]
            shown = tuple(run for run in below if run is not None)
        for mode in MODES:
            found = [(run, figure_of(run, mode, column.at)) for run in shown]
            whole = [(run, figure) for run, figure in found if figure is not None]
            if whole:
                members, figures = zip(*whole, strict=True)
                cells[mode][column.title] = over_seeds(members, figures, mode, column.at is None)
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


# ---- what is left out


def _changed(run: RunReader) -> Skipped | None:
    summary = run.summary
    if summary.changes:
        return Skipped(run.path, f"the board is changed by {format_value(' '.join(summary.changes), 80)}")
    return Skipped(run.path, f"has budget {summary.budget}") if summary.budget != FULL else None


def _card(run: RunReader) -> dict[str, Any]:
    """All that runs of one column must share: the test card but for the mode it reports first, and the version."""
    card = {key: value for key, value in run.summary.protocol.test.items() if key != "prediction"}
    return flat(card) | {"metabench": run.summary.environment.metabench}


def _alike(runs: list[RunReader]) -> tuple[list[RunReader], list[Skipped]]:
    """Runs with the card that most have, and the others with what differs."""
    cards = [_card(run) for run in runs]
    if not cards:
        return [], []
    most = Counter(map(repr, cards)).most_common(1)[0][0]
    common = next(card for card in cards if repr(card) == most)
    kept, left_out = [], []
    for run, card in zip(runs, cards, strict=True):
        if repr(card) == most:
            kept.append(run)
            continue
        keys = [key for key in dict.fromkeys([*card, *common]) if card.get(key) != common.get(key)]
        said = ", ".join(
            f"{key} {format_value(card.get(key), 40)} for {format_value(common.get(key), 40)}" for key in keys[:4]
        )
        left_out.append(Skipped(run.path, f"was tested another way than most: {said}"))
    return kept, left_out


def examples(run: RunReader) -> int | None:
    """The images, or points, that meta-training sampled; None where nothing was trained or the card does not say."""
    training = run.summary.protocol.training
    sizes = [run.summary.train.steps, training.get("tasks_per_step"), training.get("ways", 1)]
    sizes.append(sum(n for key in ("shots", "queries") if type(n := training.get(key)) is int))
    if not all(type(size) is int for size in sizes):
        return None
    steps, tasks, ways, each = sizes
    return steps * tasks * ways * each or None


def _budget(runs: list[RunReader]) -> tuple[list[RunReader], list[Skipped]]:
    """Runs of the middle budget, or without training; and the others."""
    counts = sorted(count for run in runs if (count := examples(run)))
    if not counts:
        return runs, []
    middle = counts[len(counts) // 2]
    kept, left_out = [], []
    for run in runs:
        count = examples(run)
        if count is None or abs(count - middle) <= NEAR * middle:
            kept.append(run)
        else:
            said = f"trained on {count:,} examples, where the board has {middle:,}"
            left_out.append(Skipped(run.path, said))
    return kept, left_out


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
