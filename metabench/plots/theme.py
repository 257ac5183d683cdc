"""The look that all pictures share, and predictions as evaluation makes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from metabench.algo.base import Algorithm
from metabench.tasks import Examples, Tasks

DPI, WIDTH = 120, 800 / 120  # inches: every picture is 800 pixels wide
INK, GREY, PALE, BLUE, ORANGE = "#222222", "#8c8c8c", "#d4d4d4", "#0072b2", "#d55e00"  # Okabe & Ito: for every eye
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ebebeb",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.5,
    "svg.hashsalt": "metabench",  # names inside an SVG are the same every time
}


def steps(count: int) -> str:
    """A number of steps in words."""
    return "1 step" if count == 1 else f"{count} steps"


def predictions(algo: Algorithm, tasks: Tasks, x: Tensor) -> list[Tensor]:
    """Predictions `[T, M, O]` for queries x after each inner step, on the CPU; the model is left as it was."""
    return _seen(algo, algo.outputs, tasks, x)


def draws(algo: Algorithm, tasks: Tasks, x: Tensor, count: int) -> list[Tensor]:
    """Predictions under `count` samples of what the support set leaves open, if the model samples any."""
    return _seen(algo, partial(algo.draws, count=count), tasks, x)


def _seen(
    algo: Algorithm, predict: Callable[[Examples, Tensor], list[Tensor]], tasks: Tasks, x: Tensor
) -> list[Tensor]:
    training = algo.training
    support, (x, _) = algo.view(Tasks(tasks.support, Examples(x, tasks.query.y), tasks.truth, tasks.keys))[:2]
    algo.eval()
    try:
        with torch.no_grad():
            return [prediction.float().cpu() for prediction in predict(support, x)]
    finally:
        algo.train(training)
