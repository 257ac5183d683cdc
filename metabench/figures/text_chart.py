"""A curve in letters, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS, PLAIN = " ▁▂▃▄▅▆▇█", " .:-=+*#@"


def text_chart(values: Sequence[float], width: int = 60, height: int = 4, encoding: str = "utf-8") -> list[str]:
    """Lines that show `values` in order as columns, from the lowest value to the highest; NaN is left empty.

    Of more values than columns each column shows the mean of its share. Log scale where all are positive and the
    largest is over ten times the smallest.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return []
    log = min(finite) > 0 and max(finite) > 10 * min(finite)
    columns = _columns([math.log(value) if log and math.isfinite(value) else value for value in values], width)
    shown = [value for value in columns if math.isfinite(value)]
    low, span = min(shown), (max(shown) - min(shown)) or 1.0
    letters = BLOCKS if encoding.lower().replace("-", "").startswith("utf") else PLAIN
    steps = len(letters) - 1
    filled = [0 if not math.isfinite(v) else 1 + round((v - low) / span * (height * steps - 1)) for v in columns]
    return [
        "".join(letters[min(max(eighths - row * steps, 0), steps)] for eighths in filled).rstrip()
        for row in reversed(range(height))
    ]


def _columns(values: Sequence[float], width: int) -> list[float]:
    """The values, or the means of as many parts of them as there are columns."""
    count = min(width, len(values))
    parts = [values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)]
    finite = [[value for value in part if math.isfinite(value)] for part in parts]
    return [sum(part) / len(part) if part else math.nan for part in finite]
