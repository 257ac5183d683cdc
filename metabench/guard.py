"""What Hydra calls from a configuration is held to what is meant to be called.

`config.component` checks the components. But Hydra makes its callbacks, and `logging` its handlers, before a job
begins: an experiment file that was passed around could name anything there.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from functools import wraps
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from metabench.errors import ConfigError

PARTS = ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging")
NAMES_A_CALL = ("_target_", "()", "class")
CALLED = ("metabench.sweep.SweepReport", "logging.StreamHandler", "logging.FileHandler", "logging.NullHandler")
EXTRAS = {"hydra_ray_launcher": "metabench[ray]"}  # what brings a plugin
PLUGINS = ("hydra._internal.core_plugins.", "hydra_plugins.")  # installed ones: Hydra itself takes no others


def guard_hydra() -> None:
    """From now on Hydra composes no configuration that makes it call anything else; raises `ConfigError`."""
    load = ConfigLoaderImpl.load_configuration

    @wraps(load)
    def guarded(*args: Any, **options: Any) -> DictConfig:
        config = load(*args, **options)
        for part in PARTS:
            for key, name in _calls(config.hydra[part], f"hydra.{part}"):
                if name not in CALLED and not str(name).startswith(PLUGINS):
                    raise ConfigError(key, name, "is not to be called from a configuration")
                _check_installed(key, str(name))
        return config

    ConfigLoaderImpl.load_configuration = guarded  # type: ignore[method-assign]


def _check_installed(key: str, name: str) -> None:
    """Hydra would say no more than that it does not know the class."""
    package = name.split(".")[1]
    if name.startswith("hydra_plugins.") and importlib.util.find_spec(f"hydra_plugins.{package}") is None:
        extra = EXTRAS.get(package, package.replace("_", "-"))
        raise ConfigError(key, name, f'is not installed: pip install "{extra}"')


def _calls(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every key below `node` that names what is called, and the name."""
    names: Iterable[Any] = ()
    if isinstance(node, (DictConfig, ListConfig)):
        names = node if isinstance(node, DictConfig) else range(len(node))
    for name in names:
        try:
            value = node[name]
        except OmegaConfBaseException:  # not known yet, as the folder of a job: a text
            continue
        if name in NAMES_A_CALL:
            yield f"{key}.{name}", value
        else:
            yield from _calls(value, f"{key}.{name}")
