"""A curve in letters."""

from __future__ import annotations

import math

import pytest

from metabench.figures.text_chart import text_chart


@pytest.mark.parametrize(
    ("values", "chart"),
    [
        ([0.0, 1.0], [" █", " █", " █", "▁█"]),
        ([0.0, math.nan, 1.0], ["  █", "  █", "  █", "▁ █"]),
        ([5.0, 5.0], ["", "", "", "▁▁"]),
        ([math.nan], []),
        ([], []),
    ],
)
def test_columns_from_the_lowest_to_the_highest(values, chart):
    assert text_chart(values) == chart


def test_many_values_share_columns_and_a_wide_range_is_logarithmic():
    assert len(text_chart(list(range(1000)), width=50)[-1]) == 50
    one, ten, hundred = (sum(line[i : i + 1] not in ("", " ") for line in text_chart([1, 10, 100])) for i in range(3))
    assert (one, hundred) == (1, 4)
    assert ten in (2, 3)


def test_a_terminal_without_blocks_has_letters():
    assert text_chart([0.0, 1.0], height=1, encoding="ascii") == [".@"]
