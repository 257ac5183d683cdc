"""Packs of image folders: made once of these files, never trusted unread, and another for other files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import image_sets
import numpy as np
import pytest

from metabench.data.images import pack
from metabench.data.images.bank import ImageSet
from metabench.data.images.listing import Holdout, Listing, list_images
from metabench.data.images.pack import Preparation, load_images
from metabench.errors import DataError

PLAIN = Preparation(16, 3, "bilinear", "stretch")
FIRST = "bird 00/0.png"
FEW = range(4)


def listed(root: Path) -> Listing:
    return list_images(root, None, None, Holdout(validation=0.25, test=0.25))


def load(root: Path, cache: Path, how: Preparation = PLAIN) -> tuple[ImageSet, list[str]]:
    """The images, and what was said."""
    said: list[str] = []
    return load_images(listed(root), how, cache, said.append), said


def fault(root: Path, cache: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(root, cache)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.fixture
def birds(tmp_path):
    """Four classes of 3 or 5 images."""
    return image_sets.write(tmp_path / "birds", FEW, images=5)


@pytest.fixture
def unread(monkeypatch):
    """A call after which no image can be decoded."""

    def refuse(path, *_, **__):
        raise AssertionError(f"{path} was read")

    return lambda: monkeypatch.setattr(pack, "decode", refuse)


@pytest.mark.parametrize(
    "how",
    [
        PLAIN,
        PLAIN._replace(size=11),
        PLAIN._replace(channels=1),
        PLAIN._replace(fit="crop"),
        PLAIN._replace(fit="crop", channels=1, resize="nearest"),
        *(PLAIN._replace(resize=name) for name in ("nearest", "box", "hamming", "bicubic", "lanczos")),
    ],
    ids=lambda how: how.name,
)
def test_a_pack_holds_the_images_as_pillow_resizes_them_class_by_class(how, birds, cache):
    found, _ = load(birds, cache, how)
    listing = listed(birds)
    classes = [(split, one) for split in listing.splits for one in listing.splits[split]]
    assert found.names == [f"{split}/{one.name}" for split, one in classes]
    assert found.counts == [3 if one.name in ("bird 00", "bird 03") else 5 for _, one in classes]
    expected = np.stack([image_sets.by_pillow(path, **how._asdict()) for _, one in classes for path in one.files])
    np.testing.assert_array_equal(found.images.numpy(), expected)
    again, _ = load(birds, cache, how)
    np.testing.assert_array_equal(again.images.numpy(), expected)


def test_a_second_load_reads_no_image_wherever_the_folder_lies_by_then(birds, cache, unread, tmp_path):
    first, _ = load(birds, cache)
    unread()
    birds.rename(tmp_path / "moved")
    again, said = load(tmp_path / "moved", cache)
    assert (again.names, again.counts, again.digest, said) == (first.names, first.counts, first.digest, [])


def test_a_copy_is_read_once_and_shares_the_pack(birds, cache, unread, tmp_path):
    first, _ = load(birds, cache)
    shutil.copytree(birds, tmp_path / "copy")
    assert load(tmp_path / "copy", cache)[0].digest == first.digest
    assert len(list(cache.glob("*.npy"))) == 1
    unread()
    load(tmp_path / "copy", cache)


def test_settings_have_packs_of_their_own(birds, cache, unread):
    changes = ({}, {"size": 12}, {"channels": 1}, {"resize": "box"}, {"fit": "crop"})
    ways = [PLAIN._replace(**change) for change in changes]
    found = {how: load(birds, cache, how)[0] for how in ways}
    assert len({one.digest for one in found.values()}) == 1
    assert len({one.images.numpy().tobytes() for one in found.values()}) == len(found) == 5
    unread()
    for how, one in found.items():
        np.testing.assert_array_equal(load(birds, cache, how)[0].images, one.images)


def swap_pixels(root: Path) -> None:
    """Another image in a file whose name, size and time of change stay the same."""
    path = root / "bird 00/2.bmp"
    about, data = path.stat(), bytearray(path.read_bytes())
    data[-30:] = bytes(30)
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


CHANGES = {
    "other pixels": swap_pixels,
    "another file": lambda root: image_sets.picture(9, 0).save(root / FIRST),
    "one image less": lambda root: (root / FIRST).unlink(),
    "one image more": lambda root: image_sets.picture(0, 7).save(root / "bird 00/7.png"),
    "another name": lambda root: (root / FIRST).rename(root / "bird 00/00.png"),
    "another class": lambda root: (root / FIRST).rename(root / "bird 01/00.png"),
    "a class of another name": lambda root: (root / "bird 02").rename(root / "bird 20"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_changed_has_another_pack(change, birds, cache):
    first, _ = load(birds, cache)
    CHANGES[change](birds)
    again, said = load(birds, cache)
    assert again.digest != first.digest
    assert said == []
    assert len(list(cache.glob("*.npy"))) == 2
    expected = np.stack([image_sets.by_pillow(path) for path in listed(birds).paths()])
    np.testing.assert_array_equal(again.images.numpy(), expected)


BYTES = {
    "cut short": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "text": lambda data: b"no picture, whatever it is called",
}


@pytest.mark.parametrize("name", BYTES)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_image_is_named_and_leaves_nothing_behind(packed, name, birds, cache):
    if packed:
        load(birds, cache)
    before = set(cache.glob("*")) | set(cache.glob(".*"))
    path = birds / "bird 01/3.gif"
    path.write_bytes(BYTES[name](path.read_bytes()))
    line = fault(birds, cache)
    assert line.startswith(f"{path}: cannot be read as an image (")
    assert line.endswith("): replace or remove it")
    assert {file.suffix for file in {*cache.glob("*"), *cache.glob(".*")} - before} <= {".lock"}


def test_an_image_that_vanished_is_named(birds, cache):
    (birds / "bird 01/8.png").symlink_to(birds / "nowhere.png")
    assert fault(birds, cache) == f"{birds}/bird 01/8.png: cannot be read: No such file or directory"


def test_a_link_to_an_image_is_an_image(birds, cache, tmp_path):
    (birds / FIRST).rename(tmp_path / "elsewhere.png")
    (birds / "bird 01/8.png").symlink_to(tmp_path / "elsewhere.png")
    assert sum(load(birds, cache)[0].counts) == 16


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "a byte of the pixels": ("npy", flip),
    "pixels cut short": ("npy", lambda path: path.write_bytes(path.read_bytes()[:-100])),
    "no pixels": ("npy", lambda path: path.write_bytes(b"")),
    "no classes": ("json", Path.unlink),
    "text for classes": ("json", lambda path: path.write_text("hello")),
    "another list of classes": ("json", lambda path: path.write_text("[]")),
    "another format": ("json", lambda path: path.write_text(path.read_text().replace("folder 1", "folder 0"))),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_pack_is_said_and_made_anew(name, birds, cache, unread):
    first, _ = load(birds, cache)
    kind, damage = DAMAGE[name]
    (array,) = cache.glob("images-16-*.npy")
    damage(array.with_suffix(f".{kind}"))
    again, (line,) = load(birds, cache)
    assert line.startswith(f"{array} is damaged (")
    np.testing.assert_array_equal(again.images, first.images)
    unread()
    assert load(birds, cache)[1] == []


def test_a_pack_that_is_gone_is_made_anew(birds, cache):
    first, _ = load(birds, cache)
    for path in cache.glob("images-16-*"):
        path.unlink(missing_ok=True)
    again, said = load(birds, cache)
    assert (again.digest, said) == (first.digest, [])


def test_a_cache_that_cannot_be_made_is_named(birds, tmp_path):
    (tmp_path / "file").touch()
    assert fault(birds, tmp_path / "file/cache").startswith(f"the cache directory {tmp_path}/file/cache cannot be writ")
