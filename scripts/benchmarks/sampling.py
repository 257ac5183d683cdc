"""Tasks a second that each data source draws on one core, labels, rotations and drawings included.

python scripts/benchmarks/sampling.py [--data omniglot]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from metabench.config.compose import compose
from metabench.data.base import TaskSource
from metabench.data.build import build_source

WORKLOADS = {
    "5-way 1-shot 1-query": (["data.ways=5", "data.queries=1", "algo=maml"], 32),
    "20-way 1-shot 1-query": (["data.ways=20", "data.queries=1", "algo=maml"], 16),
    "60-way 1-shot 5-query": (["data.ways=60", "data.queries=5", "algo=protonet"], 1),
}


def rate(source: TaskSource, batch: int, batches: int = 200) -> float:
    """Median tasks per second over `batches` batches, after a warm-up."""
    times = []
    for i in range(batches + 20):
        began = time.perf_counter()
        source.sample("train", i * batch, batch)
        times.append(time.perf_counter() - began)
    return batch / statistics.median(times[20:])


def source_of(*overrides: str) -> TaskSource:
    config = compose(*overrides)
    return build_source(config.data, config.seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="omniglot", choices=["omniglot", "glyphs"])
    data = parser.parse_args().data
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread; median of 200 batches")
    print(f"{'sinusoid, 10 + 10 points':40} {rate(source_of('data=sinusoid'), 25):10.0f} tasks/s  (batches of 25)")
    for name, (overrides, batch) in WORKLOADS.items():
        found = rate(source_of(f"data={data}", *overrides), batch)
        print(f"{data + ', ' + name:40} {found:10.0f} tasks/s  (batches of {batch})")


if __name__ == "__main__":
    main()
