"""The protocol card: everything that decides a number, explicit, and a hash of what must agree for comparison."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from metabench import __version__
from metabench.algo.base import Algorithm
from metabench.config import Config
from metabench.device import describe
from metabench.evaluate import FORMULA
from metabench.identity import digest
from metabench.ranks import ALONE, Ranks, program
from metabench.tasks import TaskSource


def protocol_card(config: Config, source: TaskSource, algo: Algorithm) -> dict[str, Any]:
    """The card of a run.

    `test` is what two numbers must share to be comparable, and `hash` is of it alone: the episodes (data, split,
    rotations, sizes, seed), how predictions are made, how the checkpoint was chosen, and the statistics.
    """
    episode = source.spec.eval
    train = source.spec.train
    unit = "ways" if source.spec.objective == "cross_entropy" else "outputs"
    test = {
        "data": {"name": type(source).__name__, **source.card()},
        unit: episode.outputs,
        "shots": episode.shots,
        "queries": episode.queries,
        "episodes": source.test_episodes(config.test.episodes),
        "metric": algo.objective.metric_name,
        "prediction": algo.modes[0],
        "selection": _selection(config, source),
        "interval": FORMULA,
    }
    training = {
        unit: train.outputs,
        "shots": train.shots,
        "queries": train.queries,
        "meta_steps": config.train.steps,
        "tasks_per_step": config.train.tasks,
        "inner_steps": getattr(algo, "inner_steps", None),
        "test_inner_steps": getattr(algo, "eval_inner_steps", None),
        "parameters": sum(p.numel() for p in algo.parameters() if p.requires_grad),
        "normalisation": {k: v for k, v in config.backbone.items() if k in ("norm", "statistics")},
        "seed": config.seed,
        "precision": config.device.precision,
    }
    return {"hash": digest(test)[:12], "test": test, "training": training}


def _selection(config: Config, source: TaskSource) -> str:
    if source.online is not None:
        return "none: each task is met while its examples come, by the learner as it stands"
    if config.validation.select == "last":
        return "last iterate"
    return f"best of {config.validation.episodes} validation tasks, never test tasks"


def environment(device: torch.device, command: Sequence[str], ranks: Ranks = ALONE) -> dict[str, Any]:
    """Where a run happens: command, versions, git state, device."""
    return {
        "command": " ".join([program(), *command]),
        "metabench": __version__,
        "git": git_state(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("torch", "torchvision", "numpy", "hydra-core", "omegaconf")},
        "device": describe(device),
        "ranks": ranks.size,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_state() -> str | None:
    """The commit of the program's checkout, with '+changes' where files differ from it; None for an installed copy."""
    home = Path(__file__).resolve().parent
    try:
        commit, changes = (
            subprocess.run(["git", *args], cwd=home, capture_output=True, text=True, check=True, timeout=10).stdout
            for args in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "."])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.strip()[:12] + ("+changes" if changes.strip() else "")
