"""Image folders, packed: every image read and resized once, then one array of pixels in the cache.

    images-84-rgb-bilinear-3f0c77aa1b02.npy    pixels, uint8 [N, C, size, size], of images with that digest
    images-84-rgb-bilinear-3f0c77aa1b02.json   their classes and counts, and the sha256 of the array's file
    images-of-3b1f0c55d2a7e914.json            the digest of the images in files with that fingerprint

The array is written aside straight from the decoder, so that packing needs little memory however many images there are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from metabench.data.images.bank import ImageSet
from metabench.data.images.decode import Fit, decode
from metabench.data.images.listing import Listing
from metabench.data.images.packed import ImageCache
from metabench.errors import DataError
from metabench.tasks import SPLITS
from metabench.utils.console import Display
from metabench.utils.files import DamagedError, read_json, write_errors, write_json

Say = Callable[[str], None]

_FORMAT = "metabench image folder 1"  # a new number when what is packed changes; older files are then written anew
_AT_ONCE = 64  # files a thread pool is given


class Preparation(NamedTuple):
    """Settings that make pixels of images."""

    size: int
    channels: int
    resize: str
    fit: Fit

    @property
    def name(self) -> str:
        """The beginning of the names of packs."""
        kind = "grey" if self.channels == 1 else "rgb"
        return f"images-{self.size}-{kind}-{self.resize}{'-crop' if self.fit == 'crop' else ''}"


def load_images(listing: Listing, how: Preparation, cache: Path, say: Say) -> ImageSet:
    """The images of a listing, class by class: from the pack of these files, or read, and packed for the next run.

    Raises `DataError` that names an image that cannot be read, or a cache that cannot be written.
    """
    packs = ImageCache(cache, how.name)
    made_of = _fingerprint(listing)

    def find(say: Say | None) -> ImageSet | None:
        digest = packs.digest_of(made_of)
        return None if digest is None else _read(packs, digest, say)

    def make() -> ImageSet | None:
        digest = _pack(packs, listing, how)
        packs.remember(made_of, digest)
        return _read(packs, digest, say)

    found = packs.found_or_made(find, make, say)
    if found is None:
        raise DataError(f"the pack written to {cache} cannot be read back: set METABENCH_CACHE to a sound disk")
    return found


def _fingerprint(listing: Listing) -> str:
    """Digest of the name, size and times of every file, found without reading them."""
    found = hashlib.sha256(listing.digest().encode())
    for path in listing.paths():
        try:
            about = os.stat(path)  # noqa: PTH116  of a million files a Path takes twice as long
        except OSError as fault:
            raise DataError(f"{path}: cannot be read: {fault.strerror}") from None
        found.update(f"{path.name} {about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}\n".encode(errors="replace"))
    return found.hexdigest()


def _pack(packs: ImageCache, listing: Listing, how: Preparation) -> str:
    """Read every image and write the pack; returns the digest of the content."""
    paths = list(listing.paths())
    shape = (len(paths), how.channels, how.size, how.size)
    content = hashlib.sha256(listing.digest().encode())
    aside = packs.folder / f".{how.name}.part"
    try:
        with write_errors(aside):
            pixels = np.lib.format.open_memmap(aside, mode="w+", dtype=np.uint8, shape=shape)
        with Display().phase(f"reading {listing.root}", len(paths)) as phase, _threads() as pool:
            for start in range(0, len(paths), _AT_ONCE):
                read = pool.map(partial(_prepared, how), paths[start : start + _AT_ONCE])
                for at, (of_file, picture) in enumerate(read, start):
                    pixels[at] = picture
                    content.update(of_file)
                phase.update(min(start + _AT_ONCE, len(paths)))
        digest = content.hexdigest()
        with write_errors(aside):
            pixels.flush()
            del pixels
            aside.replace(_array(packs, digest))
    finally:
        aside.unlink(missing_ok=True)
    about = {
        "format": _FORMAT,
        "digest": digest,
        "names": [f"{split}/{one.name}" for split in SPLITS for one in listing.splits[split]],
        "counts": [len(one.files) for split in SPLITS for one in listing.splits[split]],
        "sha256": _sha256(_array(packs, digest)),
    }
    write_json(_about(packs, digest), about, indent=None)
    return digest


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(16, os.cpu_count() or 1))  # Pillow decodes without the interpreter's lock


def _prepared(how: Preparation, path: Path) -> tuple[bytes, np.ndarray]:
    """The sha256 of a file, and its picture."""
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise DataError(f"{path}: cannot be read: {fault.strerror}") from None
    return hashlib.sha256(data).digest(), decode(path, data, **how._asdict())


def _read(packs: ImageCache, digest: str, say: Say | None = None) -> ImageSet | None:
    """The pack of that digest, or None where it is absent or damaged; `say` hears of the latter."""
    array = _array(packs, digest)
    if not array.is_file():
        return None
    try:
        about = read_json(_about(packs, digest))
        if (about["format"], about["digest"]) == (_FORMAT, digest) and about["sha256"] == _sha256(array):
            pixels = torch.from_numpy(np.load(array, allow_pickle=False))
            return ImageSet(pixels, about["names"], about["counts"], digest)
        reason = "the checksum does not match"
    except (DamagedError, KeyError, TypeError, ValueError, OSError) as fault:
        reason = str(fault)
    if say:
        say(f"{array} is damaged ({reason}); packing it again")
    return None


def _array(packs: ImageCache, digest: str) -> Path:
    return packs.path(digest).with_suffix(".npy")


def _about(packs: ImageCache, digest: str) -> Path:
    return packs.path(digest).with_suffix(".json")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
