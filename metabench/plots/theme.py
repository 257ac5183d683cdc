"""The look that all pictures share, and predictions as evaluation makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from textwrap import fill

import torch
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from torch import Tensor

from metabench.algo.base import Algorithm
from metabench.figures.look import look
from metabench.tasks import Examples, Tasks

DPI, WIDTH = 120, 800 / 120  # inches: every picture is 800 pixels wide
INK, GREY, PALE, BLUE, ORANGE = "#222222", "#8c8c8c", "#d4d4d4", "#0072b2", "#d55e00"  # Okabe & Ito: for every eye
STYLE = look(ink=INK, axis=GREY, label=INK, grid="#ebebeb")
LETTERS = 105  # in the width of a picture


def legend_above(picture: Figure, handles: Sequence[Artist], labels: Sequence[str], title: str | None = None) -> int:
    """A legend above all panels, in as many columns as its labels leave room for, long ones broken; its lines."""
    labels = [fill(label, LETTERS - 10) for label in labels]
    widest = max(len(line) for label in labels for line in label.splitlines())
    across = max(1, min(len(labels), 4, LETTERS // (8 + widest)))
    words = None if title is None else fill(title, LETTERS + 5)
    picture.legend(
        handles, labels, loc="outside upper left", ncols=across, title=words, alignment="left", borderpad=0.1
    )
    return sum(len(label.splitlines()) for label in labels[::across]) + len((words or "").splitlines())


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
