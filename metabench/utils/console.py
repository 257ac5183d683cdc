"""The program's output: live progress on a terminal, plain lines in a pipe and in the log of a run."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from metabench.utils.distributed import silent

PLAIN_EVERY = 10.0  # seconds between plain lines
PLAIN_WIDTH = 400


def format_metric(name: str, mean: float, ci95: float | None = None) -> str:
    """A metric as people read it: accuracy in percent, the rest to four digits."""
    if mean is None or math.isnan(mean):
        return "n/a"
    scale, unit, digits = (100, "%", 2) if name == "accuracy" else (1, "", 4)
    interval = "" if ci95 is None or math.isnan(ci95) else f" ± {scale * ci95:.{digits}f}"
    return f"{scale * mean:.{digits}f}{interval}{unit}"


def open_console() -> Console:
    """The console; lines in a pipe or a log are not folded to a width nobody has."""
    console = Console(highlight=False, soft_wrap=True, quiet=silent())
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


class Display:
    """Progress of one phase after another."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or open_console()
        self.live = self.console.is_terminal
        self._log: Path | None = None

    def say(self, line: str) -> None:
        """One line, kept."""
        self.show(line)

    def show(self, shown: RenderableType) -> None:
        """A line or a table, kept."""
        self.console.print(shown, markup=False)
        self.record(shown)

    def record(self, shown: RenderableType) -> None:
        """Add a line or a table to the log alone, if there is one; a log that cannot be written ends no run."""
        if self._log is not None:
            text = io.StringIO()
            Console(file=text, width=PLAIN_WIDTH, highlight=False, soft_wrap=True).print(shown, markup=False)
            lines = "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())
            with suppress(OSError), self._log.open("a", encoding="utf-8") as file:
                file.write(lines)

    @contextmanager
    def logged(self, path: Path | None) -> Iterator[None]:
        """Within it what is shown is added to the file at `path` too, as plain lines; with None to no file."""
        self._log, before = path, self._log
        try:
            yield
        finally:
            self._log = before

    def phase(self, name: str, total: int, done: int = 0) -> Phase:
        """A phase of `total` units, of which `done` are behind us; a context manager."""
        return Phase(self, name, total, done)


class Phase:
    """A bar on a terminal; elsewhere a line now and then."""

    def __init__(self, display: Display, name: str, total: int, done: int) -> None:
        self.display, self.name, self.total, self.done = display, name, total, done
        self.started = self.said = time.monotonic()
        self.start = done
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=display.console,
            disable=not display.live,
            transient=True,
        )

    def __enter__(self) -> Phase:
        """Show it."""
        self.task = self.bar.add_task(self.name, total=self.total, completed=self.done, note="")
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it away."""
        self.bar.stop()

    @property
    def rate(self) -> float:
        """Units a second since the phase began here."""
        return (self.done - self.start) / max(time.monotonic() - self.started, 1e-9)

    def update(self, done: int, note: str = "") -> None:
        """`done` units are behind us; `note` is what is worth watching."""
        self.done = done
        if self.display.live:
            if note:
                self.bar.update(self.task, note=note)
            self.bar.update(self.task, completed=done)
        if note and (time.monotonic() - self.said > PLAIN_EVERY or done == self.total):
            self.said = time.monotonic()
            left = (self.total - done) / self.rate if self.rate else math.inf
            keep = self.display.record if self.display.live else self.display.say
            keep(f"{self.name} {done}/{self.total}  {note}  {clock(left)} left")


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def inline(value: Any) -> str:
    """A value of a card on one line, for a person."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {inline(v)}" for k, v in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return str(value)
