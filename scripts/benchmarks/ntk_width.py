"""Convergence of finite networks to the infinite one with growing width: tangent kernel and trained predictions.

    python scripts/benchmarks/ntk_width.py outputs/reference/ntk/width.png

Ten points of a sinusoid, x and y divided by their ranges; networks of two hidden layers in the parametrisation of
`metabench.algo.ntk`, trained by gradient descent on ½ Σ (f - y)² up to time 2; predictions are relative to those before
training, which have mean zero. Means over ten initialisations; float64.
"""

from __future__ import annotations

import json
import math
import sys
from itertools import pairwise
from pathlib import Path

import torch
from matplotlib import style
from matplotlib.figure import Figure
from torch import Tensor

from metabench.algo.ntk import NTK
from metabench.config.compose import compose
from metabench.plots.theme import BLUE, DPI, INK, ORANGE, PALE, STYLE, WIDTH
from metabench.tasks import Examples
from metabench.training.components import Components
from metabench.utils.console import Display

WIDTHS = (16, 64, 256, 1024)
SEEDS = range(10)
DEPTH, TIME, RATE = 2, 2.0, 0.02
INFINITE = ("algo=ntk", f"algo.depths=[{DEPTH}]", f"algo.time={TIME}", "algo.noise=1.0e-9", "algo.bias_variance=0.5")


class Finite:
    """A network of `width` units in each of DEPTH hidden layers, under the variances of `infinite`."""

    def __init__(self, infinite: NTK, width: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        sizes = [1, *[width] * DEPTH, 1]
        shapes = [(rows, columns) for columns, rows in pairwise(sizes)]
        self.weights = [_normal(generator, *shape) for shape in shapes]
        self.biases = [_normal(generator, rows) for rows, _ in shapes]
        self.parameters = [*self.weights, *self.biases]
        self.weight_std, self.bias_std = (math.exp(p.item() / 2) for p in (infinite.log_weight, infinite.log_bias))

    def __call__(self, x: Tensor) -> Tensor:
        """`[N]` of x `[N, 1]`."""
        for layer, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x.relu() if layer else x
            x = self.weight_std / math.sqrt(w.shape[1]) * x @ w.mT + self.bias_std * b
        return x.squeeze(-1)

    def kernel(self, x: Tensor) -> Tensor:
        """Tangent kernel at x, `[N, N]`."""
        rows = [torch.cat([g.flatten() for g in torch.autograd.grad(one, self.parameters)]) for one in self._each(x)]
        return torch.stack(rows) @ torch.stack(rows).mT

    def _each(self, x: Tensor) -> list[Tensor]:
        return [self(point[None]).squeeze(0) for point in x]

    def train(self, support: Examples, x: Tensor) -> Tensor:
        """Predictions for x after training for TIME, minus those before."""
        with torch.no_grad():
            at_support, at_x = self(support.x), self(x)
        for _ in range(round(TIME / RATE)):
            loss = 0.5 * (self(support.x) - at_support - support.y).square().sum()
            for p, gradient in zip(self.parameters, torch.autograd.grad(loss, self.parameters), strict=True):
                p.data.sub_(gradient, alpha=RATE)
        with torch.no_grad():
            return self(x) - at_x


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def distance(found: Tensor, exact: Tensor) -> float:
    """Relative distance in the Frobenius norm."""
    return ((found - exact).norm() / exact.norm()).item()


def measure() -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Mean distances for each width, and the curves of the picture."""
    run = Components(compose("device=cpu", "engine=eager", "data=sinusoid", "backbone.hidden=[]", *INFINITE), Display())
    infinite, task = run.algo.double(), run.source.sample("validation", 0, 1)
    assert isinstance(infinite, NTK)
    support = Examples(task.support.x[0].double() / 5, task.support.y[0, :, 0].double() / 5)
    grid = torch.linspace(-1, 1, 81, dtype=torch.float64)[:, None]
    eye = torch.eye(len(support.x), dtype=torch.bool)
    with torch.no_grad():
        kernel = infinite.kernel(support.x[None], support.x[None], eye)[0]
        exact = infinite.solve(Examples(support.x[None], support.y[None, :, None]), grid[None])[0, :, 0]
    found: dict[str, list[float]] = {"kernel": [], "prediction": []}
    curves = {"x": grid[:, 0], "infinite": exact, "support x": support.x[:, 0], "support y": support.y}
    for width in WIDTHS:
        networks = [Finite(infinite, width, seed) for seed in SEEDS]
        found["kernel"].append(_mean([distance(net.kernel(support.x), kernel) for net in networks]))
        trained = [net.train(support, grid) for net in networks]
        found["prediction"].append(_mean([distance(one, exact) for one in trained]))
        curves[f"width {width}"] = trained[0]
    return found, curves


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def draw(found: dict[str, list[float]], curves: dict[str, Tensor]) -> Figure:
    """Plot distances against width, and the predictions of the first networks."""
    picture = Figure(figsize=(WIDTH, WIDTH / 2.4), dpi=DPI, layout="constrained")
    left, right = picture.subplots(1, 2)
    for (name, values), color in zip(found.items(), (BLUE, ORANGE), strict=True):
        left.loglog(WIDTHS, values, "o-", color=color, label=name)
    slope = [found["kernel"][0] * math.sqrt(WIDTHS[0] / width) for width in WIDTHS]
    left.loglog(WIDTHS, slope, "--", color=PALE, label="1 / √width", zorder=1)
    left.set(xlabel="width", ylabel="relative distance to infinite width")
    for width, color in zip(WIDTHS[::2], (ORANGE, BLUE), strict=True):
        right.plot(curves["x"], curves[f"width {width}"], color=color, linewidth=1, label=f"width {width}")
    right.plot(curves["x"], curves["infinite"], color=PALE, linewidth=5, label="infinite", zorder=1)
    right.plot(curves["support x"], curves["support y"], "o", color=INK, markersize=4.5, label="support")
    right.set(xlabel="x / 5", ylabel="y / 5")
    for axes in (left, right):
        axes.legend()
    return picture


def main() -> None:
    torch.set_num_threads(1)
    found, curves = measure()
    for name, values in found.items():
        print(f"{name}: " + "  ".join(f"width {w} {value:.4f}" for w, value in zip(WIDTHS, values, strict=True)))
    with style.context(STYLE, after_reset=True):
        picture = draw(found, curves)
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(target)
    target.with_suffix(".json").write_text(json.dumps({"width": WIDTHS, **found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
