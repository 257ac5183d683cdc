"""`metabench compare`: which runs may be set against each other, and the outcome in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from metabench.errors import UserError, format_value
from metabench.report.cells import algorithm, same_cell
from metabench.report.episodes import read_episodes
from metabench.report.paired_tests import Paired, chance, compare, welch
from metabench.report.read import Run, find, read_run
from metabench.runs.run_id import flat
from metabench.utils.console import format_metric
from metabench.utils.files import DamagedError


@dataclass(frozen=True)
class Side:
    """One or more runs that differ in their seed alone."""

    name: str
    folder: Path
    runs: list[Run]

    def values(self, mode: str) -> ndarray:
        """The figure of every test task `[E]`, its mean over the runs; raises `UserError`."""
        try:
            return np.mean([read_episodes(run, mode) for run in self.runs], axis=0)
        except DamagedError as fault:
            raise UserError(f"{self.folder}: {fault}") from None

    def means(self, mode: str) -> list[float]:
        """The mean of each run."""
        return [mean for run in self.runs if (mean := run.summary.test.modes[mode].mean) is not None]


def versus(a: Path, b: Path, prediction: str | None = None) -> list[str]:
    """The lines to print; raises `UserError` where the two were not tested on the same tasks in the same way."""
    sides = (_side("A", a), _side("B", b))
    mode = prediction or sides[0].runs[0].summary.test.prediction
    _same_test(*sides, chosen=prediction is not None)
    for side in sides:
        for run in side.runs:
            if mode not in run.summary.test.modes:
                raise UserError(f"--prediction={mode}: {run.path} has {', '.join(run.summary.test.modes)}")
    found = compare(sides[0].values(mode), sides[1].values(mode))
    metric = sides[0].runs[0].summary.test.metric
    lines = [_about(side, metric, mean) for side, mean in zip(sides, (found.a, found.b), strict=True)]
    return [*lines, "", *_words(found, metric, mode), *_over_seeds(sides, metric, mode)]


def _side(name: str, folder: Path) -> Side:
    paths = [folder] if (folder / "summary.json").exists() else find([folder])
    if not paths:
        raise UserError(f"{folder}: holds no run, which is a folder with a summary.json")
    runs = []
    for path in paths:
        try:
            runs.append(read_run(path))
        except DamagedError as fault:
            raise UserError(f"{path}: {fault}") from None
    if not all(same_cell(run, runs[0]) for run in runs):
        raise UserError(f"{folder}: holds {len(runs)} runs that differ in more than their seed; name one of them")
    if len({run.seed for run in runs}) < len(runs):
        raise UserError(f"{folder}: holds several runs of one seed; name one of them")
    return Side(name, folder, runs)


def _same_test(a: Side, b: Side, chosen: bool) -> None:
    """Raise `UserError` naming what differs between the two protocols; `prediction` may where one was chosen."""
    cards = [flat(side.runs[0].summary.protocol.test) for side in (a, b)]
    keys = [key for key in dict.fromkeys([*cards[0], *cards[1]]) if cards[0].get(key) != cards[1].get(key)]
    if chosen:
        keys = [key for key in keys if key != "prediction"]
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


def _over_seeds(sides: tuple[Side, Side], metric: str, mode: str) -> list[str]:
    counts = [len(side.runs) for side in sides]
    if min(counts) == 1:
        return ["These are the models of the seeds above; what another seed would bring is not in the interval."]
    if (found := welch(sides[0].means(mode), sides[1].means(mode))) is None:
        return []
    half, p = found
    gap = float(np.mean(sides[0].means(mode)) - np.mean(sides[1].means(mode)))
    size = format_metric(metric, gap, half)
    return [f"Over seeds, {counts[0]} and {counts[1]} of them: A - B = {size} (95%), p = {p:.2g} (Welch's t)."]
