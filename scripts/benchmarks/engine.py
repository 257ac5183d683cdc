"""The engines side by side: a meta-step, what compiling costs before the first one, and from how many steps it pays.

    python scripts/benchmarks/engine.py [--device cuda] [--markdown FILE]

Each engine in a process of its own, with an empty compiler cache; the second start finds the cache of the first.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORKLOADS = {
    "MAML sinusoid, 1 step": "data=sinusoid",
    "MAML sinusoid, 5 steps": "data=sinusoid algo.inner_steps=5",
    "Meta-SGD sinusoid, 1 step": "data=sinusoid algo=metasgd",
    "Reptile sinusoid": "data=sinusoid algo=reptile",
    "MAML 5-way 1-shot, MLP 256-128-64-64, 1 step": "data=glyphs backbone=mlp_omniglot",
    "MAML 5-way 1-shot, conv4, 1 step": "data=glyphs",
}
SLOW = ("conv4",)  # names of workloads whose compiling is not repeated from the cache


def child(overrides: list[str]) -> None:
    """Print the seconds of the first meta-step and the median of the others."""
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    import torch

    from metabench.config.compose import compose
    from metabench.training.components import Components
    from metabench.utils.console import Display

    run = Components(compose("train.steps=100000", *overrides), Display())
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 8 or (time.perf_counter() - began - times[0] < 3 and len(times) < 2000):
        start, step = time.perf_counter(), len(times)
        run.meta_step(step, run.loader(step))
        if run.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    print(json.dumps([times[0], statistics.median(times[3:]), run.plan.describe()]))


def measure(overrides: str, engine: str, device: str, cache: str) -> tuple[float, float, str]:
    """Seconds of the first meta-step, of the others, and the plan."""
    command = [sys.executable, __file__, "--child", f"device={device}", f"engine={engine}", *overrides.split()]
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    first, median, plan = json.loads(done.stdout.splitlines()[-1])
    return first, median, plan


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments.add_argument("--markdown", type=Path)
    arguments.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.child:
        child(options.child)
        return
    lines = [
        "| workload | eager, ms | compiled, ms | ratio | first step, cold | from the cache | pays from, steps |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for name, overrides in WORKLOADS.items():
        with tempfile.TemporaryDirectory() as cache:
            _, eager, _ = measure(overrides, "eager", options.device, cache)
            cold, compiled, _ = measure(overrides, "compile", options.device, cache)
            again = (
                ""
                if any(s in name for s in SLOW)
                else f"{measure(overrides, 'compile', options.device, cache)[0]:.1f} s"
            )
        gain = eager - compiled
        pays = f"{cold / gain:,.0f}" if gain > 0.02 * eager else "never"
        lines.append(
            f"| {name} | {1e3 * eager:.2f} | {1e3 * compiled:.2f} | {eager / compiled:.2f} "
            f"| {cold:.1f} s | {again} | {pays} |"
        )
        print(lines[-1], flush=True)
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
