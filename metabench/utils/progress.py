"""Progress of something long: on one line that fits the terminal, with a time left that can be believed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

PLAIN_EVERY = 10.0  # seconds between lines where nothing can be drawn over
TELL_EVERY = 0.2  # seconds between reports to a sweep
BAR = 8, 40  # cells of a bar, at least and at most
Tell = Callable[..., None]
"""Takes what is to be known elsewhere, by name: phase, done, total, left (seconds or None), notes."""


class Clock:
    """Time left of `total` units. The first unit, which may compile, and interludes are no measure of the others."""

    def __init__(self, total: int, done: int, interludes: Sequence[int] = ()) -> None:
        """`interludes` are the units after which there is one."""
        self.total, self.done = total, done
        self._interludes = sum(unit > done for unit in interludes)
        self.began = time.monotonic()
        self._first: tuple[int, float] | None = None  # units, and when they were done
        self._now = self.began
        self._aside = 0.0  # seconds of interludes since then
        self._lengths: list[float] = []

    def update(self, done: int) -> None:
        """`done` units are behind us."""
        self.done, self._now = done, time.monotonic()
        if self._first is None and done:
            self._first, self._aside = (done, self._now), 0.0

    def interlude(self, seconds: float) -> None:
        """An interlude took so long."""
        self._aside += seconds
        self._lengths.append(seconds)
        self._now = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    @property
    def rate(self) -> float | None:
        """Units a second; None while it is not known."""
        if self._first is None or self.done <= self._first[0]:
            return None
        return (self.done - self._first[0]) / max(self._now - self._first[1] - self._aside, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds to the end; None while it is not known."""
        if self.rate is None:
            return 0.0 if self.done >= self.total else None
        ahead = max(0, self._interludes - len(self._lengths))
        mean = sum(self._lengths) / len(self._lengths) if self._lengths else 0.0
        return max(0.0, (self.total - self.done) / self.rate + ahead * mean)


class Phase:
    """Progress of one phase of a run; a context manager. A line that is drawn anew, or plain ones now and then."""

    def __init__(
        self,
        console: Console,
        tell: Tell | None,
        name: str,
        total: int,
        done: int = 0,
        interludes: Sequence[int] = (),
        keep: Callable[[str], None] | None = None,
    ) -> None:
        """`tell` is told of it, some times a second; `keep` gets the lines that are, or elsewhere would be, plain."""
        self.console, self.tell, self.name, self.keep = console, tell, name, keep
        self.live = can_draw(console)
        self.clock = Clock(total, done, interludes)
        self.notes: Sequence[str] = ()
        self._aside: tuple[str, int, int] | None = None  # the interlude under way, its units done and in all
        self._said = self._told = time.monotonic()
        self._drawn = Live(self, console=console, transient=True, refresh_per_second=4) if self.live else None

    def __enter__(self) -> Phase:
        """Show it."""
        if self._drawn is not None:
            self._drawn.start()
        self._report(now=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it away."""
        if self._drawn is not None:
            self._drawn.stop()

    def update(self, done: int, notes: list[str] | tuple[str, ...] = ()) -> None:
        """`done` units are behind us; `notes` are worth watching, the most important first."""
        self.clock.update(done)
        self.notes = notes or self.notes
        self._report()
        last, left = done == self.clock.total, self.clock.left
        self._say(*self.notes, "" if last or left is None else f"{clock(left)} left", now=last and bool(notes))

    def _say(self, *parts: str, now: bool = False) -> None:
        """A plain line now and then, or `now`."""
        if not now and time.monotonic() - self._said <= PLAIN_EVERY:
            return
        self._said = time.monotonic()
        text = "  ".join(filter(None, (f"{self.name} {self.clock.done}/{self.clock.total}", *parts)))
        if not self.live:
            self.console.print(text)
        if self.keep is not None:
            self.keep(text)

    @contextmanager
    def interlude(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Within it something else is done, in `total` units; yields what to call with the units done."""
        began = time.monotonic()

        def tick(done: int) -> None:
            self._aside = name, done, total
            self._report()
            self._say(f"{name} {done}/{total}")

        tick(0)
        try:
            yield tick
        finally:
            self._aside = None
            self._report(now=True)
            self.clock.interlude(time.monotonic() - began)

    def _report(self, now: bool = False) -> None:
        if self.tell is not None and (now or time.monotonic() - self._told > TELL_EVERY):
            self._told = time.monotonic()
            name, done, total = self._aside or (self.name, self.clock.done, self.clock.total)
            left = self.clock.left
            self.tell(phase=name, done=done, total=total, left=left, notes=list(self.notes))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The line, for rich."""
        aside = f"{self._aside[0]} {self._aside[1]}/{self._aside[2]}" if self._aside else ""
        head = f"{self.name} {self.clock.done}/{self.clock.total}"
        left = "" if self.clock.left is None else f"{clock(self.clock.left)} left"
        waiting = "" if left or aside else f"first step, {clock(self.clock.elapsed)}"
        share = self.clock.done / self.clock.total if self.clock.total else 1.0
        yield line(
            [head, left, aside, waiting, *self.notes, f"{clock(self.clock.elapsed)} so far"], share, options.max_width
        )


def can_draw(console: Console) -> bool:
    """Return True where lines can be drawn over: on a terminal that is not a dumb one."""
    return console.is_terminal and not console.is_dumb_terminal


def line(parts: Sequence[str], share: float, width: int) -> Text:
    """The first of `parts`, a bar of which `share` is full, then as many of the others as fit into `width` cells."""
    head, *rest = [part for part in parts if part]
    shown, room = [], width - len(head) - BAR[0] - 2
    for part in rest:
        if len(part) + 2 > room:
            break
        shown.append(part)
        room -= len(part) + 2
    cells = min(BAR[1], BAR[0] + max(0, room)) if width >= len(head) + BAR[0] + 2 else 0
    full = round(cells * min(1.0, max(0.0, share)))
    text = Text(head[:width], no_wrap=True)
    if cells:
        text.append("  ").append("━" * full, "cyan").append("━" * (cells - full), "bright_black")
    for part in shown:
        text.append(f"  {part}")
    return text


def clock(seconds: float | None) -> str:
    """Seconds as 1:02:03 or 2:03."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def in_words(seconds: float) -> str:
    """Seconds as 40 s, 35 min or 2 h 50 min."""
    if seconds < 60:
        return f"{round(seconds)} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
