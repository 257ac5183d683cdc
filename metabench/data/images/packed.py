"""One file per prepared image set: complete or absent, checked when read, written by one process at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from metabench.data.images.bank import ImageBank
from metabench.errors import DataError

Say = Callable[[str], None]

_FORMAT = "metabench image bank 1"  # a new number when what is packed changes; older files are then written anew


def read_pack(path: Path, say: Say | None = None) -> ImageBank | None:
    """The bank in the file, or None when the file is absent, damaged or foreign; `say` hears of the latter two."""
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        bank = ImageBank(*map(content.get, ImageBank._fields))
        if content.get("sha256") == _sha256(path.name, bank):
            return bank
        reason = "its sha256 differs"
    except Exception as fault:  # on foreign bytes torch.load raises anything, from EOFError to UnicodeDecodeError
        reason = f"it cannot be read: {type(fault).__name__}"
    if say:
        say(f"{path} is damaged ({reason}); packing it again")
    return None


def write_pack(path: Path, bank: ImageBank) -> None:
    """Write aside, sync, rename: a torch file of plain types. The caller holds the lock of `path`."""
    aside = path.with_suffix(".part")  # one name, under the lock: what a killed process leaves is written over
    try:
        with aside.open("wb") as file:
            torch.save({**bank._asdict(), "sha256": _sha256(path.name, bank)}, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)  # a full disk gets its space back
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself survives a power cut
    finally:
        os.close(folder)


@contextmanager
def only_writer(path: Path, say: Say) -> Iterator[None]:
    """Hold the lock beside `path`, waiting for whoever has it. Raises DataError where no file can be written."""
    lock = FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"waiting for the process that is writing {path}")
            lock.acquire()
    except (OSError, NotImplementedError) as fault:
        raise unwritable(path.parent, fault) from fault
    try:
        yield
    finally:
        lock.release()


def unwritable(cache: Path, fault: Exception) -> DataError:
    """The line for a cache directory that cannot be written."""
    return DataError(f"the cache directory {cache} cannot be written ({fault}): set METABENCH_CACHE to one that can")


def _sha256(name: str, bank: ImageBank) -> str:
    """Over all that a pack says, the name it was written under, and the format, so that no other file passes for it."""
    shape = "x".join(map(str, bank.images.shape))
    content = hashlib.sha256(
        "\n".join([_FORMAT, name, str(bank.images.dtype), shape, bank.digest, *bank.names]).encode()
    )
    content.update(bank.images.numpy().data)
    return content.hexdigest()
