"""Where a run happens: command, versions, git state, device, threads."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from metabench import __version__
from metabench.engine.device import describe
from metabench.utils.distributed import SINGLE, Distributed, program

OF_A_PART = ("metabench", "git", "versions", "device", "ranks", "threads")  # what may differ between parts of a run


def environment(device: torch.device, command: Sequence[str], ranks: Distributed = SINGLE) -> dict[str, Any]:
    """Where a run happens: command, versions, git state, device; of a CPU its threads."""
    return {
        "command": f"{program()} {shlex.join(command)}".rstrip(),
        "metabench": __version__,
        "git": git_state(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("torch", "torchvision", "numpy", "hydra-core", "omegaconf")},
        "device": describe(device),
        "ranks": ranks.size,
        "platform": platform.platform(),
        **({"threads": torch.get_num_threads()} if device.type == "cpu" else {}),
        "cpus": os.cpu_count(),
    }


def with_earlier(where: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run that is continued: `where` it goes on, and as `earlier` where it was before, if elsewhere.

    `held` is the record of the part before, with the parts before that.
    """
    parts = [*held.get("earlier", ()), {key: held.get(key) for key in OF_A_PART}]
    now = {key: where.get(key) for key in OF_A_PART}
    earlier = [part for i, part in enumerate(parts) if part != now and part not in parts[:i]]
    return {**where, **({"earlier": earlier} if earlier else {})}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_state() -> str | None:
    """The commit of the program's checkout, with '+changes' where files differ from it; None for an installed copy."""
    home = Path(__file__).resolve().parents[1]
    try:
        commit, changes = (
            subprocess.run(["git", *args], cwd=home, capture_output=True, text=True, check=True, timeout=10).stdout
            for args in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "."])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.strip()[:12] + ("+changes" if changes.strip() else "")
