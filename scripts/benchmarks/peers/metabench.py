"""metabench by its own path: a composed run, its `meta_step`, its `source.sample`.

It also writes the weights and batches that everyone gets. Arguments are overrides of the configuration
(`engine=eager`), those of the workload apart.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command does for itself

import numpy as np
import torch

from metabench import __version__
from metabench.config.compose import compose
from metabench.tasks import Examples, Tasks
from metabench.training.components import Components
from metabench.utils.console import Display
from peers.torch_side import first_gradient, plain_name
from peers.worker import Arrays, Contestant, Job, serve
from peers.workloads import BATCHES, OUTER_LR, SHIFT

PARTS = ("support_x", "support_y", "query_x", "query_y")


class Metabench(Contestant):
    """What `metabench OVERRIDES` would do with the same batches."""

    def __init__(self, overrides: list[str]) -> None:
        self.overrides = overrides

    def open(self, job: Job) -> Components:
        settings = job.workload.configuration(os.environ.get("METABENCH_PEERS_DATA", "omniglot"))
        common = (f"device={job.device}", f"optim.lr={OUTER_LR}")
        return Components(compose(*settings, *common, *self.overrides), Display())

    def export(self, job: Job) -> None:
        """Write the weights to begin with and the batches to go round."""
        run = self.open(job)
        weights = {plain_name(name): value.cpu().numpy() for name, value in run.algo.state_dict().items()}
        for name in weights:
            if job.workload.kind == "maml" and name.startswith("norms") and name.endswith("bias"):
                weights[name] = weights[name] + np.float32(SHIFT)
        np.savez(job.folder / "weights.npz", **weights)
        for i in range(BATCHES):
            tasks = run.source.sample("train", i * job.workload.tasks, job.workload.tasks)
            parts = zip(PARTS, (*tasks.support, *tasks.query), strict=True)
            arrays: Arrays = {name: part.cpu().numpy() for name, part in parts}
            np.savez(job.folder / f"batch{i}.npz", **arrays)  # type: ignore[arg-type]

    def prepare(self, job: Job) -> None:
        self.run, self.workload, self.done = self.open(job), job.workload, 0
        if self.workload.kind == "sampling":
            return
        weights = job.weights()
        names = self.run.algo.state_dict()
        self.run.algo.load_state_dict({name: torch.from_numpy(weights[plain_name(name)]) for name in names})
        self.batches = [self.tasks(batch) for batch in job.batches()]

    def tasks(self, batch: Arrays) -> Tasks:
        sx, sy, qx, qy = (torch.from_numpy(batch[name]).to(self.run.device) for name in PARTS)
        return Tasks(Examples(sx, sy), Examples(qx, qy), {})

    def step(self, index: int) -> None:
        if self.workload.kind == "sampling":
            self.run.source.sample("train", self.done * self.workload.tasks, self.workload.tasks)
        else:
            self.run.meta_step(self.done, self.batches[index])
        self.done += 1
        if self.run.device.type == "cuda":
            torch.cuda.synchronize()

    def gradient(self) -> Arrays:
        return first_gradient(self.run.optimizer, dict(self.run.algo.named_parameters()))

    def memory(self) -> int:
        return torch.cuda.max_memory_allocated() if self.run.device.type == "cuda" else super().memory()

    def versions(self) -> dict[str, str]:
        return {"metabench": __version__, "torch": version("torch")}


if __name__ == "__main__":
    serve(lambda: Metabench(sys.argv[1:]))
