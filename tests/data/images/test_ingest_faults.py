"""What the raw data of a user may look like, and each fault in it: one line that says what and where."""

from __future__ import annotations

import zipfile

import pytest
import torch
from fake_omniglot import FAKE, PACK, drawings, fault, load, png, write_tree, write_zip

from metabench.errors import ConfigError

pytestmark = pytest.mark.usefixtures("small_omniglot")


def test_the_fake_loads_sorted_over_both_parts(root, cache):
    bank, said = load(root, cache)
    assert bank.names == ["Alpha/character01", "Alto/character01", "Beta/character01"]
    assert bank.images.shape == (3, 20, 28, 28)
    assert said == [
        f"reading {root}/images_background.zip: 2 characters",
        f"reading {root}/images_evaluation.zip: 1 characters",
    ]


def test_forms_may_be_mixed_and_junk_is_ignored(root, cache, tmp_path):
    bank, _ = load(root, cache)
    mixed = tmp_path / "mixed"
    write_tree(mixed, drawings(1) | {"images_evaluation/.DS_Store": b"junk", "images_evaluation/Alto/Thumbs.db": b""})
    (mixed / "omniglot-py").mkdir()
    junk = {"__MACOSX/images_background/Alpha/character01/._0001_01.png": b"junk", "images_background/": b""}
    write_zip(mixed / "omniglot-py" / "images_background.zip", junk | dict(reversed(drawings(0).items())))
    other, _ = load(mixed, tmp_path / "other")
    assert torch.equal(other.images, bank.images)
    assert other.digest == bank.digest


def test_digest_is_of_the_raw_pixels_not_of_the_resized(root, cache):
    assert load(root, cache)[0].digest == load(root, cache, size=20, resize="lanczos", invert=False)[0].digest


def test_a_zip_is_preferred_to_a_folder_that_may_be_half_extracted(root, cache):
    write_tree(root, dict(list(drawings(0).items())[:7]))
    load(root, cache)


def test_where_data_and_cache_are_found_without_options(root, tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_DATA", str(root))
    load(None, None)
    assert (tmp_path / "xdg/metabench" / PACK).is_file()
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "named"))
    load(None, None)
    assert (tmp_path / "named" / PACK).is_file()
    monkeypatch.delenv("METABENCH_DATA")
    assert "no images_background.zip" in fault(None, None, size=20)
    root.rename(tmp_path / "xdg/metabench/omniglot-py")
    load(None, None, size=20)


FIRST = "images_background/Alpha/character01/0001_01.png"
HUGE = png()[:16] + (50_000).to_bytes(4, "big") * 2 + png()[24:]  # the header claims 2.5 gigapixels
FAULTS = {
    "a drawing missing": ({FIRST: None}, "Alpha/character01 has 19 of 20 drawings"),
    "a character missing": ({n: None for n in drawings(0) if "/Beta/" in n}, "1 of 2 characters; Beta/character01"),
    "a foreign character": ({"Gimel/character01/0003_01.png": png()}, "Gimel/character01, which is not in Omniglot's"),
    "a drawing twice": ({FIRST.replace("0001_", "0009_"): png()}, "Alpha/character01 has drawing 01 twice"),
    "not a PNG": ({FIRST: b"GIF89a" + bytes(30)}, f"{FIRST} is not a PNG"),
    "an empty file": ({FIRST: b""}, f"{FIRST} is not a PNG"),
    "a truncated PNG": ({FIRST: png()[:300]}, f"{FIRST} is a damaged PNG"),
    "a wrong size": ({FIRST: png(size=(28, 30))}, f"{FIRST} is 28x30 pixels, not 105x105"),
    "a picture bomb": ({FIRST: HUGE}, f"{FIRST} is 50000x50000 pixels"),
    "a zip bomb": ({FIRST: png() + bytes(10_000_000)}, f"{FIRST} has more than 65536 bytes"),
    "grey pixels": ({FIRST: png(grey=True)}, f"{FIRST} has grey pixels"),
    "a way out": ({"images_background/../../evil.png": png()}, "'images_background/../../evil.png' points outside"),
    "an absolute path": ({"/etc/evil": b""}, "'/etc/evil' points outside"),
    "a drive": ({"C:\\evil.png": b""}, "points outside"),
    "other pictures": (dict.fromkeys(drawings(0)) | {"cats/1.png": png()}, "no drawing of Omniglot's images_back"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_zip_is_refused(name, root, cache):
    changes, expected = FAULTS[name]
    files = drawings(0) | changes
    path = root / "images_background.zip"
    write_zip(path, {name: data for name, data in files.items() if data is not None})
    line = fault(root, cache)
    assert line.startswith(str(path))
    assert expected in line
    assert not list(cache.glob("*.pt"))


def test_a_partial_folder_says_which_character_is_short(root, cache):
    (root / "images_background.zip").unlink()
    write_tree(root, dict(list(drawings(0).items())[:23]))
    assert f"{root}/images_background: Beta/character01 has 3 of 20 drawings" in fault(root, cache)


@pytest.mark.parametrize("keep", [0, 100, -2000, -10])
def test_a_truncated_zip_is_refused(keep, root, cache):
    path = root / "images_evaluation.zip"
    path.write_bytes(path.read_bytes()[:keep])
    assert f"{path} cannot be read as a zip" in fault(root, cache)


def test_a_flipped_byte_in_a_zip_is_refused(root, cache):
    path = root / "images_evaluation.zip"
    data = bytearray(path.read_bytes())
    data[500] ^= 0xFF
    path.write_bytes(data)
    assert "0001_01.png cannot be read" in fault(root, cache)


def test_a_compression_that_cannot_be_bounded_is_refused(root, cache):
    write_zip(root / "images_background.zip", drawings(0), zipfile.ZIP_LZMA)
    assert "cannot be read (compression method 14)" in fault(root, cache)


def test_swapped_zips_are_named(root, cache):
    one, two = (root / f"{part.name}.zip" for part in FAKE)
    one.rename(root / "aside")
    two.rename(one)
    (root / "aside").rename(two)
    assert f"{one} holds images_evaluation, not images_background" in fault(root, cache)


def test_an_unknown_filter_is_refused(root, cache):
    with pytest.raises(ConfigError, match=r"data\.resize=lanczo: no such filter; did you mean lanczos"):
        load(root, cache, resize="lanczo")
