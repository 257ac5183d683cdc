"""What a fault is: a function that does something bad to the real program once, and asserts what must hold after."""

from __future__ import annotations

import math
import shutil
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from unittest import SkipTest

FAULTS: list[Fault] = []


@dataclass
class Attempt:
    """One of `tries`: a folder of its own, chance that is the same each time, and what it found worth a figure."""

    number: int
    tries: int
    folder: Path
    chance: Random
    figures: dict[str, float] = field(default_factory=dict)
    exceeded: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of the way through: attempts spread evenly over [0, 1), by chance within their part."""
        return (self.number + self.chance.random()) / self.tries

    def note(self, name: str, value: float, limit: float = math.inf) -> None:
        """A figure; of all attempts the largest is shown. Only the script holds it to its limit: a clock's or a
        memory's figure fails no test."""
        self.figures[name] = value
        if value > limit:
            self.exceeded.append(f"attempt {self.number}: {name} {value:.3g}, above {limit:g}")


@dataclass(frozen=True)
class Fault:
    """What is done, what must hold, how often (`short`: in the tests), whether `alone`, and one attempt."""

    name: str
    holds: str
    tries: int
    short: int
    alone: bool
    attempt: Callable[[Attempt], None]


@dataclass
class Outcome:
    """Of a fault: attempts made and held, seconds, why others did not, the largest of each figure."""

    tries: int = 0
    held: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    exceeded: list[str] = field(default_factory=list)
    skipped: str | None = None


def fault(
    name: str, holds: str, tries: int, short: int = 1, alone: bool = False, over: Iterable[object] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function of an attempt, and of a case where there are several: `{}` in `name`; tests try the first."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        for number, given in enumerate([(case,) for case in over] or [()]):
            attempt = partial(_attempt, function, given)
            FAULTS.append(Fault(name.format(*given), holds, tries, 0 if number else short, alone, attempt))
        return function

    return register


def _attempt(function: Callable[..., None], given: tuple[object, ...], attempt: Attempt) -> None:
    function(attempt, *given)


def carry_out(fault: Fault, tries: int, folder: Path) -> Outcome:
    """`tries` attempts in folders below `folder`; those of attempts that held are removed."""
    outcome = Outcome()
    began = time.monotonic()
    for number in range(tries):
        own = folder / str(number)
        own.mkdir(parents=True)
        attempt = Attempt(number, tries, own, Random(f"{fault.name} {number}"))
        try:
            fault.attempt(attempt)
        except SkipTest as reason:
            outcome.skipped = str(reason)
            break
        except Exception as wrong:
            outcome.failures.append(f"attempt {number} in {own}: {_where(wrong)}")
        else:
            outcome.held += 1
            shutil.rmtree(own)
        outcome.tries += 1
        outcome.exceeded += attempt.exceeded
        for name, value in attempt.figures.items():
            outcome.figures[name] = max(value, outcome.figures.get(name, value))
    outcome.seconds = time.monotonic() - began
    return outcome


def _where(wrong: Exception) -> str:
    frames = [frame for frame in traceback.extract_tb(wrong.__traceback__) if "tests" in frame.filename]
    said = " ".join(f"{type(wrong).__name__} {wrong}".split())[:1000]
    return " < ".join(f"{f.name}:{f.lineno} `{f.line}`" for f in reversed(frames[1:])) + f": {said}"
