"""Threads of a run: as many as there are free cores, and one at least."""

from __future__ import annotations

import pytest

from metabench.engine import threads
from metabench.engine.threads import free_cores, pick_threads


@pytest.mark.parametrize(
    ("own", "free", "expected"), [(2, 1.9, 2), (2, 1.1, 1), (2, 0.1, 1), (8, 3.4, 3), (1, 4.0, 1), (4, None, 4)]
)
def test_no_more_threads_than_free_cores(own, free, expected):
    assert pick_threads(own, free) == expected


def test_free_cores_are_the_idle_share_of_those_that_may_be_used(tmp_path, monkeypatch):
    stat = tmp_path / "stat"
    monkeypatch.setattr(threads, "STAT", stat)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    stat.write_text("cpu  9 9 9 9 9 0 0 0 0 0\ncpu0 0 0 0 100 0 0 0 0 0 0\ncpu1 0 0 0 100 0 0 0 0 0 0\ncpu2 0 0 0 0\n")

    def later(seconds: float) -> None:
        stat.write_text("cpu0 20 0 0 100 0 0 0 0 20 0\ncpu1 5 0 0 110 5 0 0 0 0 0\ncpu2 9 0 0 0\nintr 5\n")

    assert free_cores(later) == pytest.approx(0.0 + 15 / 20)
    stat.unlink()
    assert free_cores(later) is None
