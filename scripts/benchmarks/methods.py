"""The table of all methods: family, data, parameters, the time of a meta-step beside MAML's in one run, and its bound.

    python scripts/benchmarks/methods.py > outputs/reference/performance/methods.md

Every method in the setting of its recipe, which is what `metabench algo=… data=…` runs: meta-steps differ in tasks and
examples. Eager, so that no compiler's time is in it; medians of repetitions, each beside one of MAML.

What bounds a step: arithmetic, where it does 40% or more of what a matrix product does; else calls, where one of its
operations takes 15 µs or less, about the price of calling one and its gradient; else memory.
"""

from __future__ import annotations

import statistics
import sys
import time
from functools import cache
from typing import Any

import torch

from metabench.config.catalog import entries, folders
from metabench.config.compose import compose
from metabench.engine.cost import work
from metabench.errors import UserError
from metabench.training.components import Components
from metabench.utils.console import Display

FAMILIES = {
    "gradient": "maml fomaml anil boil metasgd metacurvature reptile mamlpp alfa imaml cavia mtnet mmaml protomaml",
    "metric": "protonet matchingnet relationnet siamese gnn",
    "closed form": "r2d2 lrd2 ntk",
    "memory": "lstm ntm mann dnc memorymodule",
    "sequence": "snail icl",
    "neural process": "cnp np anp tnp",
    "amortised": "leo hypernet csn",
    "learned update rule": "metalstm learnedupdate",
    "generative": "statistician dagan",
    "online": "ftml ftl toe",
    "baseline": "scratch pretrain baseline baselinepp pretrainnn pixelnn joint oracle gp",
}
DATA = {"sinusoid": "sinusoid", "Omniglot": "glyphs", "stream": "glyphs_sequence", "online": "sinusoid_online"}
REPETITIONS = 3
ARITHMETIC, CALLS = 0.4, 15.0  # share of the peak, µs a call
THREADS = torch.get_num_threads()  # of steps whose plan does not say


def family(algo: str) -> str:
    """Of a method; raises `KeyError`."""
    return next(name for name, members in FAMILIES.items() if algo in members.split())


def prepared(algo: str, data: str) -> Components | None:
    """A run, or None where the method refuses the data."""
    try:
        return Components(compose("device=cpu", "engine=eager", f"algo={algo}", f"data={data}"), Display())
    except UserError:
        return None


def seconds(run: Components, step: int) -> float:
    """Of one meta-step, drawing its tasks left out."""
    tasks = run.source.sample("train", step * run.config.train.tasks, run.config.train.tasks)
    torch.set_num_threads(run.plan.threads or THREADS)
    began = time.perf_counter()
    run.meta_step(step, tasks)
    return time.perf_counter() - began


def beside(run: Components, maml: Components) -> tuple[float, float]:
    """Median seconds of a meta-step, and its median ratio to MAML's next to it."""
    times: list[tuple[float, float]] = []
    for step in range(REPETITIONS + 1):
        times.append((seconds(run, step), seconds(maml, step)))
    times = times[1:]  # the first warms up
    return statistics.median(own for own, _ in times), statistics.median(own / other for own, other in times)


@cache
def peak(threads: int) -> float:
    """GFLOP/s of the product of two square matrices on so many threads."""
    torch.set_num_threads(threads)
    a = torch.rand(1024, 1024)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - began)
    return 2 * 1024**3 / statistics.median(times) / 1e9


def bound(run: Components, took: float) -> str:
    """The bound of a meta-step that took `took` seconds, with the figures that say so."""
    tasks = run.config.train.tasks
    flops = work(run.algo, run.source.sample("train", 0, 1)).flops * tasks
    calls = work(run.algo, run.source.sample("train", 0, tasks)).calls
    speed, each = flops / took / 1e9, 1e6 * took / calls
    top = peak(run.plan.threads or THREADS)
    what = "arithmetic" if speed >= ARITHMETIC * top else "calls" if each <= CALLS else "memory"
    return f"{what}: {calls:,} calls of {each:.0f} µs, {speed:.0f} GFLOP/s"


def row(algo: str, line: str, mamls: dict[str, Components]) -> list[Any]:
    """Of the table."""
    where, parameters, cost, bounds = [], [], [], []
    for name, data in DATA.items():
        run = prepared(algo, data)
        if run is None:
            continue
        where.append(name)
        if name not in mamls:
            continue
        parameters.append(f"{sum(p.numel() for p in run.parameters):,}")
        if run.steps:
            own, ratio = beside(run, mamls[name])
            cost.append(f"{ratio:.2f} ({1e3 * own:.1f} ms)")
            bounds.append(bound(run, own))
        else:
            cost.append("–")
            bounds.append("–")
        print(algo, name, parameters[-1], cost[-1], file=sys.stderr, flush=True)
    return [f"`{algo}`", family(algo), line, ", ".join(where), " / ".join(parameters), *map(" / ".join, (cost, bounds))]


def main() -> None:
    mamls = {name: run for name in ("sinusoid", "Omniglot") if (run := prepared("maml", DATA[name]))}
    names = entries("algo", folders(None))
    order = " ".join(FAMILIES.values()).split()
    speeds = " and ".join(f"{peak(n):.0f} GFLOP/s on {n}" for n in sorted({1, THREADS}))
    print(f"torch {torch.__version__}, CPU, matrix products at {speeds} threads; medians of {REPETITIONS}\n")
    print("| algo | family | what | data | parameters (sinusoid / Omniglot) | meta-step beside MAML's | bound |")
    print("|---|---|---|---|---|---|---|")
    for algo in sorted(names, key=order.index):
        print("|", " | ".join(map(str, row(algo, names[algo], mamls))), "|", flush=True)


if __name__ == "__main__":
    main()
