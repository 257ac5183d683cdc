"""Files that anybody may have written: of bounded size and depth, and with nothing in them that a terminal obeys."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from metabench.utils.files import DamagedError, read_json

LARGEST = 4 << 20  # bytes of a file that is read whole
LONGEST = 256 << 20  # bytes of a file that is read line by line
DEEPEST, MOST = 20, 20_000  # levels and values of a configuration


def clean(content: Any) -> Any:
    """`content` with nothing in its texts that a terminal would obey; raises `ValueError` if it is far too deep."""
    return _clean(content, 0)


def clean_text(text: str) -> str:
    """`text` with a mark for every letter that cannot be printed: control codes, bytes that are no UTF-8."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _clean(content: Any, depth: int) -> Any:
    if depth > DEEPEST:
        raise ValueError("is nested too deeply")
    if isinstance(content, str):
        return clean_text(content)
    if isinstance(content, dict):
        return {_clean(str(key), depth): _clean(value, depth + 1) for key, value in content.items()}
    if isinstance(content, list):
        return [_clean(value, depth + 1) for value in content]
    return content


def read_content(file: Path) -> Any:
    """The content of a JSON file; raises `DamagedError` that names it alone."""
    check_file(file)
    try:
        return read_json(file)
    except DamagedError as fault:
        said = str(fault).removeprefix(f"{file}: ")
        raise DamagedError(said if said.startswith(file.name) else f"{file.name}: {said}") from None


def read_yaml(file: Path) -> Any:
    """The content of a YAML file; raises `DamagedError` that names it alone."""
    check_file(file)
    try:
        content = yaml.load(file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        count(content)
    except OSError as fault:
        raise DamagedError(f"{file.name}: {fault.strerror}") from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise DamagedError(f"{file.name}: is not a configuration") from None
    return content


def check_file(file: Path, largest: int = LARGEST) -> None:
    """Raise `DamagedError` for what is missing, not to be read, no file (a folder, a pipe, a device), or too large."""
    try:
        status = file.stat()
    except OSError as fault:
        broken = file.is_symlink() and isinstance(fault, FileNotFoundError)
        raise DamagedError(f"{file.name}: {'is a broken link' if broken else _refusal(fault)}") from None
    if not stat.S_ISREG(status.st_mode):
        raise DamagedError(f"{file.name}: is {'a folder' if stat.S_ISDIR(status.st_mode) else 'no regular file'}")
    if status.st_size > largest:
        raise DamagedError(f"{file.name}: is larger than {largest >> 20} MiB")


def _refusal(fault: OSError) -> str:
    return "is missing" if isinstance(fault, FileNotFoundError) else fault.strerror or type(fault).__name__


def count(content: Any, depth: int = 0, before: int = 0) -> int:
    """Number of values that `content` holds; raises `ValueError` where they are absurdly many (YAML aliases can be)."""
    if depth > DEEPEST or before > MOST:
        raise ValueError("is too large")
    inner = content.values() if isinstance(content, Mapping) else content if isinstance(content, list) else ()
    for value in inner:
        before = count(value, depth + 1, before)
    return before + 1
