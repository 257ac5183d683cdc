"""From the start of the process to the first training step on packed Omniglot, the import of torch apart.

METABENCH_DATA=… python scripts/benchmarks/start.py
"""

from __future__ import annotations

import time

began = time.perf_counter()
import torch  # noqa: E402

imported = time.perf_counter()

from metabench.config.compose import compose  # noqa: E402
from metabench.training.components import Components  # noqa: E402
from metabench.utils.console import Display  # noqa: E402


def main() -> None:
    """Build the default Omniglot runs and take one meta-step of each."""
    print(f"import torch {torch.__version__}: {imported - began:.2f} s")
    for algo in ("maml", "protonet"):
        start = time.perf_counter() if algo != "maml" else imported
        run = Components(compose("data=omniglot", f"algo={algo}", "device=cpu"), Display())
        ready = time.perf_counter()
        run.meta_step(0, run.source.sample("train", 0, run.config.train.tasks))
        done = time.perf_counter()
        print(f"{algo}: {ready - start:.2f} s to a built run, {done - start:.2f} s to the end of the first meta-step")


if __name__ == "__main__":
    main()
