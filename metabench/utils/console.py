"""The program's output: live progress on a terminal, plain lines in a pipe and in the log of a run."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from metabench.utils.distributed import silent
from metabench.utils.progress import Phase, Tell, can_draw
from metabench.utils.starting import Starting

PLAIN_WIDTH = 400
TINY = 1e-12  # below it a metric is 0
HUGE = 1e6  # from it an error is written 3.2e+37


def format_metric(name: str, mean: float, ci95: float | None = None) -> str:
    """A metric as people read it: accuracy in percent, the rest to four decimals, or more where its interval needs."""
    if mean is None or math.isnan(mean):
        return "n/a"
    scale, unit = (100, "%") if name == "accuracy" else (1, "")
    form = f".{decimals(name, mean, ci95)}f" if abs(mean) < HUGE else ".1e"
    interval = "" if ci95 is None or math.isnan(ci95) else f" ± {scale * ci95:{form}}"
    return f"{scale * mean:{form}}{interval}{unit}"


def decimals(name: str, mean: float, ci95: float | None) -> int:
    """The decimals with which a metric is shown, in percent or as it is."""
    if name == "accuracy":
        return 2
    least = abs(mean if ci95 is None or math.isnan(ci95) else ci95)
    return max(4, math.ceil(-math.log10(least))) if TINY < least < 1 else 4


def open_console() -> Console:
    """The console, which shows text as it is; lines in a pipe or a log are not folded to a width nobody has."""
    Starting.clear()
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=silent())
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


class Display:
    """Output of a run: lines, and the progress of one phase after another; `tell` is told of both."""

    def __init__(
        self, console: Console | None = None, tell: Tell | None = None, *, full: bool = False, results: bool = True
    ) -> None:
        """`full`: with the whole protocol card. Without `results` no test is shown."""
        self.console, self.tell, self.full, self.results = console or open_console(), tell, full, results
        self.live = can_draw(self.console)
        self._log: Path | None = None

    def say(self, line: str) -> None:
        """One line, kept."""
        self.show(line)

    def show(self, shown: RenderableType) -> None:
        """A line or a table, kept."""
        self.console.print(shown)
        self.record(shown)

    def record(self, shown: RenderableType) -> None:
        """Add a line or a table to the log alone, if there is one; a log that cannot be written ends no run."""
        if self._log is not None:
            text = io.StringIO()
            Console(file=text, width=PLAIN_WIDTH, highlight=False, markup=False, emoji=False, soft_wrap=True).print(
                shown
            )
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

    def validated(self, step: int, value: float) -> None:
        """Hear what the validation after meta-step `step` found, before the last one: for who watches a run."""

    def trained(self, value: float | None, path: Path) -> None:
        """Hear which validation of which run was chosen, None where it is not finite, before the test: likewise."""

    @property
    def alone(self) -> bool:
        """True where the run is not one of a sweep, whose other jobs share the machine."""
        return self.tell is None

    def phase(self, name: str, total: int, done: int = 0, interludes: Sequence[int] = ()) -> Phase:
        """A phase of `total` units, of which `done` are behind us; a context manager."""
        return Phase(self.console, self.tell, name, total, done, interludes, keep=self.record)

    def finished_before(self, path: Path) -> None:
        """Say that the run in `path` was there already."""
        self.say(f"{path}: finished before; resume=false runs it again")
        if self.tell is not None:
            self.tell(phase="finished before", done=1, total=1, left=0.0, notes=[])


def inline(value: Any) -> str:
    """A value of a card on one line, for a person."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {inline(v)}" for k, v in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return str(value)
