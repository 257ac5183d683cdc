"""The command line before Hydra composes it: what Hydra would answer with a traceback, or let through."""

from __future__ import annotations

from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override

from metabench.config.catalog import GROUPS, OPTIONAL, SEVERAL, entries, folders, user_folder
from metabench.config.explain import OPTIMIZED, USAGE
from metabench.errors import ConfigError, UserError, suggest
from metabench.utils.distributed import started_together


def check_command(arguments: list[str]) -> None:
    """Raise `UserError`, or Hydra's own error, for flags and overrides that cannot be understood."""
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    given = parser.parse_args(arguments)
    if given.experimental_rerun:
        raise UserError(
            "--experimental-rerun: loads a pickle, which may run anything; give the overrides again instead"
        )
    if given.multirun and started_together():
        raise UserError("-m: torchrun starts the processes of one run; give it one run at a time")
    if given.config_path:
        raise UserError("--config-path: would replace the program's own configurations; --config-dir adds yours")
    if given.package and not given.cfg:
        raise UserError("--package: chooses what --cfg shows; give both, or leave it out")
    if given.config_dir:
        user_folder(given.config_dir)
    for text in given.overrides:
        try:
            (override,) = OverridesParser.create().parse_overrides([text])
        except AttributeError as fault:
            raise fault if __debug__ else UserError(f"{text}: {OPTIMIZED}") from None
        _check(override, given.config_dir)


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}; see metabench --help")


def _check(override: Override, config_dir: str | None) -> None:
    key, value = override.key_or_group, None if override.is_delete() else override.value()
    if not key:
        raise UserError(f"{override.input_line}: {USAGE}")
    if isinstance(value, Glob) and not value.filter(list(entries(key, folders(config_dir)))):
        given = str(override.input_line).partition("=")[2]
        raise ConfigError(key, given, f"no {key} of such a name" if key in GROUPS else "chooses from a group")
    if override.is_sweep_override():
        return
    if key in OPTIONAL and value is None:
        if override.is_delete():
            return
        raise ConfigError(key, value, f"leave {key} out to choose none")
    name = value if isinstance(value, str) else ""
    if key in SEVERAL and isinstance(value, list):
        for one in value:
            _check_name(key, one, config_dir)
        return
    optional = key.startswith("recipe/")  # in the defaults list, so that Hydra takes any name for it
    if (optional and not override.is_delete()) or (key in GROUPS and not name):
        _check_name(key, value, config_dir)


def _check_name(group: str, value: object, config_dir: str | None) -> None:
    options, name = entries(group, folders(config_dir)), value if isinstance(value, str) else ""
    if name not in options:
        raise ConfigError(group, value, suggest(name, options, f"no such {group}"))
