"""The configuration of a command line, composed from Python: for scripts, notebooks and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from omegaconf import OmegaConf

from metabench.config import Config, check
from metabench.published import register


def compose(*overrides: str, config_dir: str | None = None) -> Config:
    """What `metabench OVERRIDES…` would run, checked; raises `ConfigError` or Hydra's own errors.

    `config_dir` is a folder with configurations of one's own.
    """
    more = [f'hydra.searchpath=["file://{Path(config_dir).resolve()}"]'] if config_dir else []
    register()
    with initialize_config_module("metabench.conf", version_base="1.3"):
        composed = hydra_compose("config", [*overrides, *more])
    plain: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    return check(Config, plain)
