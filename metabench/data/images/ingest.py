"""Omniglot, from what the user has to one uint8 tensor.

Raw data (zips or folders) -> every drawing checked and resized -> one packed file in the cache -> memory. Once packed,
a load reads that file alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from metabench.data.images import raw
from metabench.data.images.bank import ImageBank
from metabench.data.images.download import fetch, missing
from metabench.data.images.packed import only_writer, read_pack, unwritable, write_pack
from metabench.errors import ConfigError, suggest

FILTERS = {
    name: Image.Resampling[name.upper()] for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
}

Say = Callable[[str], None]


def load_omniglot(
    root: str | None,
    *,
    size: int,
    resize: str,
    invert: bool,
    download: bool,
    crop: int = 0,
    cache: Path | None = None,
    say: Say = print,
) -> ImageBank:
    """All 1623 characters by 20 drawings, uint8 at `size` x `size`; ink is 255 on 0 if `invert`, else 0 on 255.

    Raw data is looked for in `root`, else METABENCH_DATA, else ~/.cache/metabench. The packed file lies in `cache`,
    else METABENCH_CACHE, else ~/.cache/metabench; where it is whole, raw data is neither needed nor looked at.
    `resize` is a Pillow filter. `nearest` gives the binary pictures that most papers used, because Pillow ignores the
    filter on the 1-bit originals; the others work on 8 bits and give grey levels. With `crop` pictures are made that
    much larger on every side and the edge is cut off.

    Raises ConfigError for a root that does not exist, DataError for data that is missing, damaged or partial.
    """
    if resize not in FILTERS:
        raise ConfigError("data.resize", resize, suggest(resize, FILTERS, "no such filter"))
    if root is not None and not Path(root).expanduser().is_dir():
        raise ConfigError("data.root", root, "no such directory; name the one that holds Omniglot's zips or folders")
    pack = _cache(cache) / f"omniglot-{size}-{resize}{f'-crop{crop}' if crop else ''}.pt"
    bank = read_pack(pack)
    if bank is None:
        with only_writer(pack, say):
            bank = read_pack(pack, say)  # another process may have written it while this one waited
            if bank is None:
                bank = _ingest(_paths(_raw_root(root), download, say), size, resize, crop, say)
                try:
                    write_pack(pack, bank)
                except (OSError, RuntimeError) as fault:  # torch.save says RuntimeError for a full disk
                    raise unwritable(pack.parent, fault) from fault
    return bank._replace(images=bank.images.bitwise_not_()) if invert else bank


def _home() -> Path:
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "metabench"


def _cache(cache: Path | None) -> Path:
    named = cache or os.environ.get("METABENCH_CACHE")
    return Path(named).expanduser() if named else _home()


def _raw_root(root: str | None) -> Path:
    named = root or os.environ.get("METABENCH_DATA")
    return Path(named).expanduser() if named else _home()


def _paths(root: Path, download: bool, say: Say) -> list[tuple[raw.Part, Path]]:
    """Each part and its zip or folder, downloaded where that is wanted and needed."""
    parts = raw.parts()
    paths = []
    for part in parts:
        path = raw.locate(part, root)
        if path is None and not download:
            raise missing(parts, root, f"no {part.name}.zip or {part.name}/ there, and data.download=false")
        if path is None:
            try:
                path = fetch(part, root / "omniglot-py", say)
            except (OSError, HTTPException) as fault:
                raise missing(parts, root, f"the download of {part.name}.zip failed: {fault}") from fault
        paths.append((part, path))
    return paths


def _ingest(paths: list[tuple[raw.Part, Path]], size: int, resize: str, crop: int, say: Say) -> ImageBank:
    images: dict[str, np.ndarray] = {}
    digests: dict[str, bytes] = {}
    for part, path in paths:
        say(f"reading {path}: {len(part.characters)} characters")
        for name, drawings in raw.read_part(part, path):
            digests[name] = hashlib.sha256(np.packbits(drawings == 0).tobytes()).digest()
            images[name] = resized(drawings, size, resize, crop)
    names = sorted(images)
    digest = hashlib.sha256(b"".join(name.encode() + b"\n" + digests[name] for name in names)).hexdigest()
    return ImageBank(torch.from_numpy(np.stack([images[name] for name in names])), names, digest)


def resized(drawings: np.ndarray, size: int, resize: str, crop: int = 0) -> np.ndarray:
    """uint8 [D, H, W] -> [D, size, size] through Pillow, each drawing by itself; `crop` is cut from every side."""
    whole = size + 2 * crop
    if drawings.shape[1:] != (whole, whole):
        made = [Image.fromarray(one).resize((whole, whole), FILTERS[resize]) for one in drawings]
        drawings = np.stack([np.asarray(one) for one in made])
    return drawings[:, crop : crop + size, crop : crop + size] if crop else drawings
