"""Tables for a spreadsheet or pandas, in RUN/trackers/csv: parameters, protocol, metrics and test."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metabench.tracker.base import Line, Memo, TrackedRun, Tracker, points, results
from metabench.utils.console import inline

METRICS = ("step", "split", "metric", "value")


class Csv(Tracker):
    """CSV files: `parameters`, `protocol` and `test` have a name and a value per row; `metrics` is in long form."""

    folder: Path

    def begin(self, run: TrackedRun, memo: Memo) -> str:
        """See `Tracker`."""
        self.folder = run.folder / "trackers/csv"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not memo:
            self._write("parameters", ((key, inline(value)) for key, value in run.parameters().items()))
            self._write("protocol", run.about().items())
            self._rows("metrics", "w", [METRICS])
            memo["begun"] = True
        return str(self.folder)

    def log(self, lines: Sequence[Line], first: int) -> None:
        """See `Tracker`."""
        self._rows("metrics", "a", ((step, *name.split("/", 1), value) for step, name, value in points(lines)))

    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        """See `Tracker`; pictures lie beside."""
        self._write("test", results(summary).items())

    def _write(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        self._rows(table, "w", [("name", "value"), *rows])

    def _rows(self, table: str, mode: str, rows: Iterable[Sequence[Any]]) -> None:
        with (self.folder / f"{table}.csv").open(mode, newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
