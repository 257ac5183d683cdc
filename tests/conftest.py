"""What every test starts from: one thread, so that sums are made in one order, and the same examples every time."""

from __future__ import annotations

import fake_omniglot as fake
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("repeatable")


@pytest.fixture
def small_omniglot(monkeypatch, tmp_path):
    """Three characters stand for the whole of Omniglot."""
    fake.install(monkeypatch, tmp_path)


@pytest.fixture
def root(small_omniglot, tmp_path):
    """A folder with their two archives."""
    return fake.write(tmp_path / "data")


@pytest.fixture
def cache(tmp_path):
    """An empty cache folder."""
    return tmp_path / "cache"
