"""The configuration of a command line, composed from Python: for scripts, notebooks and tests."""

from __future__ import annotations

from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from omegaconf import OmegaConf

from metabench.config import Config, check


def compose(*overrides: str) -> Config:
    """What `metabench OVERRIDES…` would run, checked; raises `ConfigError` or Hydra's own errors."""
    return check(Config, compose_plain(*overrides))


def compose_plain(*overrides: str) -> dict[str, Any]:
    """The same as plain values, not checked: what a run of it would write to config.yaml."""
    with initialize_config_module("metabench.conf", version_base="1.3"):
        composed = hydra_compose("config", list(overrides))
    plain: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    return plain
