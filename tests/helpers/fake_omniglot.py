"""A tiny Omniglot in the real one's form (three characters), for tests of what can be wrong with it."""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabench.data.images import ingest, raw
from metabench.errors import DataError

FAKE = [
    raw.Part("images_background", "0" * 32, ["Alpha/character01", "Beta/character01"]),
    raw.Part("images_evaluation", "0" * 32, ["Alto/character01"]),
]
DIGEST = "692e21a0b54453a6acfc70a0d3e10bfdbfc5bcb1c4c1d6a776d2ecb11cc63c98"  # of their images
PACK = f"omniglot-28-nearest-{DIGEST[:12]}.pt"


def png(seed: int = 0, size: tuple[int, int] = (105, 105), grey: bool = False) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, size[::-1], dtype=np.uint8)
    picture = Image.fromarray(pixels)
    file = io.BytesIO()
    (picture if grey else picture.convert("1")).save(file, "PNG")
    return file.getvalue()


@functools.cache
def drawings(part: int) -> dict[str, bytes]:
    name, _, characters = FAKE[part]
    return {
        f"{name}/{character}/{1 + i:04d}_{k:02d}.png": png(1000 * part + 100 * i + k)
        for i, character in enumerate(characters)
        for k in range(1, 21)
    }


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def write_tree(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def write(folder: Path, changes: dict[str, bytes] | None = None) -> Path:
    """Both zips, whole, in `folder`; `changes` replace images of the first."""
    folder.mkdir()
    for part, (name, _, _) in enumerate(FAKE):
        write_zip(folder / f"{name}.zip", drawings(part) | ((changes or {}) if part == 0 else {}))
    return folder


def install(monkeypatch, tmp_path: Path) -> None:
    """Let the program take the fake for Omniglot, and know nothing of this machine's data."""
    monkeypatch.setattr(raw, "parts", lambda: FAKE)
    monkeypatch.setattr(raw, "DIGEST", DIGEST)
    for name in ("METABENCH_DATA", "METABENCH_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


def load(root, cache, **changed):
    said: list[str] = []
    options = {"size": 28, "resize": "nearest", "invert": True, "download": False, "say": said.append} | changed
    return ingest.load_omniglot(root and str(root), cache=cache, **options), said


def fault(root, cache, **changed) -> str:
    with pytest.raises(DataError) as caught:
        load(root, cache, **changed)
    assert "\n" not in str(caught.value)
    return str(caught.value)
