"""The packed file: complete or absent, never trusted unread, written once however many processes start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT
import torch
from fake_omniglot import fault, load

from metabench.data.images import packed

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
    "another size's": lambda path: path.with_name("omniglot-20-nearest.pt").replace(path),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_pack_is_written_anew(name, root, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bank, _ = load(root, cache)
    load(root, cache, size=20)
    DAMAGE[name](cache / "omniglot-28-nearest.pt")
    again, said = load(root, cache)
    assert torch.equal(again.images, bank.images)
    assert len(said) == 3
    assert "omniglot-28-nearest.pt is damaged" in said[0]
    assert load(root, cache)[1] == []
    assert not (tmp_path / "evil-was-run").exists()


def test_a_damaged_pack_without_raw_data_is_missing_data(root, cache, tmp_path):
    load(root, cache)
    flip(cache / "omniglot-28-nearest.pt", 0.5)
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
    def full(content, file):
        file.write(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packed.torch, "save", full)
    assert "No space left on device" in fault(root, cache)
    assert [path.name for path in cache.iterdir()] == ["omniglot-28-nearest.pt.lock"]


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
