"""The configuration of a command line, composed from Python: for scripts, notebooks and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from omegaconf import DictConfig, OmegaConf

from metabench.config.budgets import register_budgets
from metabench.config.build import check
from metabench.config.published import fill_published
from metabench.config.schema import Config


def compose(*overrides: str, config_dir: str | None = None) -> Config:
    """What `metabench OVERRIDES…` would run, checked; raises `ConfigError` or Hydra's own errors.

    `config_dir` is a folder with configurations of one's own.
    """
    return check(Config, compose_plain(*overrides, config_dir=config_dir))


def compose_plain(*overrides: str, config_dir: str | None = None) -> dict[str, Any]:
    """The same as plain values, not checked: what a run of it would write to config.yaml."""
    composed, _ = composition(*overrides, config_dir=config_dir)
    plain: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    return plain


def composition(*overrides: str, config_dir: str | None = None) -> tuple[DictConfig, Any]:
    """The same as Hydra has it, and Hydra's own part, which says what was chosen."""
    own = [f'hydra.searchpath=["file://{Path(config_dir).resolve()}"]'] if config_dir else []
    fill_published()
    register_budgets()
    with initialize_config_module("metabench.conf", version_base="1.3"):
        whole = hydra_compose("config", [*overrides, *own], return_hydra_config=True)
    return OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"]), whole.hydra
