"""The configured data sets, and the kind of task that each brings: what recipes go by."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf
from paths import CONF


def raw(name: str) -> dict[str, Any]:
    """A file of conf/ as it is written."""
    return OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml")) or {}


def task_of(data: str) -> str:
    """The kind of task that a data file brings: few_shot, …"""
    defaults = raw(f"data/{data}")["defaults"]
    for key, task in (item for entry in defaults if isinstance(entry, dict) for item in entry.items()):
        assert key.removeprefix("override ") == "/task@_here_"
        return task
    return task_of(next(parent for parent in defaults if parent != "_self_"))


DATA = {path.stem: task_of(path.stem) for path in sorted((CONF / "data").glob("*.yaml"))}
FIRST = {task: next(data for data in DATA if DATA[data] == task) for task in DATA.values()}  # a data set for each task
