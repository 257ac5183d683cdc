"""Inputs of a run beside its configuration: the checkpoint it starts from, code from outside, the data.

A path says nothing of what lies there, nor a class's name of what it does. Both are known here by a digest of their
content, which is part of a run's id: where one has changed, the same command is another run.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metabench.errors import ConfigError, DataError, UserError, last_line
from metabench.runs.run_dir import UNFIT, load_best
from metabench.runs.run_id import flat
from metabench.utils.files import DamagedError, tensors_digest
from metabench.utils.paths import expanded

if TYPE_CHECKING:
    from metabench.runs.reader import RunReader

DIGITS = 16
_SITES = {"site-packages", "dist-packages"}
_INSTALLED = tuple(Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


def find_inputs(init: str | None, classes: Iterable[type], data: str | None = None) -> dict[str, Any]:
    """`init`: digest and meta-steps of its checkpoint; `sources`: a digest for each of `classes` from outside.

    `data`: the digest of data that the configuration does not name. Raises `ConfigError` for an `init` that holds no
    intact checkpoint. What is not there is left out.
    """
    sources = {f"{cls.__module__}.{cls.__qualname__}": source_digest(cls) for cls in classes if _is_outside(cls)}
    start = {"init": load_init(expanded(init))[1]} if init is not None else {}
    return {**start, **({"sources": sources} if sources else {}), **({"data": data} if data else {})}


def check_same_data(run: Path, held: Any, now: Any) -> None:
    """Raise `DataError` where the digests of the data that a run began with, and of that at hand, differ."""
    if not isinstance(held, Mapping) or not isinstance(now, Mapping):
        return  # nothing is known of one of them
    ours, theirs = content_digests(held), content_digests(now)
    for key in ours.keys() & theirs.keys():
        if ours[key] != theirs[key]:
            raise DataError(
                f"{run}: the data has changed since this run: its {key} was {ours[key]} and is now {theirs[key]}; "
                "resume=false runs it anew"
            )


def content_digests(card: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a card of data that name its content, and not how tasks are drawn from it."""
    return {key: value for key, value in flat(card).items() if key.endswith("digest")}


def check_same_start(run: RunReader) -> None:
    """Raise `UserError` where the model that a run begins with, by path, is not the one that it began with."""
    init, held = run.config.get("init"), run.inputs.get("init")
    if init is None or not isinstance(held, dict):
        return
    now = load_init(expanded(init))[1]
    if now["digest"] != held.get("digest"):
        raise UserError(
            f"{run.path}: the model in {init} has changed since this run: its digest was {held.get('digest')} and is "
            f"now {now['digest']}"
        )


def load_init(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The weights that a run in a folder chose, and what names them: their digest, and their meta-step.

    Raises `ConfigError` where there is no intact checkpoint.
    """
    if not run.is_dir():
        raise ConfigError("init", run, "no such folder; give the directory of a finished run")
    try:
        content = load_best(run)
        step, weights = content.get("step"), content["algo"]
        named = {"digest": tensors_digest(weights)[:DIGITS], "meta_steps": step if isinstance(step, int) else None}
    except DamagedError as fault:
        raise ConfigError("init", run, f"has no intact best checkpoint: {fault}") from None
    except UNFIT as fault:
        raise ConfigError("init", run, f"holds no model: {last_line(fault)}") from None
    return weights, named


def _is_outside(cls: type) -> bool:
    return cls.__module__.partition(".")[0] not in {"metabench", "torch"}


def source_digest(cls: type) -> str:
    """Digest of the files that say what a class does: its module, those of its bases, and all that these import.

    Installed packages other than the class's own count by name alone, as the program's own dependencies do.
    """
    roots = {base.__module__ for base in inspect.getmro(cls) if _is_outside(base) and base is not object}
    own = cls.__module__.partition(".")[0]
    files: dict[str, Path] = {}
    waiting = sorted(roots)
    while waiting:
        module = waiting.pop()
        if module in files or not _counts(module.partition(".")[0], own):
            continue
        waiting += _parents(module)
        path = _file(module)
        if path is not None:
            files[module] = path
            waiting += _imports(module, path)
    content = hashlib.sha256()
    for module, path in sorted(files.items()):
        content.update(f"{module}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()[:DIGITS]


@cache
def _counts(root: str, own: str) -> bool:
    """True where the modules of a package are part of the digest; nothing is imported to find out."""
    if root == own:
        return True
    if root == "metabench" or root in sys.stdlib_module_names:
        return False
    try:
        spec = find_spec(root)
    except (ImportError, ValueError):
        return False
    places = [*(spec.submodule_search_locations or ()), spec.origin] if spec else []
    paths = [Path(place).resolve() for place in places if place]
    return bool(paths) and not any(map(_is_installed, paths))


def _is_installed(path: Path) -> bool:
    """In this environment, or in one that it builds on: the user's, the system's, one that a .pth file names."""
    return bool(_SITES & set(path.parts)) or any(path.is_relative_to(folder) for folder in _INSTALLED)


def _file(module: str) -> Path | None:
    """The source file of a module, loaded or not."""
    try:
        loaded = getattr(sys.modules.get(module), "__file__", None)
        found = loaded or getattr(find_spec(module), "origin", None)
    except (ImportError, AttributeError, ValueError):  # the name of something else that is imported
        return None
    path = Path(found) if found else None
    return path if path is not None and path.is_file() else None


def _parents(module: str) -> Iterator[str]:
    while "." in module:
        module = module.rpartition(".")[0]
        yield module


def _imports(module: str, path: Path) -> Iterator[str]:
    """The modules that a file imports, at its head or anywhere; names it imports from one may be modules too."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # no Python: an extension
        return
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            except ImportError:
                continue
            if base:
                yield base
                yield from (f"{base}.{name.name}" for name in node.names if name.name != "*")
