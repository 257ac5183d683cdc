"""A count agrees with its noun."""

from __future__ import annotations

from metabench.utils.counted import counted


def test_one_is_singular_and_all_else_plural():
    assert [counted(n, "task") for n in (0, 1, 2, 10000)] == ["0 tasks", "1 task", "2 tasks", "10,000 tasks"]
    assert [counted(n, "query", "queries") for n in (1, 15)] == ["1 query", "15 queries"]
