"""Omniglot laid out as each peer's loader wants it, from the zips that metabench reads. Nothing is downloaded."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from peers.worker import UnsupportedError

SHOTS = 1
PARTS = ("images_background", "images_evaluation")
SIDE = 28


def zips() -> list[Path]:
    """The two original zips, in METABENCH_DATA or its `omniglot-py`."""
    root = Path(os.environ.get("METABENCH_DATA", "."))
    for home in (root, root / "omniglot-py"):
        found = [home / f"{part}.zip" for part in PARTS]
        if all(path.is_file() for path in found):
            return found
    raise UnsupportedError("Omniglot's two zips are not in METABENCH_DATA")


def torchvision_root() -> Path:
    """As torchvision's `Omniglot` leaves it: both zips, and what is in them."""
    return _made("torchvision", lambda folder: _unpack(folder / "omniglot-py"))


def torchmeta_root() -> Path:
    """torchmeta's own HDF5 file. Where the zips are there already it does not extract them, so that is done here."""

    def fill(folder: Path) -> None:
        from torchmeta.datasets import Omniglot

        _unpack(folder / "omniglot")
        Omniglot(str(folder), num_classes_per_task=5, meta_train=True, download=True)

    return _made("torchmeta", fill)


def packed() -> tuple[np.ndarray, np.ndarray]:
    """Every drawing as float32 `[32460, 1, 28, 28]`, and the name of its character."""

    def fill(folder: Path) -> None:
        images, names = [], []
        for path in zips():
            with zipfile.ZipFile(path) as archive:
                for name in sorted(n for n in archive.namelist() if n.endswith(".png")):
                    with Image.open(io.BytesIO(archive.read(name))) as picture:
                        small = picture.convert("L").resize((SIDE, SIDE))
                    images.append(1 - np.asarray(small, np.float32)[None] / 255)
                    names.append(str(Path(name).parent))
        np.savez(folder / "drawings.npz", images=np.stack(images), names=np.array(names))

    with np.load(_made("packed", fill) / "drawings.npz") as content:
        return content["images"], content["names"]


def _unpack(folder: Path) -> None:
    folder.mkdir(parents=True)
    for path in zips():
        (folder / path.name).symlink_to(path.resolve())
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)


def _made(name: str, fill: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, filled once; half a folder is never taken for a whole one."""
    cache = Path(os.environ.get("METABENCH_PEERS_CACHE", tempfile.gettempdir())) / "omniglot"
    target = cache / name
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(dir=cache))
        try:
            fill(half)
            half.rename(target)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return target
