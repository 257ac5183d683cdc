"""List of the choices: every config with the one line that opens its file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from metabench.errors import UserError
from metabench.utils.paths import expanded

GROUPS = {
    "algo": "algorithms",
    "data": "data sets",
    "backbone": "backbones",
    "optim": "outer optimisers",
    "device": "devices",
    "experiment": "experiments",
    "bench": "boards",
    "suite": "lists of tests",
    "budget": "lengths of a run",
    "tracker": "trackers",
}
SEVERAL = {"tracker"}  # groups of which a run may choose several: KEY=[A,B]
OPTIONAL = {"experiment", "bench", "suite", "tracker"}  # groups of which a run may choose none


def entries(group: str, folders: list[Path]) -> dict[str, str]:
    """Name and description of each config of `group` in `folders`; of two with one name the first folder's."""
    found: dict[str, str] = {}
    for root in (folder / group for folder in folders):
        for path in _configs(root):
            found.setdefault(path.relative_to(root).with_suffix("").as_posix(), description(path))
    return dict(sorted(found.items()))


def keys(group: str, folders: list[Path]) -> set[str]:
    """All keys that configs of `group` in `folders` have; those that cannot be read have none."""
    import yaml

    found: set[str] = set()
    for path in (path for folder in folders for path in _configs(folder / group)):
        with suppress(OSError, ValueError, yaml.YAMLError):
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
            found |= values.keys() if isinstance(values, dict) else set()
    return found


def _configs(root: Path) -> Iterator[Path]:
    """The files below `root` that can be chosen."""
    for path in _files(root):
        if path.suffix == ".yaml" and path.is_file() and not path.name.startswith("_"):
            yield path


def _files(root: Path) -> Iterator[Path]:
    """All files below `root`, links to folders followed once; raises `OSError` for a folder that cannot be read."""
    seen: set[str] = set()
    for folder, below, names in os.walk(root, onerror=_refuse, followlinks=True):
        below[:] = sorted(name for name in below if os.path.realpath(Path(folder, name)) not in seen)
        seen |= {os.path.realpath(Path(folder, name)) for name in below}
        yield from (Path(folder, name) for name in sorted(names))


def _refuse(fault: OSError) -> None:
    if not isinstance(fault, (FileNotFoundError, NotADirectoryError)):  # a group that a folder does not have
        raise _unreadable(fault, fault.filename)


def _unreadable(fault: OSError, path: object) -> UserError:
    return UserError(f"{path}: {fault.strerror or fault}")


def description(path: Path) -> str:
    """The first comment of a config that is not a directive to Hydra; raises `UserError` where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as fault:
        raise _unreadable(fault, path) from None
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("# ").strip()
        if text and not text.startswith("@package"):
            return text
    return ""


def folders(config_dir: str | None) -> list[Path]:
    """Folders of configs, the user's first, then the program's and those of Hydra's plugins.

    Raises `UserError` for one that cannot be read.
    """
    return [*([user_folder(config_dir)] if config_dir else []), *program_folders(), *plugin_folders()]


def program_folders() -> list[Path]:
    """The folder of the program's configs, or folders of an installation in parts."""
    import metabench.conf

    return [*map(Path, metabench.conf.__path__)]


@cache
def plugin_folders() -> tuple[Path, ...]:
    """Folders that installed plugins add to Hydra's search path; Hydra is imported only where there are plugins."""
    if find_spec("hydra_plugins") is None:
        return ()
    from hydra._internal.utils import create_config_search_path

    found = []
    for element in create_config_search_path(None).get_path():
        scheme, _, place = (element.path or "").partition("://")
        if element.provider == "hydra" or scheme not in ("pkg", "file"):
            continue
        if scheme == "file":
            found.append(Path(place))
        elif (spec := find_spec(place)) is not None:
            found += [Path(path) for path in spec.submodule_search_locations or ()]
    return tuple(found)


def ignored(folder: Path) -> list[Path]:
    """Files of a user's folder of configs that nothing reads, since their names end in .yml."""
    groups = {path.name for one in program_folders() for path in one.iterdir() if path.is_dir()}
    places = [place for group in sorted(groups) if (place := folder / group).is_dir()]
    return sorted(path for place in places for depth in ("*.yml", "*/*.yml") for path in place.glob(depth))


def user_folder(config_dir: str) -> Path:
    """The folder of `--config-dir`; raises `UserError` where there is none or it cannot be read."""
    folder = expanded(config_dir)
    try:
        os.listdir(folder)  # noqa: PTH208 -- the folder itself, before anything in it
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"--config-dir {config_dir}: no such folder") from None
    except OSError as fault:
        raise UserError(f"--config-dir {config_dir}: cannot be read: {fault.strerror}") from None
    return folder
