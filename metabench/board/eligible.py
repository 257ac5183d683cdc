"""The runs that a board may set beside each other, and why the others are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from metabench.errors import format_value
from metabench.runs.experiment import FULL, names_of
from metabench.runs.reader import RunReader, Skipped
from metabench.runs.run_id import flat
from metabench.runs.summary import OF_MODES

OF_ALGORITHM = ("algo.", "experiment=")  # overrides of a test that its card does not show
NEAR = 0.05  # share of the training budget that whole meta-steps may add or take


Tests = dict[Path, dict[str, RunReader]]
"""By the folder of the run, whose copies may hold other weights, then by the test's name."""


def reason_to_leave_out(run: RunReader) -> Skipped | None:
    """Why a run is not of the board as it stands, if it is not."""
    summary = run.summary
    if summary.changes:
        return Skipped(run.path, f"the board is changed by {format_value(' '.join(summary.changes), 80)}")
    return Skipped(run.path, f"has budget {summary.budget}") if summary.budget != FULL else None


def _card(run: RunReader) -> dict[str, Any]:
    """All that runs of one column must share: the test card but for the modes of prediction, and the version.

    Of further tests also the values of the algorithm that they set, which no test card has.
    """
    card = {key: value for key, value in run.summary.protocol.test.items() if key not in OF_MODES}
    card = flat(card) | {"metabench": run.summary.environment.metabench}
    given = (run.summary.test_of or {}).get("overrides")
    own = sorted(str(one) for one in given if str(one).startswith(OF_ALGORITHM)) if isinstance(given, list) else []
    return card | {"overrides": " ".join(own)} if own else card


def alike(runs: list[RunReader]) -> tuple[list[RunReader], list[Skipped]]:
    """Runs with the card that most have, and the others with what differs."""
    cards = [_card(run) for run in runs]
    if not cards:
        return [], []
    counts = Counter(map(repr, cards))
    common = max(cards, key=lambda card: (counts[repr(card)], -len(card.get("overrides", ""))))  # the suite's own
    most = repr(common)
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


def within_budget(runs: list[RunReader]) -> tuple[list[RunReader], list[Skipped]]:
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


def tests_below(tests: Tests, run: RunReader) -> dict[str, RunReader]:
    """The tests of a run, by name."""
    return tests.get(run.path.resolve(), {})


def tests_of(kept: Sequence[RunReader], runs: Iterable[RunReader], names: Iterable[str]) -> tuple[Tests, list[Skipped]]:
    """The tests of those names among `runs` that are of the runs `kept`, and those left out."""
    runs = list(runs)
    found: Tests = {}
    left_out = []
    known = {run.path.resolve() for run in kept}
    for name in names:
        named = [run for run in runs if name in names_of(run.summary.test_of or {})]
        same, spare = alike(named)
        left_out += spare
        for run in same:
            of = run.tested.path.resolve() if run.tested else None
            if of not in known:
                left_out.append(Skipped(run.path, "is a test of a run that is not on the board"))
            elif (first := found.setdefault(of, {}).setdefault(name, run)) is not run:
                left_out.append(Skipped(run.path, f"the test {name} is there already: {first.path}"))
    return found, left_out
