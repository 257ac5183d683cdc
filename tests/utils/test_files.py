"""Files are complete or absent, damage is found, and reading executes nothing."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
import torch

from metabench.errors import UserError
from metabench.utils.files import DamagedError, load_tensors, read_json, save_tensors, write_bytes, write_json

CONTENT = {"weights": {"w": torch.arange(12.0).view(3, 4), "n": torch.tensor(7)}, "step": 3, "best": None, "lr": [0.1]}


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    save_tensors(tmp_path / "last.pt", CONTENT)
    return tmp_path / "last.pt"


def full(*arguments):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(where, tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    monkeypatch.setattr(*((os, "fsync") if where == "fsync" else (Path, "replace")), full)
    with pytest.raises(UserError, match=r"/file: cannot be written: No space left on device"):
        write_bytes(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_was_killed_leaves_nothing_once_it_is_repeated(tmp_path, monkeypatch):
    path = tmp_path / "file"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_bytes(path, b"half")
    assert not path.exists()
    write_bytes(path, b"whole")
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (seen.append("sync"), sync(handle)))
    monkeypatch.setattr(Path, "replace", lambda *paths: (seen.append("rename"), replace(*paths)))
    write_bytes(tmp_path / "file", b"content")
    assert seen == ["sync", "rename", "sync"]


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(UserError, match="cannot be written: No such file or directory"):
        write_bytes(tmp_path / "nowhere" / "file", b"")


def test_a_file_name_that_is_no_utf8_comes_back(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / "a.json", {name: [name]})
    assert read_json(tmp_path / "a.json") == {name: [name]}
    (tmp_path / "a.json").read_text(encoding="utf-8")


def test_json_is_strict(tmp_path):
    write_json(tmp_path / "a.json", {"nan": float("nan"), "inf": [float("-inf"), 1.5], "name": "α", "on": True})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"nan": None, "inf": [None, 1.5], "name": "α", "on": True}
    assert "α" in text


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe", None])
def test_damaged_json_is_found(content, tmp_path):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


def test_a_checkpoint_reads_as_it_was_written(checkpoint):
    found, plain = load_tensors(checkpoint), torch.load(checkpoint, weights_only=True)
    for content in (found, plain):
        for name, value in CONTENT["weights"].items():
            assert torch.equal(content["weights"][name], value)
        assert {k: v for k, v in content.items() if k != "weights"} == {"step": 3, "best": None, "lr": [0.1]}


def test_equal_content_has_equal_bytes(checkpoint, tmp_path):
    save_tensors(tmp_path / "again.pt", CONTENT)
    assert (tmp_path / "again.pt").read_bytes() == checkpoint.read_bytes()


def test_every_flipped_byte_is_found(checkpoint):
    content = checkpoint.read_bytes()
    chance = random.Random(0)
    for at in [0, len(content) - 1, *chance.sample(range(len(content)), 48)]:
        damaged = bytearray(content)
        damaged[at] ^= 1 << chance.randrange(8)
        checkpoint.write_bytes(damaged)
        with pytest.raises(DamagedError, match="the checksum does not match"):
            load_tensors(checkpoint)


@pytest.mark.parametrize("keep", [0, 1, 71, 200, -1, -72])
def test_every_truncation_is_found(keep, checkpoint):
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    with pytest.raises(DamagedError, match="the checksum does not match"):
        load_tensors(checkpoint)


def test_a_missing_checkpoint_is_said(tmp_path):
    with pytest.raises(DamagedError, match="No such file or directory"):
        load_tensors(tmp_path / "last.pt")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil-was-run",)


@pytest.mark.parametrize("content", [{"step": Evil()}, {"algo": {"w": Evil()}}, Evil()], ids=["value", "deep", "whole"])
def test_a_hostile_checkpoint_has_no_effect(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tensors(tmp_path / "last.pt", content)
    with pytest.raises(DamagedError, match="is no checkpoint: UnpicklingError"):
        load_tensors(tmp_path / "last.pt")
    assert not (tmp_path / "evil-was-run").exists()


def test_a_link_and_a_pipe_stay_what_they_are(tmp_path):
    target, link, pipe = (tmp_path / name for name in ("target", "link", "pipe"))
    target.write_bytes(b"before")
    link.symlink_to(target)
    write_bytes(link, b"after")
    assert link.is_symlink()
    assert target.read_bytes() == b"after"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_bytes(pipe, b"through")
    assert os.read(reader, 100) == b"through"
    assert pipe.is_fifo()
    os.close(reader)
