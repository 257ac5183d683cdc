"""A data source, built from the section `data` of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from metabench.config.build import component
from metabench.data.base import TaskSource

CPU = torch.device("cpu")


def build_source(node: Mapping[str, Any], seed: int = 0, device: torch.device = CPU) -> TaskSource:
    """The source that `node` describes; raises `ConfigError` for values that are not valid."""
    make_source, arguments = component(node, TaskSource, "data")
    source: TaskSource = make_source(seed, device, **arguments)
    return source
