"""Restrict what Hydra calls from a configuration to what is meant to be called.

`config.component` checks the components. But Hydra makes its callbacks, and `logging` its handlers, before a job
begins: an experiment file that was passed around could name anything there. It could also set variables of the
environment, by which git and the compiler can be told what to run.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from functools import wraps
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from metabench.errors import ConfigError
from metabench.utils.install import pip_install

PARTS = ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging")
NAMES_A_CALL = ("_target_", "()", "class")
NAMES_AN_OBJECT = "ext://"  # in what configures `logging`
CALLED = ("metabench.sweep.callback.FreeConfigs", "logging.StreamHandler", "logging.NullHandler")
EXTRAS = {"hydra_ray_launcher": "ray"}  # that bring a plugin
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")


def guard_hydra() -> None:
    """From now on Hydra composes no configuration that makes it call anything else; raises `ConfigError`."""
    warnings.filterwarnings("error", "provider=hydra.searchpath", UserWarning)  # a folder that is not there
    load = ConfigLoaderImpl.load_configuration

    @wraps(load)
    def guarded(*args: Any, **options: Any) -> DictConfig:
        config = load(*args, **options)
        plugins = [plugin for kind in (Launcher, Sweeper) for plugin in Plugins.instance().discover(kind)]
        allowed = {*CALLED, *STREAMS, *(f"{plugin.__module__}.{plugin.__qualname__}" for plugin in plugins)}
        for part in PARTS:
            OmegaConf.resolve(config.hydra[part])  # what is checked is what will be called
            for key, name in _calls(OmegaConf.to_container(config.hydra[part]), f"hydra.{part}"):
                _check_installed(key, str(name))
                if str(name) not in allowed:
                    raise ConfigError(key, name, "is not to be called from a configuration")
        if config.hydra.job.env_set:
            raise ConfigError("hydra.job.env_set", config.hydra.job.env_set, "is to be set in the shell instead")
        return config

    ConfigLoaderImpl.load_configuration = guarded  # type: ignore[method-assign]


def _check_installed(key: str, name: str) -> None:
    """Hydra would say no more than that it does not know the class."""
    namespace, package, *_ = f"{name}.".split(".")
    if namespace != "hydra_plugins":
        return
    parent = importlib.util.find_spec(namespace)  # of which no plugin at all may be there
    if parent is None or importlib.util.find_spec(f"{namespace}.{package}") is None:
        how = pip_install(EXTRAS[package]) if package in EXTRAS else f"pip install {package.replace('_', '-')}"
        raise ConfigError(key, name, f"is not installed: {how}")


def _calls(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every key below `node` whose value names what is called or looked up, and the name."""
    if not isinstance(node, (dict, list)):
        if str(node).startswith(NAMES_AN_OBJECT):
            yield key, node
        return
    for name, value in node.items() if isinstance(node, dict) else enumerate(node):
        if name in NAMES_A_CALL:
            yield f"{key}.{name}", value
        else:
            yield from _calls(value, f"{key}.{name}")
