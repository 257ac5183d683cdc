"""The formats that a report can be written in; what writes them is imported when asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metabench.report.tables import Report

FORMATS = ("md", "latex", "csv", "runs", "json", "html")
SUFFIXES = {".md": "md", ".tex": "latex", ".csv": "csv", ".json": "json", ".html": "html"}


def writer(kind: str) -> Callable[[Report], str]:
    """The function that writes a report as `kind`, one of `FORMATS`."""
    from metabench.report.csv_json import as_csv, as_json, as_runs
    from metabench.report.html import as_html
    from metabench.report.latex import as_latex
    from metabench.report.markdown import as_md

    return {"md": as_md, "latex": as_latex, "csv": as_csv, "runs": as_runs, "json": as_json, "html": as_html}[kind]
