"""The memory that the gradient of a meta-step keeps: flat in the tasks at a fixed chunk, and by inner steps.

    python scripts/benchmarks/memory.py outputs/reference/performance/memory.png

MAML on 5-way 1-shot 28x28 drawings, conv4-64; what autograd keeps at once, counted, not sampled.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib import style
from matplotlib.figure import Figure

from metabench.config.compose import compose
from metabench.engine.cost import saved_bytes
from metabench.plots.theme import DPI, STYLE, WIDTH
from metabench.tasks import Metrics, Tasks
from metabench.training.components import Components
from metabench.utils.console import Display

TASKS = (4, 8, 16, 32, 64)
STEPS = (1, 4, 9, 16, 25, 36, 49, 64)


class Accumulate(torch.nn.Module):
    """A whole meta-step as a model whose memory can be asked for."""

    def __init__(self, run: Components, chunk: int) -> None:
        super().__init__()
        self.algo, self.step, self.chunk = run.algo, run.meta_step, chunk

    def forward(self, tasks: Tasks) -> tuple[torch.Tensor, Metrics]:
        return torch.zeros(()), self.step.accumulate(tasks, self.chunk)


def by_tasks(chunk: int) -> list[float]:
    """MB for each number of tasks, in chunks of `chunk`; the tasks themselves apart."""
    run = Components(compose("device=cpu", "engine=eager", "data=glyphs"), Display())
    found = []
    for count in TASKS:
        tasks = run.source.sample("train", 0, count)
        own = sum(t.nbytes for part in tasks[:2] for t in part)
        found.append((saved_bytes(Accumulate(run, min(chunk, count)), tasks) - own) / 1e6)  # type: ignore[arg-type]
    return found


def by_steps(remat: bool) -> list[float]:
    """MB of one task for each number of inner steps."""
    found = []
    for steps in STEPS:
        flags = (f"algo.inner_steps={steps}", f"remat={str(remat).lower()}")
        run = Components(compose("device=cpu", "engine=eager", "data=glyphs", *flags), Display())
        found.append(saved_bytes(run.algo.train(), run.source.sample("train", 0, 1)) / 1e6)
    return found


def draw() -> Figure:
    """Measure, print and draw."""
    picture = Figure(figsize=(WIDTH, WIDTH / 2.4), dpi=DPI, layout="constrained")
    left, right = picture.subplots(1, 2)
    for chunk in (4, 16, 64):
        memory = by_tasks(chunk)
        print(f"chunk {chunk:3}: " + "  ".join(f"{n} tasks {mb:.1f} MB" for n, mb in zip(TASKS, memory, strict=True)))
        left.plot(TASKS, memory, marker="o", label=f"chunk={chunk}" if chunk < 64 else "all at once")
    for remat in (False, True):
        memory = by_steps(remat)
        print(f"remat {remat}: " + "  ".join(f"{n} steps {mb:.1f} MB" for n, mb in zip(STEPS, memory, strict=True)))
        right.plot(STEPS, memory, marker="o", label=f"remat={str(remat).lower()}")
    left.set(xlabel="tasks per meta-step", ylabel="kept for the gradient, MB", title="one inner step")
    right.set(xlabel="inner steps", title="one task")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.legend()
    return picture


def main() -> None:
    with style.context(STYLE, after_reset=True):
        picture = draw()
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(target)


if __name__ == "__main__":
    main()
