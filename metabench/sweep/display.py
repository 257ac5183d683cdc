"""Progress of a sweep: all running jobs in one display on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from metabench.sweep.outcome import FINE
from metabench.utils.console import format_metric
from metabench.utils.counted import counted
from metabench.utils.progress import PLAIN_EVERY, can_draw, clock, line

DRAW_EVERY = 0.25  # seconds


class SweepDisplay:
    """The view of a sweep while it runs; a context manager. `jobs` are the overrides of each, by number.

    A search has a view for each round of trials, of which the `first` says what it is.
    """

    def __init__(
        self, console: Console, jobs: Mapping[int, list[str]], side_by_side: int, noun: str = "job", first: bool = True
    ) -> None:
        self.console, self.side, self.noun = console, side_by_side, noun
        shared = set.intersection(*map(set, jobs.values())) if len(jobs) > 1 else set()
        self.names = {n: " ".join(o for o in overrides if o not in shared) for n, overrides in jobs.items()}
        self.shared = " ".join(o for o in next(iter(jobs.values()), []) if o in shared)
        self.began: dict[int, float] = {}
        self.lengths: list[float] = []  # seconds of the jobs that have run to their end
        self.ended = 0
        self._carded = not first
        self._running: dict[int, dict[str, Any]] = {}
        self._drawn = Live(console=console, transient=True, auto_refresh=False) if can_draw(console) else None
        self._when = time.monotonic()

    def __enter__(self) -> SweepDisplay:
        """Say what the sweep is."""
        beside = f", {self.side} side by side" if self.side > 1 else ""
        if not self._carded:
            self._say(f"{len(self.names)} {self.noun}s{beside}: {self.shared}".rstrip(": "))
        if self._drawn is not None:
            self._drawn.start()
        return self

    def __exit__(self, *fault: object) -> None:
        """Take away what is drawn."""
        if self._drawn is not None:
            self._drawn.update("")
            self._drawn.stop()

    def begin(self, number: int, threads: int) -> None:
        """A job has begun."""
        self.began[number] = time.monotonic()
        self._say(f"{self._name(number)}: {self.names[number]} ({counted(threads, 'thread')})")

    def card(self, number: int, lines: list[str]) -> None:
        """Show the protocol of the first job that says it, once for all of them."""
        if lines and not self._carded:
            self._carded = True
            for text in lines:
                self._say(f"{self.noun} {number}: {text}")

    def end(self, number: int, outcome: Mapping[str, Any], folder: Path | None, before: bool) -> None:
        """A job has ended; `before`: it found its run finished."""
        self.ended += 1
        self._running.pop(number, None)
        seconds = time.monotonic() - self.began[number]
        if not before:
            self.lengths.append(seconds)
        test, reason = outcome.get("test"), outcome.get("reason")
        result = f"{test['metric']} {format_metric(test['metric'], test['mean'], test['ci95'])}" if test else reason
        where = "" if outcome["status"] in FINE or folder is None else f"; see {folder}/job.log"
        took = "finished before" if before else f"after {clock(seconds)}"
        self._say(f"{self._name(number)} {outcome['status']} {took}: {result}{where}")

    def tick(self, running: Mapping[int, dict[str, Any]]) -> None:
        """Show how the running jobs stand; `running` is what each has told last, by number."""
        now = time.monotonic()
        self._running = dict(running)
        if self._drawn is not None and now - self._when > DRAW_EVERY:
            self._when = now
            width = self.console.width
            head = f"{self.ended}/{len(self.names)} {self.noun}s"
            lines = [line([head, self._left()], self._share(), width)]
            lines += [self._row(number, told, width) for number, told in running.items()]
            self._drawn.update(Group(*lines), refresh=True)
        elif self._drawn is None and now - self._when > PLAIN_EVERY:
            self._when = now
            for number, told in running.items():
                if told:
                    words = "  ".join([f"{told['phase']} {told['done']}/{told['total']}", *told["notes"]])
                    self._say(f"{self._name(number)}: {words}")
            left = self._left() or "time left not known yet"
            self._say(f"{self.ended} of {len(self.names)} {self.noun}s have ended; {left}")

    def _row(self, number: int, told: Mapping[str, Any], width: int) -> Any:
        if not told:
            return line([f"{self.noun} {number} begins", self.names[number]], 0.0, width)
        left = "" if told["left"] is None else f"{clock(told['left'])} left"
        head = f"{self.noun} {number} {told['phase']} {told['done']}/{told['total']}"
        return line([head, left, self.names[number], *told["notes"]], told["done"] / max(1, told["total"]), width)

    def _share(self) -> float:
        parts = [told["done"] / max(1, told["total"]) for told in self._running.values() if told]
        return (self.ended + sum(parts)) / max(1, len(self.names))

    def _left(self) -> str:
        """Time left: of running jobs as they say, of waiting ones the mean of the others."""
        now = time.monotonic()
        ahead = {n: told["left"] for n, told in self._running.items() if told and told["left"] is not None}
        whole = self.lengths + [now - self.began[n] + left for n, left in ahead.items()]
        if not whole or (self._running and not ahead and not self.lengths):
            return ""
        mean = sum(whole) / len(whole)
        rest = [ahead.get(n, max(0.0, mean - (now - self.began[n]))) for n in self._running]
        waiting = len(self.names) - self.ended - len(self._running)
        seconds = max([*rest, (sum(rest) + waiting * mean) / max(1, min(self.side, len(rest) + waiting))])
        return f"{clock(seconds)} left"

    def _name(self, number: int) -> str:
        position = list(self.names).index(number) + 1
        return f"{self.noun} {number} ({position} of {len(self.names)})"

    def _say(self, text: str) -> None:
        self.console.print(text)
