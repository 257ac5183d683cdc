"""The configuration of a command line, composed from Python: for scripts, notebooks and tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from metabench.config.budgets import register_budgets
from metabench.config.build import check
from metabench.config.catalog import user_folder
from metabench.config.explain import COMPOSING, explain
from metabench.config.overrides import check_command
from metabench.config.published import fill_published
from metabench.config.schema import Config
from metabench.config.search_path import register_search_path
from metabench.errors import UserError

CHANGED = (  # of Hydra, by this program
    (ConfigLoaderImpl, "load_configuration"),
    *((ConfigRepository, name) for name in ("initialize_sources", "_find_object_source", "load_config")),
)


def compose(*overrides: str, config_dir: str | None = None) -> Config:
    """Compose and check what `metabench OVERRIDES…` would run; raises `UserError` of one line.

    `config_dir` is a folder with configurations of your own, which come before those of the program.
    """
    composed, _ = checked_composition(*overrides, config_dir=config_dir)
    return check(Config, _plain(composed))


def compose_plain(*overrides: str, config_dir: str | None = None) -> dict[str, Any]:
    """The same as plain values, whose types are not checked: what a run of it would write to config.yaml."""
    with _in_one_line(overrides):
        return _plain(composition(*overrides, config_dir=config_dir)[0])


def _plain(composed: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    return plain


def checked_composition(*overrides: str, config_dir: str | None = None) -> tuple[DictConfig, Any]:
    """`composition`, where all that is wrong with an override is a `UserError` of one line, as on a command line."""
    with _in_one_line(overrides):
        composed, hydra_config = composition(*overrides, config_dir=config_dir)
        _plain(composed)  # an interpolation may lead nowhere
        return composed, hydra_config


def check_words(overrides: Sequence[str]) -> None:
    """Raise `UserError` of one line for overrides that cannot be understood."""
    with _in_one_line(overrides):
        pass


@contextmanager
def _in_one_line(overrides: Sequence[str]) -> Iterator[None]:
    """Raise `UserError` of one line for overrides that are none, and for what Hydra raises within the context."""
    for override in overrides:
        if not isinstance(override, str) or override.startswith("-"):
            raise UserError(f'{override!r}: should be a string "KEY=VALUE", as metabench --help explains them')
    try:
        check_command(list(overrides))
        yield
    except COMPOSING as fault:
        raise UserError(explain(fault)) from None


def composition(*overrides: str, config_dir: str | None = None) -> tuple[DictConfig, Any]:
    """The same as Hydra has it, and Hydra's own part, which says what was chosen.

    Hydra is left as it was: the caller may be a Hydra program, or a notebook that has initialised it.
    """
    with _borrowed_hydra():
        place = create_config_search_path("pkg://metabench.conf")
        if config_dir:
            place.prepend("command-line", f"file://{user_folder(config_dir).resolve()}", anchor="schema")
        loader = ConfigLoaderImpl(place)
        whole = loader.load_configuration("config", list(overrides), run_mode=RunMode.RUN, from_shell=False)
    return OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"]), whole.hydra


@contextmanager
def _borrowed_hydra() -> Iterator[None]:
    """Within it Hydra composes as this program does: its version, its search path, its published values."""
    held = [(owner, name, getattr(owner, name)) for owner, name in CHANGED]
    before = version.getbase()
    fill_published()
    register_budgets()
    register_search_path()
    setup_globals()
    version.setbase("1.3")
    try:
        yield
    finally:
        version.VersionBase.instance().version_base = before
        for owner, name, value in held:
            setattr(owner, name, value)
