"""The packed file: complete or absent, never trusted unread, written once however many processes start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_omniglot import DIGEST, FAKE, PACK, drawings, fault, load, png, write, write_tree
from paths import ROOT

from metabench.data.images import raw
from metabench.utils import files

pytestmark = pytest.mark.usefixtures("small_omniglot")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil-was-run",)


def flip(path: Path, where: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "a byte of the images": lambda path: flip(path, 0.5),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "empty": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("hello"),
    "a program": lambda path: torch.save({"images": Evil()}, path),
    "another tensor": lambda path: torch.save(torch.zeros(3), path),
    "another size's": lambda path: path.with_name(PACK.replace("28", "20")).replace(path),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_pack_is_written_anew(name, root, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bank, _ = load(root, cache)
    load(root, cache, size=20)
    DAMAGE[name](cache / PACK)
    again, said = load(root, cache)
    assert torch.equal(again.images, bank.images)
    assert len(said) == 3
    assert f"{PACK} is damaged" in said[0]
    assert load(root, cache)[1] == []
    assert not (tmp_path / "evil-was-run").exists()


def test_a_damaged_pack_without_raw_data_is_missing_data(root, cache, tmp_path):
    load(root, cache)
    flip(cache / PACK, 0.5)
    assert f"Omniglot is not in {tmp_path}" in fault(tmp_path, cache)


def test_a_cache_that_cannot_be_made_is_named(root, tmp_path):
    (tmp_path / "file").write_text("in the way")
    line = fault(root, tmp_path / "file" / "cache")
    assert line.startswith(f"the cache directory {tmp_path}/file/cache cannot be written")
    assert "METABENCH_CACHE" in line


def test_a_read_only_cache_is_named_but_its_packs_load(root, cache):
    load(root, cache)
    cache.chmod(0o555)
    if os.access(cache, os.W_OK):
        pytest.skip("root may write anywhere")
    try:
        assert load(root, cache)[1] == []
        assert f"the cache directory {cache} cannot be written" in fault(root, cache, size=20)
    finally:
        cache.chmod(0o755)


def test_a_write_that_fails_leaves_nothing(root, cache, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    assert "No space left on device" in fault(root, cache)
    assert [path.name for path in cache.iterdir()] == ["omniglot-28-nearest.lock"]


def test_processes_that_start_at_once_ingest_once(root, cache):
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tests/helpers')!r}); import fake_omniglot as t\n"
        "t.raw.parts = lambda: t.FAKE\n"
        f"bank, said = t.load({str(root)!r}, t.Path({str(cache)!r}))\n"
        "print(bank.digest, bank.images.sum().item(), sum(s.startswith('reading') for s in said))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(4)
    ]
    lines = [process.communicate(timeout=60)[0].split() for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert len({tuple(line[:2]) for line in lines}) == 1
    assert sorted(line[2] for line in lines) == ["0", "0", "0", "2"]


# ---- a pack serves the images that it was made of, and no others


FIRST = "images_background/Alpha/character01/0001_01.png"


@pytest.fixture
def other(tmp_path):
    """A second root, with one image that differs."""
    return write(tmp_path / "other", {FIRST: png(999)})


def read(said: list[str]) -> bool:
    """Whether raw files were decoded."""
    return any(line.startswith("reading ") for line in said)


def warned(said: list[str]) -> list[str]:
    return [line for line in said if line.startswith("warning: ")]


@pytest.mark.parametrize("options", [{}, {"size": 20}, {"crop": 2}, {"resize": "box"}, {"invert": False}])
def test_another_roots_pack_does_not_serve(root, other, cache, tmp_path, options):
    one, _ = load(root, cache, **options)
    two, said = load(other, cache, **options)
    assert read(said)
    assert two.digest != one.digest
    assert torch.equal(two.images, load(other, tmp_path / "fresh", **options)[0].images)
    for place, expected in ((root, one), (other, two)):  # both are there, and neither is decoded again
        bank, said = load(place, cache, **options)
        assert not read(said)
        assert bank.digest == expected.digest
        assert torch.equal(bank.images, expected.images)


def test_the_environment_and_the_key_name_the_same_raw_files(root, other, cache, monkeypatch):
    load(other, cache)
    monkeypatch.setenv("METABENCH_DATA", str(root))
    assert load(None, cache)[0].digest == DIGEST
    monkeypatch.setenv("METABENCH_DATA", str(other))
    bank, said = load(None, cache)
    assert bank.digest != DIGEST
    assert not read(said)


def test_a_zip_replaced_in_its_place_is_read_again(root, other, cache):
    load(root, cache)
    name = "images_background.zip"
    about = (root / name).stat()
    (other / name).replace(root / name)
    os.utime(root / name, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert load(root, cache)[0].digest != DIGEST


def test_a_changed_image_in_a_folder_is_read_again(root, cache, tmp_path):
    folder = tmp_path / "folder"
    for part in (0, 1):
        write_tree(folder, drawings(part))
    assert load(folder, cache)[0].digest == DIGEST
    about = (folder / FIRST).stat()
    changed = png(999)
    (folder / FIRST).write_bytes(changed + bytes(max(0, about.st_size - len(changed))))
    os.utime(folder / FIRST, ns=(about.st_atime_ns, about.st_mtime_ns))
    bank, said = load(folder, cache)
    assert read(said)
    assert bank.digest != DIGEST
    assert not read(load(folder, cache)[1])


def test_the_same_images_in_another_form_or_place_share_a_pack(root, cache, tmp_path):
    load(root, cache)
    written = (cache / PACK).stat().st_mtime_ns
    root.rename(tmp_path / "moved")
    assert not read(load(tmp_path / "moved", cache)[1])
    folder = tmp_path / "folder"
    for part in (0, 1):
        write_tree(folder, drawings(part))
    bank, _ = load(folder, cache)  # read once, to learn that its images are the same
    assert bank.digest == DIGEST
    assert not read(load(folder, cache)[1])
    assert not read(load(folder, cache, invert=False)[1])
    assert (cache / PACK).stat().st_mtime_ns == written
    assert len(list(cache.glob("*.pt"))) == 1


def test_the_published_zips_are_known_without_being_read(root, cache, monkeypatch):
    load(root, cache)
    for path in cache.glob("*.json"):
        path.unlink()
    assert read(load(root, cache)[1])
    for path in cache.glob("*.json"):
        path.unlink()
    known = [part._replace(md5=raw._md5(root / f"{part.name}.zip")) for part in FAKE]
    monkeypatch.setattr(raw, "parts", lambda: known)
    assert not read(load(root, cache)[1])


def test_images_other_than_the_published_are_said_aloud(root, other, cache, tmp_path):
    assert not warned(load(root, cache)[1])
    for _ in range(2):  # packed, and from the pack
        (line,) = warned(load(other, cache)[1])
        assert str(other) in line
        assert DIGEST[:16] in line


def test_without_raw_files_the_published_pack_serves_or_the_only_one(root, other, cache, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    load(other, cache)
    bank, said = load(empty, cache)
    assert bank.digest != DIGEST
    (line,) = warned(said)
    assert "omniglot-28-nearest-" in line  # the pack is what it names
    load(root, cache)
    bank, said = load(empty, cache)
    assert (bank.digest, said) == (DIGEST, [])
    (cache / PACK).unlink()
    load(write(tmp_path / "third", {FIRST: png(998)}), cache)
    assert "Omniglot is not in" in fault(empty, cache)  # there are two, and neither is the published one


def test_half_of_the_raw_files_are_not_taken_for_the_whole(root, other, cache):
    load(root, cache)
    (other / "images_evaluation.zip").unlink()
    assert "no images_evaluation.zip" in fault(other, cache)


def test_links_to_folders_and_capital_endings_are_found(root, cache, tmp_path):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    write_tree(elsewhere, {name.replace(".png", ".PNG"): data for name, data in drawings(0).items()})
    write_tree(folder, drawings(1))
    (folder / "images_background").mkdir()
    for alphabet in (elsewhere / "images_background").iterdir():
        (folder / "images_background" / alphabet.name).symlink_to(alphabet)
    (folder / "images_background" / "Alpha" / "again").symlink_to(folder / "images_background")  # a circle
    assert load(folder, cache)[0].digest == DIGEST


def test_a_record_that_is_damaged_is_written_anew(root, cache):
    load(root, cache)
    (record,) = cache.glob("omniglot-of-*.json")
    for content in ("", "[]", '{"digest": null}', '{"digest": "' + "0" * 64 + '"}'):
        record.write_text(content)
        assert load(root, cache)[0].digest == DIGEST
        assert not read(load(root, cache)[1])
