"""Devices: a GPU by its number, and what is said where there is none; where compiled code is kept."""

from __future__ import annotations

import os

import pytest
import torch

from metabench.config.compose import compose
from metabench.engine.compiled import keep_compiled
from metabench.engine.device import open_device
from metabench.errors import ConfigError


@pytest.fixture
def two_gpus(monkeypatch):
    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[-1] if current else 0)


@pytest.mark.parametrize(("asked", "found"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("auto", 0)])
def test_a_gpu_is_chosen_by_its_number(asked, found, two_gpus):
    assert open_device(compose(f"device={asked}").device) == torch.device("cuda", found)


def test_a_gpu_that_is_not_there_is_said_in_one_line(two_gpus):
    with pytest.raises(ConfigError, match=r"^device=cuda:2: no such GPU; torch sees cuda:0 to cuda:1$"):
        open_device(compose("device=cuda:2").device)


def test_compiled_code_is_kept_in_the_cache_unless_the_user_says_where(monkeypatch, tmp_path):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "mine")
    keep_compiled()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "mine"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    keep_compiled()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache/torchinductor")
    assert (tmp_path / "cache/torchinductor").is_dir()
    (tmp_path / "file").touch()
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "file"))
    keep_compiled()  # torch's own folder then
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
