"""Omniglot as its authors publish it: the raw files found, and every image read and checked.

A part is a zip or the folder extracted from it. A zip is never extracted: its members are read in memory, and their
size and the image's size are checked before anything is decoded.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from metabench.data.images.splits import read_split
from metabench.errors import DataError

DRAWINGS = 20
SIDE = 105  # pixels

DIGEST = "d94dbe2639b9809b3817613adb9c2c35eb0f7e8933bddf52008de090348c0389"  # of the images as published

_DRAWING = re.compile(r"(?:.*/)?([\w()-]+/character\d\d)/\d{4}_(\d\d)\.(?:png|PNG)")
_OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:|(.*[/\\])?\.\.([/\\]|$)")
_MAX_BYTES = 1 << 16  # Omniglot's largest PNG has 522
_PNG = b"\x89PNG\r\n\x1a\n"

AGAIN = "replace it with a complete copy, or name another folder with data.root="

Open = Callable[[str], IO[bytes]]


class Part(NamedTuple):
    """One of the two published archives: its name, the md5 of the original zip, and the characters it must hold."""

    name: str
    md5: str
    characters: list[str]


Located = list[tuple[Part, Path]]


def parts() -> list[Part]:
    """Omniglot's two archives. Lake's split is by archive, so it also says which characters belong to which."""
    lake = read_split("lake")
    return [
        Part("images_background", "68d2efa1b9178cc56df9314c21c6e718", sorted(lake["train"] + lake["validation"])),
        Part("images_evaluation", "6b91aef0f799c5bb55b94e3f2daec811", lake["test"]),
    ]


def locate(part: Part, root: Path) -> Path | None:
    """The zip or folder of `part` in `root` or `root/omniglot-py`; a zip first, for a folder may be half extracted."""
    homes = (root, root / "omniglot-py")
    zips = (path for home in homes if (path := home / f"{part.name}.zip").is_file())
    folders = (path for home in homes if (path := home / part.name).is_dir())
    return next(zips, None) or next(folders, None)


def located(root: Path) -> Located:
    """The parts that are there, each with its zip or folder."""
    return [(part, path) for part in parts() if (path := locate(part, root))]


def fingerprint(located: Located) -> str:
    """Fingerprint of the raw files, found without decoding them; raises OSError.

    The md5 of a zip, wherever it lies. Of a folder the name, size and times of every file: an equal copy may differ,
    and no change goes unseen.
    """
    return "\n".join(f"{part.name} {_tree(path) if path.is_dir() else _md5(path)}" for part, path in located)


def published_fingerprint() -> str:
    """The fingerprint of the two zips as published, whose images have the digest `DIGEST`."""
    return "\n".join(f"{part.name} {part.md5}" for part in parts())


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _tree(folder: Path) -> str:
    found = hashlib.sha256()
    for name in _files(folder):
        about = os.stat(f"{folder}/{name}")  # noqa: PTH116  of 32,000 files a Path takes twice as long
        entry = f"{name} {about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}\n"
        found.update(entry.encode(errors="surrogateescape"))
    return found.hexdigest()


def _files(folder: Path) -> list[str]:
    """The files in and below a folder, sorted; links to folders are followed, each folder once."""
    found: list[str] = []
    seen = set()
    for place, inner, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            inner.clear()
            continue
        seen.add(real)
        below = Path(place).relative_to(folder).as_posix()
        found += files if below == "." else [f"{below}/{name}" for name in files]
    return sorted(found)


def read_part(part: Part, path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Each character of the part in sorted order: its name, its drawings as uint8 [20, 105, 105], ink 0 on 255.

    Raises DataError, naming `path`, for anything damaged, missing or foreign.
    """
    with opened(path) as (names, open_file):
        index = members(path, names)
        _check_characters(path, part, set(index))
        for character in part.characters:
            chosen = _check_drawings(path, character, index[character])
            yield character, np.stack([decode(path, name, read_member(path, open_file, name)) for name in chosen])


@contextmanager
def opened(path: Path) -> Iterator[tuple[list[str], Open]]:
    """The names of the files in a folder or zip, and what opens one of them."""
    if path.is_dir():
        yield _files(path), lambda name: (path / name).open("rb")
        return
    try:
        archive = zipfile.ZipFile(path)
    except Exception as fault:
        raise DataError(f"{path} cannot be read as a zip ({fault}): {AGAIN}") from fault
    with archive:
        yield archive.namelist(), lambda name: _member(archive, name)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    kind = archive.getinfo(name).compress_type
    if kind not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile bounds what a read inflates for these alone
        raise NotImplementedError(f"compression method {kind}")
    return archive.open(name)


def read_member(path: Path, open_file: Open, name: str) -> bytes:
    """At most `_MAX_BYTES`, whatever size a header claims."""
    try:
        with open_file(name) as stream:
            data = stream.read(_MAX_BYTES + 1)
    except Exception as fault:  # zipfile's own errors, zlib's, RuntimeError (encrypted), OSError, ...
        raise DataError(f"{path}: {name} cannot be read ({fault}): {AGAIN}") from fault
    if len(data) > _MAX_BYTES:
        raise DataError(f"{path}: {name} has more than {_MAX_BYTES} bytes, which no Omniglot drawing has: {AGAIN}")
    return data


def members(path: Path, names: list[str]) -> dict[str, dict[str, str]]:
    """{character: {drawing number: member}}; what is not a drawing is left out (.DS_Store, __MACOSX, folders)."""
    index: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        if _OUTSIDE.match(name):
            raise DataError(f"{path}: the member {name!r} points outside the archive, so it is not trusted: {AGAIN}")
        if found := _DRAWING.fullmatch(name):
            character, number = found.groups()
            if number in index[character]:
                raise DataError(f"{path}: {character} has drawing {number} twice: {AGAIN}")
            index[character][number] = name
    return index


def _check_characters(path: Path, part: Part, found: set[str]) -> None:
    for other in parts():
        if other.name != part.name and found and found <= set(other.characters):
            raise DataError(f"{path} holds {other.name}, not {part.name}: give each of the two its own name")
    wanted = set(part.characters)
    if not found & wanted:
        raise DataError(f"{path} holds no drawing of Omniglot's {part.name}: {AGAIN}")
    if missing := sorted(wanted - found):
        count = f"{len(wanted & found)} of {len(wanted)}"
        raise DataError(f"{path} has {count} characters; {missing[0]} is one that it lacks: {AGAIN}")
    if strange := sorted(found - wanted):
        raise DataError(f"{path} holds {strange[0]}, which is not in Omniglot's {part.name}: {AGAIN}")


def _check_drawings(path: Path, character: str, drawings: dict[str, str]) -> list[str]:
    if sorted(drawings) != [f"{number:02d}" for number in range(1, DRAWINGS + 1)]:
        count = f"{len(drawings)} of {DRAWINGS} drawings"
        raise DataError(f"{path}: {character} has {count}, or not those numbered 01 to {DRAWINGS}: {AGAIN}")
    return [drawings[number] for number in sorted(drawings)]


def decode(path: Path, name: str, data: bytes) -> np.ndarray:
    """The picture as uint8 [105, 105] of 0 and 255; its size is read from the header before Pillow sees it."""
    if not data.startswith(_PNG) or len(data) < 24:
        raise DataError(f"{path}: {name} is not a PNG picture: {AGAIN}")
    width, height = struct.unpack(">II", data[16:24])
    if (width, height) != (SIDE, SIDE):
        raise DataError(f"{path}: {name} is {width}x{height} pixels, not {SIDE}x{SIDE}: {AGAIN}")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            pixels = np.asarray(picture.convert("L"))
    except Exception as fault:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... on damaged bytes
        raise DataError(f"{path}: {name} is a damaged PNG ({fault}): {AGAIN}") from fault
    if not ((pixels == 0) | (pixels == 255)).all():
        raise DataError(f"{path}: {name} has grey pixels; Omniglot's drawings are black and white: {AGAIN}")
    return pixels
