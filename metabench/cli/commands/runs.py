"""`metabench runs [DIR]…`: a list of runs, filtered and sorted, as a table, JSON or CSV."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metabench.cli.arguments import Parser
from metabench.cli.output import emit, pick_format
from metabench.errors import UserError, suggest
from metabench.report.csv_text import csv_text
from metabench.runs.listing import SORTS, Row, age_text, rows_of, size_text
from metabench.utils.counted import counted
from metabench.utils.paths import expanded

SUFFIXES = {".csv": "csv", ".json": "json"}
FIRST_TO_GO = ("size", "data", "algo")  # columns, where a terminal is narrow: the path has the others


def main(arguments: list[str]) -> None:
    """Print the list, or write it."""
    parser = Parser(
        prog="metabench runs",
        description="List the runs below some folders: path, data, algorithm, status, test metric, age and size.",
    )
    parser.add_argument(
        "words", nargs="*", metavar="DIR | KEY=VALUE", help="folders, by default outputs without the recorded runs in "
        "outputs/reference; filters: a column, seed, or a key of the configuration, as algo=maml,anil status=complete "
        "data.ways=20 'name=try*'",
    )  # fmt: skip
    parser.add_argument("--sort", default="age", metavar="COLUMN", help=f"{', '.join(SORTS)}; age by default")
    parser.add_argument("--reverse", action="store_true", help="turn the order round")
    parser.add_argument("--format", help=f"{', '.join(SUFFIXES.values())}; that of FILE's name, else a table")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="write there, not to the terminal")
    options = parser.parse_args(arguments)
    _runs(options)


def _runs(options: Any) -> None:
    kind = pick_format(options.format, options.output, SUFFIXES)
    if options.sort not in SORTS:
        raise UserError(f"--sort={options.sort}: {suggest(options.sort, SORTS, 'no such column')}")
    filters = [word for word in options.words if "=" in word and not Path(word).is_dir()]
    from metabench.runs.reader import APART, OUTPUTS, find, recorded_apart

    folders = [expanded(word) for word in options.words if word not in filters]
    without = recorded_apart(folders)
    found, skipped = find(folders or [OUTPUTS], tests=False, without=without)
    rows = rows_of(found, filters, options.sort)[:: -1 if options.reverse else 1]
    if kind is None:
        _show(rows, len(found))
        for skip in skipped:
            print(f"left out: {skip}")
        if without is not None:
            print(APART)
        return
    emit(_json(rows) if kind == "json" else _csv(rows), options.output)


def _json(rows: Sequence[Row]) -> str:
    return json.dumps([row.as_dict() for row in rows], indent=2, ensure_ascii=False) + "\n"


def _csv(rows: Sequence[Row]) -> str:
    return csv_text([row.as_dict() for row in rows], Row.__dataclass_fields__)


def _show(rows: Sequence[Row], found: int) -> None:
    from rich.table import Table

    from metabench.utils.console import open_console

    console = open_console()
    if not rows:
        console.print(f"none of {counted(found, 'run')}" if found else "no run")
        return
    cells = [_cells(row) for row in rows]
    names = list(cells[0])
    wide = {name: max(len(name), *(len(row[name]) for row in cells)) for name in names}
    for name in FIRST_TO_GO:
        if sum(wide[name] + 2 for name in names) > console.width:
            names.remove(name)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        numeric = name in ("metric", "age", "size")
        table.add_column(name, no_wrap=name != "run", overflow="fold", justify="right" if numeric else "left")
    for row in cells:
        table.add_row(*(row[name] for name in names))
    console.print(table)


def _cells(row: Row) -> dict[str, str]:
    from metabench.utils.console import format_metric

    metric = "" if row.metric is None or row.value is None else format_metric(row.metric, row.value, row.ci95)
    return {
        "run": row.path,
        "data": row.data,
        "algo": row.algo,
        "status": row.status,
        "metric": metric,
        "age": age_text(row.age),
        "size": size_text(row.size),
    }
