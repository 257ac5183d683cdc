"""The tracker interface: what a run tells a tracker, and when."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from metabench.runs.run_id import flat, of_run
from metabench.utils.console import inline

Line = Mapping[str, Any]  # of metrics.jsonl: `step`, `split` and values
Memo = dict[str, Any]  # what a tracker must know again when the run is continued; plain values


@dataclass(frozen=True)
class TrackedRun:
    """A run as its trackers know it."""

    name: str
    folder: Path
    config: Mapping[str, Any]
    card: Mapping[str, Any]
    environment: Mapping[str, Any]

    def parameters(self) -> dict[str, Any]:
        """The configuration that decides the run, by dotted keys, without nulls."""
        return {key: value for key, value in flat(of_run(self.config)).items() if value is not None}

    def about(self) -> dict[str, str]:
        """The protocol card and the environment as text, by dotted keys."""
        card = {"hash": self.card["hash"], "test": self.card["test"], "training": self.card["training"]}
        return {
            **{f"protocol.{key}": inline(value) for key, value in flat(card).items()},
            **{f"environment.{key}": inline(value) for key, value in flat(self.environment).items()},
        }


class Point(NamedTuple):
    """One number of a curve."""

    step: int
    name: str  # split/metric
    value: float


def points(lines: Sequence[Line]) -> Iterator[Point]:
    """The finite numbers of some lines."""
    for line in lines:
        for key, value in line.items():
            if key not in ("step", "split") and type(value) in (int, float) and math.isfinite(value):
                yield Point(line["step"], f"{line['split']}/{key}", float(value))


def results(summary: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a finished test: `test/METRIC` and `test/ci95`, and both of each mode of prediction."""
    test = summary["test"]
    found = {f"test/{test['metric']}": test["mean"], "test/ci95": test["ci95"], "test/episodes": test["episodes"]}
    for mode, one in test["modes"].items():
        found |= {f"test/{mode}/{test['metric']}": one["mean"], f"test/{mode}/ci95": one["ci95"]}
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


class Tracker(ABC):
    """One place that a run is shown in. Whatever its methods raise is a warning, and the run goes on without it.

    Keyword-only arguments of the constructor are the keys of its config. Libraries are imported in `begin`, not before.
    """

    package: ClassVar[str | None] = None  # what must be installed, by the name that it is imported by
    extra: ClassVar[str | None] = None  # the extra of metabench that brings it

    @abstractmethod
    def begin(self, run: TrackedRun, memo: Memo) -> str:
        """Open or reopen the run, and return where it is shown; `memo` is empty the first time, and is kept."""

    @abstractmethod
    def log(self, lines: Sequence[Line], first: int) -> None:
        """Show further lines of metrics.jsonl, the `first` of them by its number from 0.

        Each is given once, also when the run is continued.
        """

    @abstractmethod
    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        """Show the result of the test and the pictures (PNG)."""

    def end(self, status: str) -> None:  # noqa: B027 -- there may be nothing to close
        """Close: nothing further comes from this process. `status` is that of status.json."""
