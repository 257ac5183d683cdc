"""The report as one HTML file: tables, learning curves, cost, protocol cards.

Nothing is loaded. The one script searches and sorts the tables; the page allows no other, by the digest of its text.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

from metabench import __version__
from metabench.figures.palette import ON_DARK, PALETTE
from metabench.report import wording
from metabench.report.cells import Cell
from metabench.report.tables import Report, Table
from metabench.report.verdict import DEFINITION
from metabench.runs.reader import Skipped
from metabench.runs.untrusted import clean_text
from metabench.utils.files import DamagedError

LEARNING = (
    "learning curves",
    "Validation tasks; bands are 95% intervals, over seeds and tasks, or over tasks for each of one or two seeds.",
)
COST = (
    "cost",
    "Seconds of meta-training on the machines that the cards name, and the test metric with its 95% interval.",
)
Lines = list[dict[str, Any]]  # of metrics.jsonl


@dataclass(frozen=True)
class Section:
    """A data set on the page."""

    table: Table
    legend: list[tuple[str, str, int]]  # row, variant and rank, which is its colour
    charts: list[tuple[str, str, str, str]]  # column, title, note, picture


def as_html(report: Report) -> str:
    """The page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("metabench.report", "templates"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    sections, damaged = _sections(report)
    script = (files("metabench.report") / "templates" / "page.js").read_text(encoding="utf-8")
    tally = {kind: sum(cell.verdict.kind is kind for cell in report.cells) for kind in DEFINITION}
    return environment.get_template("page.html").render(
        report=report,
        parts=[(part, list(found)) for part, found in groupby(sections, key=lambda section: section.table.part)],
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        left_out=[*report.skipped, *damaged],
        tally={kind: count for kind, count in tally.items() if count},
        definition=DEFINITION,
        light=PALETTE,
        dark=ON_DARK,
        wording=wording,
        clean_text=clean_text,
        runs=sum(len(cell.runs) for cell in report.cells),
        version=__version__,
    )


def _sections(report: Report) -> tuple[list[Section], list[Skipped]]:
    """The data sets with their charts, and the metrics that could not be read."""
    from metabench.report import charts

    sections = []
    damaged: dict[Path, Skipped] = {}
    for table in report.tables:
        rows = enumerate(table.rows.values())
        ranks = {(cell.row, cell.variant): rank for rank, row in rows for cell in row.values()}
        drawn = []
        for column in table.columns:
            cells = [row[column] for row in table.rows.values() if column in row and row[column].final]
            curves = [(cell, seeds) for cell in cells if (seeds := _curves(cell, damaged))]
            if curves:
                drawn.append((column, *LEARNING, charts.learning(curves, ranks)))
            trained = [cell for cell in cells if cell.seconds > 0]
            if len(trained) > 1:
                drawn.append((column, *COST, charts.cost(trained, ranks)))
        legend = [(*name, rank) for rank, name in enumerate(table.rows)]
        sections.append(Section(table, legend, drawn))
    return sections, list(damaged.values())


def _curves(cell: Cell, damaged: dict[Path, Skipped]) -> list[Lines]:
    """The validations of each seed that has any; those that cannot be read are noted in `damaged`."""
    found, metric = [], cell.metric
    for run in cell.runs:
        if not os.path.lexists(run.path / "metrics.jsonl"):
            continue
        try:
            lines = run.lines("validation", required=False)
            if not all(metric in line and "ci95" in line for line in lines):
                raise DamagedError(f"metrics.jsonl: has validations without {metric} or ci95")
            found.append(lines)
        except DamagedError as fault:
            damaged[run.path] = Skipped(run.path, f"{fault}; no learning curve")
    return [lines for lines in found if any(math.isfinite(line[metric]) for line in lines)]
