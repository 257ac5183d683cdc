"""The boards there are: their names, columns and budgets. Imports nothing, so that the command line starts at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One result of each method: a test below its run by name, or the run's own, at its end or after inner steps."""

    title: str
    test: str | None = None
    at: int | None = None


COLUMNS = {
    "omniglot": (
        Column("5-way 1-shot"),
        Column("5-way 5-shot", "5w5s"),
        Column("20-way 1-shot", "20w1s"),
        Column("20-way 5-shot", "20w5s"),
    ),
    "sinusoid": (
        Column("K=10"),
        Column("1 step", at=1),
        Column("5 steps", at=5),
        Column("10 steps", at=10),
        Column("K=5", "k5"),
        Column("K=20", "k20"),
    ),
}
BOARDS = tuple(COLUMNS)
BUDGET = {"omniglot": "images", "sinusoid": "points"}  # the unit of training that all methods share
TITLES = {"omniglot": "Omniglot", "sinusoid": "Sinusoids"}
SHIFT = "shift"  # the suite of task shifts; its tests of each board are in conf/suite/shift/BOARD.yaml
