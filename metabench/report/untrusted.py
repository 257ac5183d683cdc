"""Files that anybody may have written: of bounded size and depth, and with nothing in them that a terminal obeys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from metabench.utils.files import DamagedError, read_json

LARGEST = 4 << 20  # bytes of a file that is read at all
DEEPEST, MOST = 20, 20_000  # levels and values of a configuration


def clean(content: Any) -> Any:
    """`content` with nothing in its texts that a terminal would obey; raises `ValueError` if it is far too deep."""
    return _clean(content, 0)


def _clean(content: Any, depth: int) -> Any:
    if depth > DEEPEST:
        raise ValueError("is nested too deeply")
    if isinstance(content, str):
        return "".join(letter if letter.isprintable() else "�" for letter in content)
    if isinstance(content, dict):
        return {_clean(str(key), depth): _clean(value, depth + 1) for key, value in content.items()}
    if isinstance(content, list):
        return [_clean(value, depth + 1) for value in content]
    return content


def read_content(file: Path) -> Any:
    """The content of a JSON file; raises `DamagedError` that names it alone."""
    try:
        _check_size(file)
        return read_json(file)
    except OSError as fault:
        raise DamagedError(f"{file.name}: {fault.strerror}") from None
    except DamagedError as fault:
        said = str(fault).removeprefix(f"{file}: ")
        raise DamagedError(said if said.startswith(file.name) else f"{file.name}: {said}") from None


def read_yaml(file: Path) -> Any:
    """The content of a YAML file; raises `DamagedError` that names it alone."""
    try:
        _check_size(file)
        content = yaml.load(file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        count(content)
    except OSError as fault:
        raise DamagedError(f"{file.name}: {fault.strerror}") from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise DamagedError(f"{file.name}: is no configuration") from None
    return content


def _check_size(file: Path) -> None:
    if file.stat().st_size > LARGEST:
        raise DamagedError(f"{file.name}: is larger than {LARGEST >> 20} MiB")


def count(content: Any, depth: int = 0, before: int = 0) -> int:
    """How many values `content` holds; raises `ValueError` where they are absurdly many (aliases of YAML can be)."""
    if depth > DEEPEST or before > MOST:
        raise ValueError("is too large")
    inner = content.values() if isinstance(content, Mapping) else content if isinstance(content, list) else ()
    for value in inner:
        before = count(value, depth + 1, before)
    return before + 1
