"""The configuration of a command line, composed from Python: for scripts, notebooks and tests."""

from __future__ import annotations

from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from metabench.config.budgets import register_budgets
from metabench.config.build import check
from metabench.config.catalog import user_folder
from metabench.config.published import fill_published
from metabench.config.schema import Config
from metabench.config.search_path import register_search_path


def compose(*overrides: str, config_dir: str | None = None) -> Config:
    """Compose and check what `metabench OVERRIDES…` would run; raises `UserError` or Hydra's own errors.

    `config_dir` is a folder with configurations of your own, which come before those of the program.
    """
    return check(Config, compose_plain(*overrides, config_dir=config_dir))


def compose_plain(*overrides: str, config_dir: str | None = None) -> dict[str, Any]:
    """The same as plain values, not checked: what a run of it would write to config.yaml."""
    composed, _ = composition(*overrides, config_dir=config_dir)
    plain: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    return plain


def composition(*overrides: str, config_dir: str | None = None) -> tuple[DictConfig, Any]:
    """The same as Hydra has it, and Hydra's own part, which says what was chosen.

    Hydra's global state is left as it was: the caller may be a Hydra program, or a notebook that has initialised it.
    """
    fill_published()
    register_budgets()
    register_search_path()
    setup_globals()
    before = version.getbase()
    version.setbase("1.3")
    try:
        place = create_config_search_path("pkg://metabench.conf")
        if config_dir:
            place.prepend("command-line", f"file://{user_folder(config_dir).resolve()}", anchor="schema")
        loader = ConfigLoaderImpl(place)
        whole = loader.load_configuration("config", list(overrides), run_mode=RunMode.RUN, from_shell=False)
    finally:
        version.VersionBase.instance().version_base = before
    return OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"]), whole.hydra
