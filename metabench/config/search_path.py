"""One order in which configurations are looked up: a user's folders first, the program's own after them.

Hydra alone has it the other way round: a folder of `--config-dir` or `hydra.searchpath` comes last, so that a user's
file with the name of one of the program's is passed over. `catalog.folders` has the order of this module.

The primary configuration stays the program's, whatever a user's `config.yaml` says (a run directory has one). A user's
file that includes its own name, `defaults: [maml]` in `algo/maml.yaml`, includes the next file of that name: the
program's. The program's recipes are for its own files: beside a user's `algo/maml.yaml` its recipes of `maml` are not
read, as they are not for an algorithm of any other name; beside a user's `backbone/conv4.yaml` not those of `conv4`.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ConfigDefault, GroupDefault, InputDefault
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf
from yaml import YAMLError

from metabench.config.catalog import program_folders

PRIMARY, OWN = "config", "metabench.conf"
OF_USER = ("command-line", "hydra.searchpath")  # beginnings of what Hydra calls the source of a user's folder
NESTED = ("recipe", "hydra")  # groups of groups
GPU = re.compile(r"(device/cuda):(\d{1,6})")  # device=cuda:1 is device=cuda with device.index=1
NEXT = ":next"  # after a name: the file of that name in the next source that has one
INCLUDED = ":included"  # after the name of a recipe: another recipe includes it

replaced: list[str] = []
"""Configurations of the program that a user's file stood in for, since `fill_published` last cleared the list."""
_initialize, _load = ConfigRepository.initialize_sources, ConfigRepository.load_config


def register_search_path() -> None:
    """From now on Hydra looks up configurations in this order."""
    ConfigRepository.initialize_sources = _user_first  # type: ignore[method-assign]
    ConfigRepository._find_object_source = _find  # type: ignore[method-assign]
    ConfigRepository.load_config = _load_first  # type: ignore[method-assign]


def _user_first(self: ConfigRepository, config_search_path: ConfigSearchPath) -> None:
    _initialize(self, config_search_path)
    self.sources.sort(key=lambda source: not _is_users(source))  # stable


def _find(self: ConfigRepository, config_path: str, object_type: ObjectType | None) -> ConfigSource | None:
    found = _having(self, config_path, object_type)
    return found[0] if found else None


def _load_first(self: ConfigRepository, config_path: str) -> ConfigResult | None:
    if gpu := GPU.fullmatch(config_path):
        result = _load_first(self, gpu[1])
        if result is not None:
            result.config["index"] = int(gpu[2])
        return result
    found, path = _having(self, config_path), _plain(config_path)
    if not found:
        return None
    if found[0].scheme() == "file":
        _check_readable(Path(found[0].path, _file_name(path)))
    if found[0].path != OWN and any((folder / _file_name(path)).is_file() for folder in program_folders()):
        replaced.append(path)
    if path == config_path:
        result = _load(self, path)
    else:
        result = found[0].load_config(config_path=path)
        raw = self._extract_defaults_list(path, result.config)
        result.defaults_list = self._create_defaults_list(path, raw)
    if result is not None and len(found) > 1:
        for default in result.defaults_list or ():
            _include_next(default, path, config_path.count(NEXT) + 1)
    if result is not None and path.startswith("recipe/"):
        for default in result.defaults_list or ():
            if isinstance(default, ConfigDefault) and default.path and not default.is_self():
                default.path += INCLUDED
    return result


def _file_name(path: str) -> str:
    return path if path.endswith((".yaml", ".yml")) else f"{path}.yaml"


def _having(repository: ConfigRepository, path: str, kind: ObjectType | None = ObjectType.CONFIG) -> list[ConfigSource]:
    """All sources that have a configuration or a group, in order, without as many as `path` has `NEXT` at its end."""
    gpu = GPU.fullmatch(path)
    name = gpu[1] if gpu else _plain(path)
    if kind == ObjectType.GROUP:
        return [source for source in repository.sources if source.is_group(name)]
    found = [source for source in repository.sources if source.is_config(name) or _is_hidden(source, name)]
    if name.removesuffix(".yaml") == PRIMARY:
        found = [source for source in found if not _is_users(source)]
    if name.startswith("recipe/") and path == name and _of_users_file(repository, name):
        found = [source for source in found if _is_users(source)]
    return found[path.count(NEXT) :]


def _plain(path: str) -> str:
    return path.replace(NEXT, "").replace(INCLUDED, "")


def _is_users(source: ConfigSource) -> bool:
    return source.provider.startswith(OF_USER)


def _of_users_file(repository: ConfigRepository, recipe: str) -> bool:
    """Say whether the algorithm or the backbone that a recipe is for is a user's file: `recipe/backbone/conv4/maml`."""
    _, kind, of, algo = recipe.split("/", 3)
    parts = [f"algo/{algo}", *([f"backbone/{of}"] if kind == "backbone" else [])]
    return any(_is_users(source) and source.is_config(part) for source in repository.sources for part in parts)


def _is_hidden(source: ConfigSource, name: str) -> bool:
    """Raise `OSError` where a file of the user may be, in a folder that cannot be read; Hydra would pass it over."""
    if source.scheme() == "file":
        with suppress(FileNotFoundError, NotADirectoryError):
            os.stat(Path(source.path, _file_name(name)))  # noqa: PTH116 -- `Path.is_file` would say no
    return False


def _check_readable(file: Path) -> None:
    """Raise the error of a file that cannot be read with its name, which Hydra leaves out."""
    try:
        OmegaConf.load(file)
    except UnicodeDecodeError as fault:
        raise YAMLError(f"{file}: is no text: {fault.reason}") from None
    except YAMLError as fault:
        raise YAMLError(f"{file}: {fault}") from None


def _include_next(default: InputDefault, path: str, times: int) -> None:
    """Let an entry in the defaults of `path` that names `path` itself mean the file of that name `times` further."""
    parts = path.split("/")
    name = "/".join(parts[2 if parts[0] in NESTED else 1 :])  # within its group, as Hydra takes an entry
    if isinstance(default, ConfigDefault) and default.path in {name, f"/{path}"}:
        default.path += times * NEXT
    elif (
        isinstance(default, GroupDefault) and f"{default.group}/{default.value}" == f"/{path}" and not default.override
    ):
        default.value = f"{default.value}{times * NEXT}"
