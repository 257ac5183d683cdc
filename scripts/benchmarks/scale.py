"""How the cost grows: with tasks, ways, shots, inner steps and image size; and long tests, wide episodes, long streams.

    python scripts/benchmarks/scale.py outputs/reference/performance [--axes tasks,ways]
    python scripts/benchmarks/scale.py --long

The first draws a picture for each axis: on the left the median time of a meta-step, on the right what autograd keeps at
once of a chunk of four tasks, or of as many as there are. The slope of a line is that of the last half of its points,
on logarithmic axes: 1 is proportional, 0 is flat. 5-way 1-shot 1-query 28x28 drawings and conv4-64, but for the axis.

The second runs the program in ever larger sizes, each in a process of its own, and says its seconds and peak memory:
10,000 test tasks, a 200-way episode, a stream of 10,000 rounds.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from memory import Accumulate

from metabench.config.compose import compose
from metabench.data import glyphs
from metabench.engine.cost import saved_bytes
from metabench.engine.device import describe
from metabench.plots import looks, write
from metabench.plots.theme import BLUE, ORANGE, WIDTH
from metabench.training.components import Components
from metabench.utils.console import Display

ROOT = Path(__file__).parents[2]
BASE = ("data=glyphs", "data.characters=400", "engine=eager", "data.queries=1", "train.tasks=4", "train.steps=100000")
MAML, PROTONET = ("algo=maml", "data.train.queries=1"), ("algo=protonet", "data.train.ways=5", "data.train.queries=1")
CHUNK = 4  # tasks in memory at once
REPETITIONS = 5
glyphs.draw_glyphs = cache(glyphs.draw_glyphs)  # a pure function that many runs share


@dataclass(frozen=True)
class Axis:
    """What grows, through which sizes, and what each method is then called with."""

    label: str
    sizes: tuple[int, ...]
    lines: dict[str, Callable[[int], tuple[str, ...]]]


def of_both(overrides: Callable[[int], tuple[str, ...]]) -> dict[str, Callable[[int], tuple[str, ...]]]:
    return {"MAML": lambda n: (*MAML, *overrides(n)), "ProtoNet": lambda n: (*PROTONET, *overrides(n))}


AXES = {
    "tasks": Axis("tasks per meta-step", (1, 2, 4, 8, 16, 32, 64), of_both(lambda n: (f"train.tasks={n}",))),
    "ways": Axis(
        "ways", (2, 5, 10, 20, 50, 100, 200), of_both(lambda n: (f"data.ways={n}", f"data.train.ways={n}"))
    ),
    "shots": Axis("shots", (1, 2, 4, 8, 16), of_both(lambda n: (f"data.shots={n}", f"data.train.shots={n}"))),
    "inner_steps": Axis(
        "inner steps",
        (1, 2, 4, 8, 16, 32),
        {
            name: lambda n, remat=remat: (*MAML, f"algo.inner_steps={n}", f"remat={remat}")  # type: ignore[misc]
            for name, remat in (("MAML", "false"), ("MAML, remat=true", "true"))
        },
    ),
    "image_size": Axis("side of an image, pixels", (16, 28, 56, 84), of_both(lambda n: (f"data.size={n}",))),
}  # fmt: skip

TEST = ("data=glyphs", "data.characters=100", "algo=protonet", "data.train.ways=5", "data.queries=1", "train.steps=1")
WIDE = ("data=glyphs", "data.characters=400", "train.steps=1", "train.tasks=1", "test.episodes=10")
STREAM = (
    "data=sinusoid_online",
    "algo=ftml",
    "data.shots=2",
    "data.train.shots=1",
    "data.train.queries=1",
    "engine=eager",
)
LONG: dict[str, tuple[tuple[int, ...], Callable[[int], tuple[str, ...]]]] = {
    "test tasks": ((100, 1_000, 10_000), lambda n: (*TEST, f"test.episodes={n}")),
    "ways, ProtoNet": ((20, 200), lambda n: (*WIDE, "algo=protonet", f"data.ways={n}", f"data.train.ways={n}")),
    "ways, MAML": ((20, 200), lambda n: (*WIDE, "algo=maml", f"data.ways={n}", f"data.train.ways={n}")),
    "rounds of a stream": ((100, 1_000, 10_000), lambda n: (*STREAM, f"data.online.rounds={n}", f"train.steps={n}")),
}


def slope(sizes: list[float], values: list[float]) -> float:
    """d log(value) / d log(size) by least squares over the last half of the points, three at least."""
    last = max(3, math.ceil(len(sizes) / 2))
    x, y = ([math.log(v) for v in part[-last:]] for part in (sizes, values))
    return statistics.linear_regression(x, y).slope


def opened(overrides: tuple[str, ...]) -> Components:
    run = Components(compose("device=cpu", *BASE, f"chunk={CHUNK}", *overrides), Display())
    run.algo.train()
    return run


def seconds(runs: list[Components]) -> list[float]:
    """The median of a meta-step of each, in turns."""
    times: list[list[float]] = [[] for _ in runs]
    for repetition in range(REPETITIONS + 1):
        for run, own in zip(runs, times, strict=True):
            count = run.config.train.tasks
            tasks = run.source.sample("train", repetition * count, count)
            began = time.perf_counter()
            run.meta_step(repetition, tasks)
            own.append(time.perf_counter() - began)
    return [statistics.median(own[1:]) for own in times]  # the first warms up


def kept(run: Components) -> float:
    """MB that autograd keeps at once in a meta-step, the tasks themselves apart."""
    tasks = run.source.sample("train", 0, run.config.train.tasks)
    whole = Accumulate(run, min(CHUNK, run.config.train.tasks))
    for i, tensor in enumerate(tasks.tensors()):
        whole.register_buffer(f"given{i}", tensor)
    return saved_bytes(whole, tasks) / 1e6  # type: ignore[arg-type]


def picture(axis: Axis) -> tuple[Figure, list[str]]:
    """Measure along an axis; the picture, and a row of a table for each line."""
    drawn = Figure(figsize=(WIDTH, WIDTH / 2.4), layout="constrained")
    left, right = drawn.subplots(1, 2)
    rows = []
    for (name, overrides), color in zip(axis.lines.items(), (BLUE, ORANGE), strict=True):
        runs = [opened(overrides(size)) for size in axis.sizes]
        times, memory = [1e3 * s for s in seconds(runs)], [kept(run) for run in runs]
        slopes = [line(axes, axis, name, values, color) for axes, values in ((left, times), (right, memory))]
        ends = [f"{values[0]:.3g} to {values[-1]:.3g}" for values in (times, memory)]
        sizes = f"{axis.sizes[0]} to {axis.sizes[-1]}"
        rows.append(f"| {axis.label} | {sizes} | {name} | {ends[0]} | {slopes[0]:.2f} | {ends[1]} | {slopes[1]:.2f} |")
        print(rows[-1], flush=True)
    for axes in (left, right):
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** 0.25)  # room for the legend above the lines
        axes.legend()
    left.set(ylabel="time of a meta-step, ms")
    right.set(ylabel=f"kept for the gradient of {CHUNK} tasks, MB")
    return drawn, rows


def line(axes: Axes, axis: Axis, name: str, values: list[float], color: str) -> float:
    """Draw a line; its slope."""
    found = slope([float(size) for size in axis.sizes], values)
    axes.loglog(axis.sizes, values, marker="o", color=color, label=f"{name}, slope {found:.2f}")
    axes.set_xlabel(axis.label)
    axes.set_xticks(axis.sizes, [str(size) for size in axis.sizes], minor=False)
    axes.minorticks_off()
    return found


def program(overrides: tuple[str, ...]) -> tuple[float, float]:
    """Seconds and peak MB of the program in a process of its own; raises `SystemExit` where it fails."""
    quick = ("budget=smoke", "validate.episodes=2", "log.pictures=false", "device=cpu", *overrides)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as work, (Path(work) / "said").open("w+") as said:
        began = time.perf_counter()
        started = subprocess.Popen(
            [sys.executable, "-m", "metabench", *quick],
            cwd=work, stdout=said, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        _, status, used = os.wait4(started.pid, 0)
        took, started.returncode = time.perf_counter() - began, os.waitstatus_to_exitcode(status)
        if started.returncode:
            said.seek(0)
            raise SystemExit(f"metabench {' '.join(quick)}: {said.read().strip().splitlines()[-1]}")
    return took, used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def long_runs(largest: int) -> None:
    print("| | | seconds | peak memory, MB |\n|---|---|---|---|", flush=True)
    for what, (sizes, overrides) in LONG.items():
        for size in sizes:
            if size <= largest:
                took, peak = program(overrides(size))
                print(f"| {what} | {size:,} | {took:.1f} | {peak:.0f} |", flush=True)


def where() -> str:
    """The command, the machine, the date and the code."""
    git = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    machine = f"{describe(torch.device('cpu'))}, torch {torch.__version__}"
    return f"`python {' '.join(sys.argv)}`, {machine}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="for the pictures and their table")
    parser.add_argument("--axes", type=lambda text: text.split(","), default=list(AXES), help=f"of {','.join(AXES)}")
    parser.add_argument("--long", action="store_true", help="the long runs instead")
    parser.add_argument("--largest", type=int, default=10_000, help="size of a long run")
    options = parser.parse_args()
    if options.long == (options.folder is not None):
        parser.error("give a folder for pictures, or --long")
    if strange := [name for name in options.axes if name not in AXES]:
        parser.error(f"--axes {strange[0]}: there is no such axis; valid: {', '.join(AXES)}")
    print(where(), flush=True)
    if options.long:
        long_runs(options.largest)
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    table = ["| axis | sizes | method | ms | slope | MB | slope |", "|---|---|---|---|---|---|---|"]
    print("\n".join(table), flush=True)
    with looks():
        for name in options.axes:
            drawn, rows = picture(AXES[name])
            write(drawn, options.folder / f"scale_{name}.png", colours=64)
            table += rows
            (options.folder / "scale.md").write_text("\n".join([where(), "", *table]) + "\n")


if __name__ == "__main__":
    main()
