"""Tasks that came one after the other: how well and how fast each was learned, beside other runs on the same stream."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy import ndarray

from metabench.algo.base import Algorithm
from metabench.errors import UserError
from metabench.pictures.curves import UNITS
from metabench.pictures.look import BLUE, GREY, INK, ORANGE, WIDTH
from metabench.runs import RunFiles

Outcome = dict[str, Any]  # `online` of a test
COLORS = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", INK)  # Okabe & Ito
SMOOTH = 10  # parts of a run, over each of which curves are means


def beside(run: Path, protocol: str) -> dict[str, Outcome]:
    """Other finished runs of the same protocol in the folders beside that of `run`, by the names of their methods."""
    found: dict[str, Outcome] = {}
    for path in sorted(run.resolve().parent.parent.glob("*/*/summary.json")):
        try:
            other = RunFiles(path.parent, found=True)
            name = other.config["algo"]["_target_"].rpartition(".")[2]
            if other.path != run.resolve() and other.summary["protocol"]["hash"] == protocol:
                names = (name if i == 1 else f"{name} {i}" for i in count(1))
                found[next(name for name in names if name not in found)] = other.summary["test"]["online"]
        except (UserError, KeyError):  # another program's file, or a run of an older version
            continue
    return found


def rounds(algo: Algorithm, own: Outcome, others: dict[str, Outcome]) -> Figure:
    """The metric after each shot, and over the rounds the final one, the examples needed, and the error so far."""
    name, outcomes = type(algo).__name__, {"": own, **others}
    metric, shots = algo.objective.metric_name, algo.spec.eval.shots
    unit, scale = UNITS.get(metric, (metric, 1))
    picture = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    panels = picture.subplots(2, 2)
    (shot, final), (needed, error) = panels
    for (label, outcome), color in zip(outcomes.items(), COLORS, strict=False):
        look: dict[str, Any] = {"color": color, "linewidth": 1.4 if label else 2.0, "zorder": 2 if label else 3}
        found = scale * np.array(outcome["rounds"], dtype=float)  # [rounds, shots]
        length, each = found.shape[0], _examples(outcome, algo)
        at = np.arange(1, length + 1)
        shot.plot(np.arange(1, shots + 1), found.mean(0), label=label or name, marker="o", markersize=3, **look)
        final.plot(at, _running(found[:, -1]), **look)
        needed.plot(at, _running(each), **look)
        error.plot(at, outcome["cumulative_error"], **look)
    error.plot(
        at, own["regret"], color=BLUE, linestyle=(0, (3, 2)), linewidth=1.2, label=f"{name}, less its last weights'"
    )
    limit: dict[str, Any] = {"color": GREY, "linewidth": 1, "linestyle": (0, (3, 2)), "zorder": 1}
    for axes in (shot, final):
        axes.axhline(scale * own["threshold"], **limit)
        axes.set_ylabel(unit)
        if not algo.objective.higher_is_better:
            axes.set_ylim(bottom=0)
    shot.set(title="as a task's examples come (mean over rounds)", xlabel=_shots(algo))
    final.set(title=f"after all {shots}", xlabel="round")
    needed.set(title="examples to the threshold (all, where never)", xlabel="round", ylim=(0, None))
    error.set(title="error so far, summed over rounds", xlabel="round", ylim=(min(0, *own["regret"]), None))
    error.legend(loc="upper left")
    for axes in panels.flat:
        axes.title.set_fontsize(9)
    picture.legend(*shot.get_legend_handles_labels(), loc="outside upper center", ncols=len(COLORS))
    return picture


def _shots(algo: Algorithm) -> str:
    return "examples of each class" if algo.spec.num_classes else "examples"


def _examples(outcome: Outcome, algo: Algorithm) -> ndarray:
    """Examples to the threshold; all of a task's where it was never reached."""
    whole = algo.spec.eval.shots * (algo.spec.eval.outputs if algo.spec.num_classes else 1)
    return np.array([whole if needed is None else needed for needed in outcome["examples_to_threshold"]], dtype=float)


def _running(values: ndarray) -> ndarray:
    """Means over the last tenth of a run, or of what there is of it."""
    width = max(1, len(values) // SMOOTH)
    sums = np.concatenate([[0.0], values.cumsum()])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
