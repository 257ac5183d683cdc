"""The formats that a report can be written in, each imported when asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metabench.report.tables import Report

MODULES = {
    "md": "markdown",
    "latex": "latex",
    "csv": "csv_json",
    "runs": "csv_json",
    "json": "csv_json",
    "html": "html",
}
SUFFIXES = {".md": "md", ".tex": "latex", ".csv": "csv", ".json": "json", ".html": "html"}


def writer(kind: str) -> Callable[[Report], str]:
    """The function that writes a report as `kind`."""
    return getattr(import_module(f"metabench.report.{MODULES[kind]}"), f"as_{kind}")
