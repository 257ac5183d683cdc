"""When two configurations are one run, and in what they differ; without torch: what only reads runs is quick."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from metabench.utils.files import plain

# What may differ between two runs that are one and the same: where they read, write and report, what they are called.
NOT_IDENTITY = ("resume", "run_dir", "log", "budget", "published")


def identity(config: dict[str, Any]) -> str:
    """Twelve hex digits of a composed configuration: the id of its run."""
    kept = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    kept["data"] = {key: value for key, value in kept["data"].items() if key not in ("root", "download")}
    return digest(kept)[:12]


def digest(content: Any) -> str:
    """sha256 of plain content, independent of the order of keys; what is not plain is refused where it is used."""
    return hashlib.sha256(json.dumps(plain(content), sort_keys=True, default=str).encode()).hexdigest()


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return found
