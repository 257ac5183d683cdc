"""Omniglot, from the user's raw files to one uint8 tensor.

Raw data (zips or folders) -> every image checked and resized -> one packed file in the cache -> memory. Where the cache
has the images of these raw files, they are not decoded again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image

from metabench.data.images import raw
from metabench.data.images.bank import ImageBank
from metabench.data.images.download import fetch, missing
from metabench.data.images.packed import ImageCache
from metabench.errors import ConfigError, DataError, suggest
from metabench.utils.distributed import silent
from metabench.utils.paths import cache_folder, default_cache, expanded

Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
FILTERS = {name: Image.Resampling[name.upper()] for name in get_args(Filter)}

Say = Callable[[str], None]


def speak(line: str) -> None:
    """Print a line; of several ranks the first alone."""
    if not silent():
        print(line)


def load_omniglot(
    root: str | None,
    *,
    size: int,
    resize: str,
    invert: bool,
    download: bool,
    crop: int = 0,
    cache: Path | None = None,
    say: Say = speak,
) -> ImageBank:
    """All 1623 characters with 20 images each, uint8 at `size` x `size`; ink is 255 on 0 if `invert`, else 0 on 255.

    Raw data is looked for in `root`, else METABENCH_DATA, else ~/.cache/metabench. The packed file lies in `cache`,
    else METABENCH_CACHE, else ~/.cache/metabench. A pack serves the raw files that it was made of, or others with the
    same images, in whatever folder. Where there are no raw files, a pack of the published images serves, or else the
    only pack there is; `say` gets a warning when the images are not the published ones.

    `resize` is a Pillow filter. `nearest` gives the binary images that most papers used, because Pillow ignores the
    filter on the 1-bit originals; the others work on 8 bits and give grey levels. With `crop` images are made that
    much larger on every side and the border is removed.

    Raises ConfigError for a root that does not exist, DataError for data that is missing, damaged or partial.
    """
    if resize not in FILTERS:
        raise ConfigError("data.resize", resize, suggest(resize, FILTERS, "no such filter"))
    if root is not None and not expanded(root).is_dir():
        raise ConfigError("data.root", root, "no such directory; name the one that holds Omniglot's zips or folders")
    folder = expanded(cache) if cache else cache_folder()
    packs = ImageCache(folder, f"omniglot-{size}-{resize}{f'-crop{crop}' if crop else ''}")
    home = data_folder(root)

    def make() -> ImageBank:
        paths = _paths(home, download, say)
        made_of = _fingerprint(paths)
        bank = _ingest(paths, size, resize, crop, say)
        if packs.read(bank.digest) is None:
            packs.write(bank)
        packs.remember(made_of, bank.digest)
        return bank

    bank = packs.found_or_made(partial(_packed, packs, home), make, say)
    assert bank is not None  # made, or an error was raised
    if bank.digest != raw.DIGEST:
        place = home if raw.located(home) else packs.path(bank.digest)
        say(
            f"warning: the images in {place} are not Omniglot as published (digest {bank.digest[:16]}, not "
            f"{raw.DIGEST[:16]}): results are not comparable with those on the published images"
        )
    return bank._replace(images=bank.images.bitwise_not_()) if invert else bank


def _packed(packs: ImageCache, home: Path, say: Say | None) -> ImageBank | None:
    """The pack of the raw files in `home`; where there are none, that of the published images, or the only one."""
    located = raw.located(home)
    if not located:
        found = packs.digests()
        chosen = [raw.DIGEST] if any(raw.DIGEST.startswith(digest) for digest in found) else found
        return packs.read(chosen[0], say) if len(chosen) == 1 else None
    if len(located) < len(raw.parts()):
        return None
    made_of = _fingerprint(located)
    digest = raw.DIGEST if made_of == raw.published_fingerprint() else packs.digest_of(made_of)
    return None if digest is None else packs.read(digest, say)


def _fingerprint(located: raw.Located) -> str:
    try:
        return raw.fingerprint(located)
    except OSError as fault:
        raise DataError(f"{fault.filename}: cannot be read: {fault.strerror}") from None


def data_folder(root: str | None = None) -> Path:
    """The folder of raw files: `root`, else METABENCH_DATA, else ~/.cache/metabench."""
    named = root or os.environ.get("METABENCH_DATA")
    return expanded(named) if named else default_cache()


def _paths(root: Path, download: bool, say: Say) -> raw.Located:
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


def _ingest(paths: raw.Located, size: int, resize: str, crop: int, say: Say) -> ImageBank:
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
    """uint8 [D, H, W] -> [D, size, size] through Pillow, each image by itself; `crop` pixels are removed all round."""
    whole = size + 2 * crop
    if drawings.shape[1:] != (whole, whole):
        made = [Image.fromarray(one).resize((whole, whole), FILTERS[resize]) for one in drawings]
        drawings = np.stack([np.asarray(one) for one in made])
    return drawings[:, crop : crop + size, crop : crop + size] if crop else drawings
