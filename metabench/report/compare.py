"""`metabench compare`: two runs, or two groups of seeds, on the same test tasks, and the outcome in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from metabench.errors import UserError, format_value
from metabench.report.cells import algorithm
from metabench.report.paired_tests import Paired, chance, compare, over_seeds
from metabench.runs.groups import facts, same_cell
from metabench.runs.reader import RunReader, find
from metabench.runs.run_id import flat
from metabench.runs.summary import OF_MODES
from metabench.utils.console import format_metric
from metabench.utils.files import DamagedError


@dataclass(frozen=True)
class Side:
    """One or more runs that differ in their seed alone."""

    name: str
    folder: Path
    runs: list[RunReader]

    def values(self, mode: str) -> ndarray:
        """The value of every test task, of each run `[S, E]`; raises `UserError`."""
        try:
            return np.array([run.episodes(mode) for run in self.runs])
        except DamagedError as fault:
            raise UserError(f"{self.folder}: {fault}") from None


def versus(a: Path, b: Path, prediction: str | None = None) -> list[str]:
    """The lines to print; raises `UserError` where the two were not tested on the same tasks in the same way."""
    sides = (_side("A", a), _side("B", b))
    mode = prediction or sides[0].runs[0].summary.test.prediction
    _same_test(*sides, prediction)
    for side in sides:
        for run in side.runs:
            if mode not in run.summary.test.modes:
                raise UserError(f"--prediction={mode}: {run.path} has {', '.join(run.summary.test.modes)}")
    values = [side.values(mode) for side in sides]
    found = compare(values[0].mean(0), values[1].mean(0))
    metric = sides[0].runs[0].summary.test.metric
    lines = [_about(side, metric, mean) for side, mean in zip(sides, (found.a, found.b), strict=True)]
    return [*lines, "", *_words(found, metric, mode), *_over_seeds(values[0], values[1], metric)]


def _side(name: str, folder: Path) -> Side:
    runs, skipped = find([folder], tests=False)
    if skipped:
        raise UserError(str(skipped[0]))
    if not runs:
        raise UserError(f"{folder}: holds no run, which is a folder with a summary.json")
    for run in runs:
        try:
            run.summary  # noqa: B018
        except DamagedError as fault:
            raise UserError(f"{run.path}: {fault}") from None
    if not all(same_cell(run, runs[0]) for run in runs):
        differ = f"{len(runs)} runs that differ in more than their seed: {_differing(runs)}"
        raise UserError(f"{folder}: holds {differ}; name one of them")
    if len({run.seed for run in runs}) < len(runs):
        raise UserError(f"{folder}: holds several runs of one seed; name one of them")
    return Side(name, folder, runs)


def _differing(runs: list[RunReader]) -> str:
    """The keys in which runs differ, the first few; `protocol` where only that does."""
    found = [facts(run) for run in runs]
    keys = dict.fromkeys(key for each in found for key in each)
    differ = [key for key in keys if len({repr(each.get(key)) for each in found}) > 1] or ["protocol"]
    return ", ".join(differ[:6]) + (f" and {len(differ) - 6} more" if len(differ) > 6 else "")


def _same_test(a: Side, b: Side, chosen: str | None) -> None:
    """Raise `UserError` naming what differs between the two protocols, but for modes other than a chosen one."""
    cards = [flat(side.runs[0].summary.protocol.test) for side in (a, b)]
    keys = [key for key in dict.fromkeys([*cards[0], *cards[1]]) if cards[0].get(key) != cards[1].get(key)]
    if chosen:
        free = OF_MODES[:1] if chosen == "inductive" else OF_MODES
        keys = [key for key in keys if key not in free]
    if not keys:
        return
    differ = ", ".join(f"{key} ({' and '.join(format_value(card.get(key), 60) for card in cards)})" for key in keys[:6])
    hint = "; --prediction takes one that both have" if keys == ["prediction"] else ""
    raise UserError(f"A and B were not tested in the same way: {differ}{hint}")


def _about(side: Side, metric: str, mean: float) -> str:
    run = side.runs[0]
    seeds = ", ".join(str(run.seed) for run in sorted(side.runs, key=lambda run: run.seed))
    plural = "s" if len(side.runs) > 1 else ""
    return (
        f"{side.name}  {format_metric(metric, mean)}  {algorithm(run)}, seed{plural} {seeds}  {side.folder.as_posix()}"
    )


def _words(found: Paired, metric: str, mode: str) -> list[str]:
    if found.identical:
        return [f"A and B have the same {metric} on each of {found.tasks:,} test tasks."]
    size, half = (format_metric(metric, abs(value)).removesuffix("%") for value in (found.difference, found.ci95))
    better = "better" if (found.difference > 0) == (metric == "accuracy") else "worse"
    how = f"A is {size}{' points' if metric == 'accuracy' else ''} {better} than B in {metric}"
    if found.difference == 0:
        how = f"A and B have the same mean {metric}"
    lines = [
        f"{how}: {size} ± {half} (95% interval, {found.tasks:,} test tasks in pairs, {mode} prediction).",
        f"Were the two equally good, chance would make a difference this large {chance(found.p)}.",
        f"p = {found.p:.2g} (paired t), {found.p_flips:.2g} (sign flips), {found.p_ranks:.2g} (signed ranks)",
    ]
    if found.p > 0.05:
        lines.insert(2, "These test tasks do not tell them apart.")
    return lines


def _over_seeds(a: ndarray, b: ndarray, metric: str) -> list[str]:
    if min(len(a), len(b)) == 1:
        return ["These are the models of the seeds above; what another seed would bring is not in the interval."]
    if (found := over_seeds(a, b)) is None:
        return []
    half, p = found
    size = format_metric(metric, float(a.mean() - b.mean()), half)
    how = "95% interval, seeds and tasks crossed"
    return [f"For other seeds and other tasks, from {len(a)} and {len(b)} seeds: A - B = {size} ({how}), p = {p:.2g}."]
