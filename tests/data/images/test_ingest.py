"""The real Omniglot: whole, the same from every form, and resized as the papers resized it."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from real_data import needs_omniglot, omniglot_root

from metabench.data.images import raw
from metabench.data.images.ingest import FILTERS, load_omniglot, resized
from metabench.data.images.splits import read_split

pytestmark = needs_omniglot


def load(root, cache, invert=True, said=None):
    say = (said if said is not None else []).append
    return load_omniglot(str(root), size=28, resize="nearest", invert=invert, download=False, cache=cache, say=say)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def bank(cache):
    return load(omniglot_root(), cache)


@pytest.fixture(scope="module")
def originals():
    """Some of the 1-bit pictures, by character."""
    path = raw.locate(raw.parts()[1], omniglot_root())
    names = ["Angelic/character01", "Mongolian/character30", "ULOG/character07"]
    if path.is_dir():
        return {name: [Image.open(file) for file in sorted((path / name).glob("*.png"))] for name in names}
    with zipfile.ZipFile(path) as archive:
        members = sorted(archive.namelist())
        return {name: [Image.open(io.BytesIO(archive.read(m))) for m in members if f"/{name}/" in m] for name in names}


def test_every_character_is_there(bank):
    assert bank.images.shape == (1623, 20, 28, 28)
    assert bank.images.dtype == torch.uint8
    assert bank.names == sorted(name for part in read_split("vinyals").values() for name in part)
    assert bank.digest == raw.DIGEST


def test_ink_is_bright_when_inverted(bank, cache):
    assert set(bank.images.unique().tolist()) == {0, 255}
    assert 0.07 < (bank.images == 255).float().mean() < 0.09
    assert torch.equal(load(omniglot_root(), cache, invert=False).images, 255 - bank.images)


def test_a_packed_load_reads_no_raw_data(bank, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path))
    said = []
    again = load_omniglot(None, size=28, resize="nearest", invert=True, download=False, cache=cache, say=said.append)
    assert said == []
    assert torch.equal(again.images, bank.images)
    assert again[1:] == bank[1:]


def test_nearest_is_pillows_resize_of_the_1_bit_picture(bank, originals):
    for name, pictures in originals.items():
        assert {picture.mode for picture in pictures} == {"1"}
        for wanted in (Image.Resampling.NEAREST, Image.Resampling.LANCZOS):  # Pillow ignores the filter on 1 bit
            expected = [np.asarray(picture.resize((28, 28), wanted)) for picture in pictures]
            got = bank.images[bank.names.index(name)].numpy() == 0  # inverted: paper is 0
            np.testing.assert_array_equal(got, np.stack(expected))


@pytest.mark.parametrize("name", sorted(set(FILTERS) - {"nearest"}))
def test_other_filters_are_pillows_on_8_bits(originals, name):
    pictures = originals["ULOG/character07"]
    expected = [np.asarray(picture.convert("L").resize((28, 28), FILTERS[name])) for picture in pictures]
    got = resized(np.stack([np.asarray(picture.convert("L")) for picture in pictures]), 28, name)
    np.testing.assert_array_equal(got, np.stack(expected))
    assert len(np.unique(got)) > 10


def test_cropping_cuts_the_edge_of_larger_pictures(originals):
    drawings = np.stack([np.asarray(picture.convert("L")) for picture in originals["ULOG/character07"]])
    np.testing.assert_array_equal(
        resized(drawings, 28, "bilinear", 2), resized(drawings, 32, "bilinear")[:, 2:-2, 2:-2]
    )


def test_full_size_is_the_original(originals):
    drawings = np.stack([np.asarray(picture.convert("L")) for picture in originals["ULOG/character07"]])
    assert resized(drawings, 105, "lanczos") is drawings


@pytest.mark.slow
def test_zip_and_folder_agree_bit_for_bit(bank, tmp_path):
    """One part as it is, the other as the folder that the zip extracts to, in torchvision's layout."""
    first, second = raw.parts()
    home = tmp_path / "omniglot-py"
    home.mkdir()
    for part in (first, second):
        found = raw.locate(part, omniglot_root())
        if part is first or found.is_dir():
            (home / found.name).symlink_to(found)
        else:
            zipfile.ZipFile(found).extractall(home)
    said = []
    mixed = load(tmp_path, tmp_path / "cache", said=said)
    assert said[1] == f"reading {home / second.name}: 659 characters"
    assert torch.equal(mixed.images, bank.images)
    assert mixed[1:] == bank[1:]
