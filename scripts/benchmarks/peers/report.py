"""What was found, as lines and as Markdown, and the one number: metabench beside the best peer."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

TOLERANCE = 1e-3  # of the relative L2 error of a float32 gradient against the float64 reference
OURS = "metabench"


@dataclass
class Result:
    """One contestant on one workload: its times, or the reason why there are none."""

    contestant: str
    seconds: list[float] = field(default_factory=list)
    error: float | None = None  # of the first outer gradient; None where there is none
    memory: int | None = None  # bytes
    reason: str | None = None
    episodes: int | None = None  # drawn in that time, where that is the work
    other_equations: bool = False  # of a model like metabench's: its gradient is not compared

    @property
    def name(self) -> str:
        if self.episodes is None or not self.seconds:
            return self.contestant
        return f"{self.contestant}, {self.episodes / self.median:,.0f} episodes/s"

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def right(self) -> bool:
        """Whether the gradient is right, or there is none to be wrong. NaN is wrong."""
        return self.error is None or self.error <= TOLERANCE


def best_peer(results: Iterable[Result]) -> Result | None:
    """The fastest peer that computes the right gradient."""
    able = [r for r in results if r.contestant != OURS and r.seconds and r.right]
    return min(able, key=lambda r: r.median, default=None)


def ratio_to_best(results: list[Result]) -> tuple[float, Result] | None:
    """The best peer's median over metabench's, and that peer; above 1 metabench is the faster."""
    ours = next((r for r in results if r.contestant == OURS and r.seconds), None)
    best = best_peer(results)
    return (best.median / ours.median, best) if ours and best else None


def worst(tables: dict[str, list[Result]]) -> str:
    """The last line: the smallest ratio over the workloads."""
    found = [(*pair, key) for key, results in tables.items() if (pair := ratio_to_best(results))]
    if not found:
        return "worst ratio to best peer: none measured"
    ratio, peer, key = min(found, key=lambda entry: entry[0])
    words = [key, peer.contestant, *(["other equations"] if peer.other_equations else [])]
    return f"worst ratio to best peer: {ratio:.2f} ({', '.join(words)})"


HEADINGS = ("", "median", "quartiles", "of metabench", "gradient error", "memory", "steps")


def cells(result: Result, ours: Result | None) -> list[str]:
    """One contestant's line."""
    if not result.seconds:
        return [result.name, f"– {result.reason or 'not measured'}", "", "", "", "", ""]
    low, high = quartiles(result.seconds)
    ratio = f"{result.median / ours.median:.2f}" if ours and ours.seconds else ""
    error = "other equations" if result.other_equations else ""
    if result.error is not None:
        error = f"{result.error:.1e}{'' if result.right else ' WRONG'}"
    memory = "" if result.memory is None else f"{result.memory / 2**20:.0f} MB"
    spread = f"{clock(low)} to {clock(high)}"
    return [result.name, clock(result.median), spread, ratio, error, memory, str(len(result.seconds))]


def quartiles(seconds: list[float]) -> tuple[float, float]:
    if len(seconds) < 2:
        return seconds[0], seconds[0]
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return low, high


def clock(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.{1 if seconds >= 0.01 else 2}f} ms"


def ours_of(results: list[Result]) -> Result | None:
    return next((r for r in results if r.contestant == OURS), None)


def plain(title: str, results: list[Result]) -> str:
    """A table for a terminal."""
    rows = [list(HEADINGS), *(cells(r, ours_of(results)) for r in results)]
    widths = [max(len(row[i]) for row in rows if i == 0 or not row[1].startswith("–")) for i in range(len(HEADINGS))]
    lines = [title]
    for row in rows:
        first, *rest = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        lines.append(f"  {row[0]:{widths[0]}}  " + (row[1] if row[1].startswith("–") else "  ".join([first, *rest])))
    return "\n".join(lines)


def markdown(title: str, results: list[Result]) -> str:
    """A table for a document."""
    rows = [list(HEADINGS), ["---"] * len(HEADINGS), *(cells(r, ours_of(results)) for r in results)]
    return f"**{title}**\n\n" + "\n".join("| " + " | ".join(text.replace("|", "/") for text in r) + " |" for r in rows)
