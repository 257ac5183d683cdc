"""New images that a generative method makes from a support set."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor

from metabench.algo.base import Algorithm
from metabench.data.base import TaskSource
from metabench.plots.episode import BREAK, DRAWING, NAME, PAGE, SIDE_BY_SIDE, tile
from metabench.plots.theme import BLUE, GREY, PALE, WIDTH

SUPPORT, MADE = 3, 5  # images of a class that are shown, and that are made
TITLE = 0.5


def samples(algo: Algorithm, source: TaskSource) -> Figure | None:
    """One column per class of a validation task: support images, and below them new ones; None if none are made."""
    (x, y), episode = source.sample("validation", 0, 1).support, source.spec.eval
    made = _generated(algo, source)
    if made is None:
        return None
    classes, shots = min(episode.outputs, SIDE_BY_SIDE), min(episode.shots, SUPPORT)
    below = TITLE + NAME + shots + BREAK
    height = below + MADE
    picture = Figure(figsize=(WIDTH, WIDTH * height / PAGE))
    axes = picture.add_axes((0, 0, 1, 1))
    first = (PAGE - classes) / 2
    axes.text(first, TITLE / 2, "validation task 0: drawn by the model after the support set", va="center")
    for name, middle in (("support", below - BREAK - shots / 2), ("new", below + MADE / 2)):
        axes.text(first - 0.15, middle, name, rotation=90, va="center", ha="center", color=GREY)
    for label in range(classes):
        left = first + label
        axes.text(left + DRAWING / 2, TITLE + NAME / 2, f"{label + 1}", va="center", ha="center")
        for row, drawing in enumerate(source.pixels(x[0][y[0] == label][:shots]).cpu()):
            tile(axes, left, TITLE + NAME + row, drawing, PALE, 1)
        for row, drawing in enumerate(made[label]):
            tile(axes, left, below + row, drawing, BLUE, 1)
    axes.set(xlim=(0, PAGE), ylim=(height, 0))
    axes.set_axis_off()
    return picture


def _generated(algo: Algorithm, source: TaskSource) -> Tensor | None:
    """New drawings `[ways, MADE, C, H, W]` after the first validation task; the model is left as it was."""
    support, training = source.sample("validation", 0, 1).support, algo.training
    algo.eval()
    try:
        with torch.no_grad():
            made = algo.generate(support, MADE)
    finally:
        algo.train(training)
    return None if made is None else source.pixels(made[0]).float().cpu()
