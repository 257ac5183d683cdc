"""Cells made of runs: the row and column of each, its runs over seeds, and its verdict against the paper."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import yaml

from metabench.config.catalog import folders
from metabench.errors import format_value
from metabench.report.expected import Experiments, conform
from metabench.report.verdict import Figure, Kind, Verdict, judge
from metabench.runs.experiment import FULL
from metabench.runs.groups import facts, gather, with_training
from metabench.runs.reader import RunReader, Skipped
from metabench.runs.run_id import flat
from metabench.runs.summary import Published
from metabench.runs.untrusted import clean_text
from metabench.utils.files import DamagedError
from metabench.utils.interval import FEWEST, added, crossed

Runs = tuple[RunReader, ...]


@dataclass(frozen=True)
class Cell:
    """The runs of one configuration and one protocol, over seeds, beside the published value."""

    data: str  # the table it stands in
    column: str
    row: str
    variant: str  # how it differs from other cells of its row and column
    runs: Runs  # one for each seed
    prediction: str
    figures: tuple[Figure, ...]  # of each run
    final: bool  # they are what the runs end with, and not of an earlier inner step or instance
    ours: Figure
    paper: Published | None
    verdict: Verdict

    @property
    def metric(self) -> str:
        """The name of what is measured."""
        return self.runs[0].summary.test.metric

    @property
    def protocol(self) -> str:
        """The hash of its protocol."""
        return self.runs[0].summary.protocol.hash

    @property
    def card(self) -> dict[str, Any]:
        """The content of which that is the hash."""
        return self.runs[0].summary.protocol.test

    @property
    def difference(self) -> float | None:
        """Ours less the paper's, where the two may be set against each other."""
        if self.paper is None or self.verdict.kind in (Kind.NOT_COMPARABLE, Kind.NONE):
            return None
        return self.ours.mean - self.paper.value

    @property
    def by_seed(self) -> list[tuple[RunReader, Figure]]:
        """Each run and its own result, by seed."""
        return sorted(zip(self.runs, self.figures, strict=True), key=lambda pair: pair[0].seed)

    @property
    def seconds(self) -> float:
        """Of meta-training, the mean of the seeds."""
        return sum(run.summary.train.seconds for run in self.runs) / len(self.runs)

    @property
    def name(self) -> str:
        """The cell in words, on one line."""
        return f"{self.row}{f' ({self.variant})' if self.variant else ''}, {self.data} {self.column}"


def make_cells(runs: Iterable[RunReader], experiments: Experiments) -> tuple[list[Cell], list[Skipped], list[str]]:
    """The cells; the runs left out because their seed was there already; and what was not averaged, a line each."""
    runs = sorted(runs, key=lambda run: (run.seed, run.summary.experiment is None))
    groups, spare = gather(runs)
    experiments.prepare(run.summary.experiment for run in runs if run.summary.experiment)
    places: dict[tuple[str, ...], list[tuple[Runs, Published | None]]] = defaultdict(list)
    for group in groups:
        members = tuple(sorted(group.values(), key=lambda run: run.summary.experiment is None))
        for paper in _published(members[0], experiments):
            places[_place(members[0], paper)].append((members, paper))
    cells, apart = [], []
    for (data, column, row, source), found in places.items():
        variants = [source]
        if len(found) > 1:
            rivals = [members for members, _ in found]
            whole = [_incomparable(members[0], paper, experiments) is None for members, paper in found]
            apart.append(f"{row}, {data} {column}: {_not_averaged(rivals)}")
            variants = name_variants(rivals)
            if source:  # the one that is as the experiment asks needs no other name
                named = zip(whole, variants, strict=True)
                variants = [source if asked and sum(whole) == 1 else f"{source}, {own}" for asked, own in named]
        for (members, paper), variant in zip(found, variants, strict=True):
            cells.append(_cell((data, column, row, variant), members, paper, experiments))
    return sorted(cells, key=lambda cell: (cell.data, cell.row.lower(), cell.variant)), spare, apart


def _place(run: RunReader, paper: Published | None) -> tuple[str, str, str, str]:
    """The table, the column, the row, and the source of the published value that it is set against."""
    card = run.summary.protocol.test
    data = card["data"] if isinstance(card["data"], dict) else {}
    name = str(data.get("source") or data.get("name") or "unknown data")
    if paper is not None:
        return name, paper.column, paper.row, paper.source
    shots = f"{card['ways']}-way {card['shots']}-shot" if "ways" in card else f"K = {card['shots']}"
    return name, format_value(shots), algorithm(run), ""


@cache
def _algorithms() -> dict[str, str]:
    """The name of every algorithm of the program, by its class."""
    found: dict[str, str] = {}
    for folder in folders(None):
        for path in sorted((folder / "algo").glob("*.yaml")):
            target = yaml.safe_load(path.read_text(encoding="utf-8")).get("_target_")
            found.setdefault(target, path.stem)
    return found


def algorithm(run: RunReader) -> str:
    """The name of a run's algorithm: of its config, or of the class where there is no config of it."""
    algo = (run.sound_config or {}).get("algo")
    target = str(algo.get("_target_")) if isinstance(algo, dict) else clean_text(run.path.name)
    return _algorithms().get(target) or format_value(target.rpartition(".")[2], 40)


def _published(run: RunReader, experiments: Experiments) -> list[Published | None]:
    """The experiment's published values now; those that the run wrote down, where the experiment is not known here."""
    headline = None
    if run.summary.experiment is not None:
        asked = experiments[run.summary.experiment]
        headline = run.summary.published
        if asked is not None:
            headline = Published.model_validate(asked["published"]) if asked.get("published") else None
    return [headline, *headline.also] if headline else [None]


def _cell(place: tuple[str, str, str, str], runs: Runs, paper: Published | None, experiments: Experiments) -> Cell:
    test = runs[0].summary.test
    mode, at = (paper.prediction or test.prediction, paper.at) if paper else (test.prediction, None)
    found = [figure_of(run, mode, at) for run in runs]
    figures = tuple(figure for figure in found if figure is not None)
    fault = _incomparable(runs[0], paper, experiments)
    if len(figures) < len(runs):  # there is no such result: shown is the one that the runs end with
        where = f"{mode} prediction{'' if at is None else f' at {at}'}"
        lost = max(run.summary.test.modes[mode].nonfinite if mode in run.summary.test.modes else 0 for run in runs)
        said = f"{lost} test tasks are not finite with {where}" if lost else f"has no result of {where}"
        fault = fault or Verdict(Kind.NOT_COMPARABLE, said)
        mode, at = test.prediction, None
        figures = tuple(_final(run, mode) for run in runs)
    ours = over_seeds(runs, figures, mode, at=at)
    verdict = Verdict(Kind.NONE)
    if paper is not None:
        verdict = fault or judge(ours, paper.value, paper.ci95, test.metric, figures)
    return Cell(*place, runs, mode, figures, _is_final(runs[0], at), ours, paper, verdict)


def over_seeds(runs: Runs, figures: tuple[Figure, ...], mode: str, *, at: int | None = None) -> Figure:
    """The mean over seeds and its interval, of the results after `at` steps, the final ones if None.

    See `verdict.METHOD`.
    """
    if len(runs) == 1:
        return figures[0]
    means, tasks = [figure.mean for figure in figures], figures[0].tasks
    mean = float(np.mean(means))
    if len(runs) < FEWEST or tasks < 2:
        return Figure(mean, None, len(runs), tasks, "each seed")
    try:
        if not _is_final(runs[0], at):
            raise DamagedError("episodes.json has the final values alone")
        values = np.array([run.episodes(mode) for run in runs])
        return Figure(mean, crossed(values).half_width(), len(runs), tasks, "seeds and tasks")
    except DamagedError:
        half = added(means, [figure.ci95 or 0.0 for figure in figures], tasks).half_width()
        return Figure(mean, half, len(runs), tasks, "seeds plus tasks")


def _final(run: RunReader, mode: str) -> Figure:
    """The result that a run ends with."""
    found = run.summary.test.modes[mode]
    assert found.mean is not None  # as `_figure` or the summary's reader has found
    return Figure(found.mean, found.ci95, 1, found.episodes)


def _is_final(run: RunReader, at: int | None) -> bool:
    steps = run.summary.test.per_step
    return at is None or bool(steps and steps[-1].step == at)


def figure_of(run: RunReader, mode: str, at: int | None) -> Figure | None:
    """The result of a run in one mode of prediction, at one step; None where it has none."""
    test = run.summary.test
    if mode not in test.modes or test.modes[mode].mean is None:
        return None
    if _is_final(run, at):
        return _final(run, mode)
    for point in test.per_step if mode == test.prediction else []:
        if point.step == at and point.mean is not None:
            return Figure(point.mean, point.ci95, 1, test.modes[mode].episodes)
    return None


def _incomparable(run: RunReader, paper: Published | None, experiments: Experiments) -> Verdict | None:
    """Why a run cannot be held against its paper, if so."""
    summary = run.summary
    if paper is None or summary.experiment is None:
        return None
    if paper.metric != summary.test.metric:
        return Verdict(Kind.NOT_COMPARABLE, f"metric {summary.test.metric} for {paper.metric}")
    asked = experiments[summary.experiment]
    if asked is None:
        return Verdict(Kind.NOT_COMPARABLE, f"experiment {summary.experiment} is not one of this program's")
    if run.config_fault is not None:
        return Verdict(Kind.NOT_COMPARABLE, run.config_fault)
    if (fault := conform(with_training(run), asked)) is not None:
        return fault
    return Verdict(Kind.SHORT_RUN, f"budget {summary.budget}") if summary.budget != FULL else None


def _facts(run: RunReader) -> dict[str, Any]:
    """All that two cells of one place may differ in; a test goes by the id of its run, or of one of its seeds."""
    known = {**flat({"protocol": run.summary.protocol.test}), **facts(run)}
    return known if run.tested is None else known | {"init": f"a test of {run.tested.summary.identity}"}


def _differing(groups: list[Runs]) -> list[str]:
    """The keys in which groups differ; those of the protocol only where the configuration does not say them."""
    found = [_facts(members[0]) for members in groups]
    keys = sorted({key for each in found for key in each})
    differ = [key for key in keys if len({repr(each.get(key)) for each in found}) > 1]
    return [key for key in differ if not key.startswith("protocol.")] or differ


def name_variants(groups: list[Runs]) -> list[str]:
    """The two keys that say most of how each group differs from the others, with their values."""
    found = [_facts(members[0]) for members in groups]
    keys = sorted(_differing(groups), key=lambda key: -len({format_value(each.get(key)) for each in found}))[:2]
    names = [
        ", ".join(f"{key.removeprefix('protocol.')} {format_value(each.get(key), 40)}" for key in keys)
        for each in found
    ]
    return [name if names.count(name) == 1 else f"{name} · {i}" for i, name in enumerate(names, start=1)]


def _not_averaged(groups: list[Runs]) -> str:
    hashes = {members[0].summary.protocol.hash for members in groups}
    what = f"{len(hashes)} protocols" if len(hashes) > 1 else f"{len(groups)} configurations"
    keys = [key.removeprefix("protocol.") for key in _differing(groups)]
    more = f" and {len(keys) - 6} more" if len(keys) > 6 else ""
    return f"{what} are not averaged; they differ in {', '.join(keys[:6])}{more}"
