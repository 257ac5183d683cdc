"""Rows as the text of a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Iterable[str] | None = None) -> str:
    """Rows with the same keys as CSV, with its head; `columns` where there may be no row."""
    text = io.StringIO()
    if columns is None and rows:
        columns = rows[0].keys()
    if columns is not None:
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()
