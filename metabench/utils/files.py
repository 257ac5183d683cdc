"""Files that are complete or absent: written aside, synced, renamed. Torch is imported for tensors alone."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from metabench.errors import UserError

_SEAL = b"\nsha256:"  # a checkpoint ends in this and 64 hex digits; torch.load does not mind
_SEAL_SIZE = len(_SEAL) + 64


class DamagedError(Exception):
    """A file whose content is not what was written."""


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Within it what the system refuses (a full disk, a read-only folder) is a `UserError` that names `path`."""
    try:
        yield
    except OSError as fault:
        raise UserError(f"{path}: cannot be written: {fault.strerror or fault}") from fault


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step that a crash cannot split.

    A link keeps its name and its target gets the content; what is no file (a pipe, a device) is written to as it is.
    """
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not path.is_file() and not path.is_dir():
        with write_errors(path):
            path.write_bytes(content)
        return
    aside = path.with_name(f".{path.name}.part")  # one name: what a killed process leaves is written over
    with write_errors(path):
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            _sync_folder(path.parent)
        except OSError:
            with suppress(OSError):
                aside.unlink(missing_ok=True)  # a full disk gets its space back
            raise


def append_line(path: Path, line: str) -> None:
    """Add a line to the file at `path`: all of it, or nothing where the system refuses."""
    left = f"{line}\n".encode()
    with write_errors(path), path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            os.truncate(path, size)
            raise


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """Put `content` at `path` as JSON, indented or on one line; bytes of file names that are no UTF-8 as escapes."""
    text = json.dumps(plain(content), indent=indent, ensure_ascii=False)
    write_bytes(path, f"{text}\n".encode(errors="backslashreplace"))


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises `DamagedError`."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as fault:
        raise DamagedError(f"{path}: {fault}") from fault


def save_tensors(path: Path, content: dict[str, Any]) -> None:
    """Put tensors and plain types at `path`, sealed with their sha256; `torch.load(path)` reads the file too."""
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getvalue()
    write_bytes(path, payload + _SEAL + hashlib.sha256(payload).hexdigest().encode())


def load_tensors(path: Path) -> dict[str, Any]:
    """Read what `save_tensors` wrote, to the CPU; raises `DamagedError` if a single bit differs. Executes nothing."""
    import torch

    try:
        content = path.read_bytes()
    except OSError as fault:
        raise DamagedError(f"{path}: {fault.strerror}") from fault
    payload, seal = content[:-_SEAL_SIZE], content[-_SEAL_SIZE:]
    if seal != _SEAL + hashlib.sha256(payload).hexdigest().encode():
        raise DamagedError(f"{path}: the checksum does not match")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's on a foreign pickle, which is said below
            found = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as fault:  # torch.load raises anything, and for code in a pickle its own error
        raise DamagedError(f"{path}: is no checkpoint: {type(fault).__name__}") from fault
    if not isinstance(found, dict):
        raise DamagedError(f"{path}: is no checkpoint: it holds a {type(found).__name__}")
    return found


def tensors_digest(state: Mapping[str, Any]) -> str:
    """sha256 of named tensors: of names, types, shapes and values, wherever they lie."""
    import torch

    content = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        content.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def plain(content: Any) -> Any:
    """`content` as JSON can say it: NaN and infinities as null."""
    if isinstance(content, dict):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [plain(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
