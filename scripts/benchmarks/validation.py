"""The time of a validation, which predicts after the last inner step alone, over that of a prediction after each step.

    python scripts/benchmarks/validation.py [--data omniglot] [--tasks 100] [--repetitions 3]

Both are the same numbers of the same tasks, which is checked; they take turns, and the medians are compared.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from metabench.config.compose import compose
from metabench.training.components import Components
from metabench.utils.console import Display

MODELS = {
    "MAML": ("algo=maml",),
    "MAML, 5 training and 10 test steps": ("algo=maml", "algo.inner_steps=5", "algo.eval_inner_steps=10"),
    "MAML++": ("algo=mamlpp",),
}


def compare(overrides: list[str], tasks: int, repetitions: int) -> tuple[float, float]:
    """Median seconds of a validation with the last prediction alone, and with all of them."""
    run = Components(compose("device=cpu", "engine=eager", *overrides), Display())
    times: dict[bool, list[float]] = {True: [], False: []}
    found: dict[bool, torch.Tensor] = {}
    for repetition in range(repetitions + 1):
        for last in times:
            began = time.perf_counter()
            found[last] = run.evaluate("validation", tasks, last=last)[run.metric][:, -1]
            if repetition:  # the first warms up
                times[last].append(time.perf_counter() - began)
    assert torch.equal(found[True], found[False]), "the last prediction differs"
    return statistics.median(times[True]), statistics.median(times[False])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="omniglot")
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="of the configuration")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.data}, {options.tasks} tasks")
    print("| model | the last alone, s | each step, s | ratio |\n|---|---|---|---|")
    for name, model in MODELS.items():
        overrides = [f"data={options.data}", *model, *options.overrides]
        alone, each = compare(overrides, options.tasks, options.repetitions)
        print(f"| {name} | {alone:.2f} | {each:.2f} | {alone / each:.2f} |", flush=True)


if __name__ == "__main__":
    main()
