"""A board: every method on one test after one training budget; rows, columns, ranks and groups.

Runs of a board have `board` in their summary (`bench=NAME`). What is not of the same test, budget or version is left
out with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from metabench.board import ranks
from metabench.board.columns import BUDGET, COLUMNS, Column
from metabench.board.eligible import Tests, alike, examples, reason_to_leave_out, tests_of, within_budget
from metabench.board.row import Row, by_method, make_row
from metabench.errors import UserError
from metabench.report.cells import name_variants
from metabench.runs.groups import gather
from metabench.runs.own_files import TESTS
from metabench.runs.reader import RunReader, Skipped, find
from metabench.utils.counted import counted
from metabench.utils.files import DamagedError


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
        words = {True: "measured alone", False: "measured beside other jobs", None: "not known"}
        if len(known) == 1:
            return words[next(iter(known))]
        return ", ".join(f"{counted(known[kind], 'run')} {words[kind]}" for kind in words if known[kind])

    @property
    def notes(self) -> list[str]:
        """Explanations of the numbers, one line each."""
        first, unit = self.columns[0].title, BUDGET[self.name]
        trained = [count for row in self.rows if (count := examples(row.runs[0]))]
        budget = f"about {float(f'{sorted(trained)[len(trained) // 2]:.2g}'):,.0f}" if trained else "no"
        seeds = Counter(len(row.runs) for row in self.rows)
        said = ", ".join(f"{count} of {counted(n, 'seed')}" for n, count in sorted(seeds.items(), reverse=True))
        summaries = [run.summary for row in self.rows for run in row.runs]
        what = "accuracy in %, higher is better" if self.metric == "accuracy" else "mean squared error, lower is better"
        lines = [
            f"Every method after {budget} training {unit}, on the same test tasks from one checkpoint, which "
            f"validation tasks chose; {what}. A small budget: these are not the papers' results.",
            f"{self.prediction} prediction; ± is a 95% interval of the mean over test tasks, of three seeds or more "
            f"over seeds and tasks; two seeds have the mean alone. Methods: {said}.",
            f"rank: by the mean of {first}. Models that share a letter cannot be told apart on the same tasks: paired "
            f"tests of {first}, the seeds' mean on each task, for all pairs, Holm-corrected, 5%. Other seeds are other "
            "models: for them see ±.",
            "An empty cell was not run, or the method has no such result. train: core (or GPU) seconds of one seed; "
            f"test: seconds per 1,000 tasks; memory: the largest of the process; costs: {self._beside}.",
            "Inner hyperparameters are those of each method's file in conf/recipe/task; where a board's own file "
            "(conf/recipe/bench) differs, it says why. Those that the command line set are named beside the method.",
        ]
        cards = [test.summary.protocol.test for below in self.tests.values() for test in below.values()]
        if some := {card["inductive_queries"] for card in cards if "inductive_queries" in card}:
            lines.append(
                f"Where batch norm uses the statistics of the queries, inductive results of further tests are of "
                f"{', '.join(map(str, sorted(some)))} of the queries of each class, predicted one by one."
            )
        for title, values in (
            ("Device", (s.environment.device for s in summaries)),
            ("metabench", (s.environment.metabench for s in summaries)),
            ("Commit", (s.environment.commits for s in summaries)),
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
    reasons = [reason_to_leave_out(run) for run in own]
    left_out += [reason for reason in reasons if reason is not None]
    own, spare = alike([run for run, reason in zip(own, reasons, strict=True) if reason is None])
    left_out += spare
    kept, spare = within_budget(own)
    left_out += spare
    groups, spare = gather(kept)
    left_out += spare
    below, spare = tests_of(kept, runs, dict.fromkeys([*(column.test for column in columns if column.test), *more]))
    left_out += spare
    rows = []
    for (method, tuned), members in by_method(groups).items():
        variants = name_variants(members) if len(members) > 1 else [""]
        for variant, seeds in zip(variants, members, strict=True):
            named = ", ".join(filter(None, (tuned, variant)))
            rows.append(make_row(method, named, seeds, below, columns, prediction, left_out))
    metric = own[0].summary.test.metric if own else "accuracy"
    first, sign = columns[0].title, -1 if metric == "accuracy" else 1
    worst = float("inf")
    rows.sort(key=lambda row: (sign * row.cells[first].mean if first in row.cells else worst, row.name))
    values = {row.name: row.values for row in rows if row.values is not None}
    apart = ranks.told_apart(values)
    return Board(name, prediction, metric, rows, left_out, columns, ranks.letters(list(values), apart), below)
