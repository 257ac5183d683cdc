"""Every engine and precision on the peers' workloads: the time of a meta-step, its gradient's error, and memory.

    python scripts/benchmarks/meta_steps.py [--device cuda] [--workloads omniglot5] [--choices graph,eager]

Weights, batches and the float64 reference are those of compare_peers.py, and so is the limit of a right gradient.
*step* waits for the device after each meta-step, *in a row* only after many, as training does. *first* includes what is
compiled or captured. Each choice is a process of its own; each row is printed as it is found.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from compare_peers import distance
from peers.client import python_path
from peers.metabench import Metabench
from peers.report import TOLERANCE, clock
from peers.worker import Job
from peers.workloads import BATCHES, WORKLOADS

CHOICES = {
    "graph": ("engine=graph",),
    "eager": ("engine=eager",),
    "compile": ("engine=compile",),
    "graph-tf32": ("engine=graph", "device.precision=tf32"),
    "graph-bfloat16": ("engine=graph", "device.precision=bfloat16"),
    "eager-bfloat16": ("engine=eager", "device.precision=bfloat16"),
}
ON = {
    "cuda": ("graph", "eager", "graph-tf32", "graph-bfloat16", "compile"),
    "cpu": ("eager", "compile", "eager-bfloat16"),
}
MOST = 500  # meta-steps that are timed
HEAD = ("workload", "choice", "step", "in a row", "first", "gradient error", "memory")


def export(key: str, folder: Path, device: str) -> None:
    """Write weights, batches and the reference gradient of a workload, unless they are there."""
    if (folder / "reference.npz").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    Metabench([]).export(Job(WORKLOADS[key], folder, device))
    environment = {**os.environ, "PYTHONPATH": python_path()}
    subprocess.run(
        [sys.executable, "-P", "-m", "peers.reference", key, str(folder), device], env=environment, check=True
    )


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(key: str, choice: str, folder: Path, device: str, budget: float) -> list[str]:
    """The cells of a row; `budget` is in seconds."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ours = Metabench(list(CHOICES[choice]))
    ours.prepare(Job(WORKLOADS[key], folder, device))
    began = time.perf_counter()
    ours.step(0)
    first = time.perf_counter() - began
    found = folder / f"{choice}.npz"
    np.savez(found, **ours.gradient())  # type: ignore[arg-type]
    error = distance(found, folder / "reference.npz")
    for i in range(1, BATCHES):
        ours.step(i)
    times: list[float] = []
    while len(times) < 3 or (sum(times) < budget and len(times) < MOST):
        began = time.perf_counter()
        ours.step(len(times) % BATCHES)
        times.append(time.perf_counter() - began)
    wait(device)
    began = time.perf_counter()
    for i in range(len(times)):
        ours.run.meta_step(ours.done + i, ours.batches[i % BATCHES])
    wait(device)
    row = (time.perf_counter() - began) / len(times)
    wrong = "" if error <= TOLERANCE or "float" in choice or "tf32" in choice else " WRONG"
    engine = ours.run.meta_step.plan.engine
    assert ours.run.meta_step.graphed == (engine == "graph"), "the graph was given up"
    memory = f"{ours.memory() / 2**20:.0f} MB"
    return [clock(statistics.median(times)), clock(row), f"{first:.1f} s", f"{error:.1e}{wrong}", memory]


def child(choice: str, options: argparse.Namespace) -> None:
    for key in options.workloads:
        try:
            cells = measure(key, choice, options.folder / key, options.device, options.seconds)
        except Exception as fault:  # the next workload may do
            cells = [f"– {type(fault).__name__}: {' '.join(str(fault).split())[:200]}", "", "", "", ""]
        print("|", " | ".join([key, choice, *cells]), "|", flush=True)
        gc.collect()
        if options.device == "cuda":
            torch.cuda.empty_cache()


def main() -> None:
    able = [key for key, workload in WORKLOADS.items() if workload.kind in ("maml", "protonet")]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--workloads", type=lambda text: text.split(","), default=able, help=f"of {','.join(able)}")
    parser.add_argument("--choices", type=lambda text: text.split(","), help=f"of {','.join(CHOICES)}")
    parser.add_argument("--seconds", type=float, default=1.0, help="of timed meta-steps in a row of the table")
    parser.add_argument("--folder", type=Path, help="where weights, batches and references are kept for the next time")
    parser.add_argument("--child", choices=CHOICES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        for key in options.workloads:
            export(key, folder / key, options.device)
        print("|", " | ".join(HEAD), "|\n|" + "---|" * len(HEAD), flush=True)
        same = ["--device", options.device, "--seconds", str(options.seconds), "--folder", str(folder)]
        for choice in options.choices or ON[options.device]:
            command = [sys.executable, __file__, *same, "--workloads", ",".join(options.workloads), "--child", choice]
            subprocess.run(command, check=False)


if __name__ == "__main__":
    main()
