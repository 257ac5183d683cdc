"""The report for programs: CSV and JSON; numbers in full, accuracies as fractions."""

from __future__ import annotations

import json
from typing import Any

from metabench import __version__
from metabench.report.cells import Cell
from metabench.report.csv_text import csv_text
from metabench.report.tables import Report
from metabench.report.verdict import Kind
from metabench.runs.untrusted import clean_text
from metabench.utils.files import plain

OF_A_CELL = (
    *("data", "column", "row", "variant", "metric", "prediction", "at"),
    *("experiment", "budget", "meta_steps", "protocol"),
)
OF_A_RUN = {  # the column of a run, and the list of a cell that has its values
    "seed": "seeds",
    "ours": "means",
    "ours_ci95": "ci95s",
    "train_seconds": "train_seconds",
    "device": "device",
    "commit": "commit",
    "command": "command",
    "run": "run",
}


def record(cell: Cell) -> dict[str, Any]:
    """A cell as plain values."""
    runs = [run for run, _ in cell.by_seed]
    summaries = [run.summary for run in runs]
    paper = cell.paper
    return {
        "data": cell.data,
        "column": cell.column,
        "row": cell.row,
        "variant": cell.variant,
        "metric": cell.metric,
        "prediction": cell.prediction,
        "at": paper.at if paper else None,
        "paper": paper.value if paper else None,
        "paper_ci95": paper.ci95 if paper else None,
        "paper_spread": paper.spread if paper else None,
        "paper_note": paper.note if paper else None,
        "paper_verified": paper.verified if paper else None,
        "paper_from_memory": bool(paper.mark) if paper else None,
        "ours": cell.ours.mean,
        "ours_ci95": cell.ours.ci95,
        "interval_over": cell.ours.over,
        "interval_seeds": cell.ours.seeds,
        "interval_tasks": cell.ours.tasks,
        "difference": cell.difference,
        "verdict": "" if cell.verdict.kind is Kind.NONE else str(cell.verdict.kind),
        "reason": cell.verdict.reason,
        "seeds": [run.seed for run in runs],
        "means": [figure.mean for _, figure in cell.by_seed],
        "ci95s": [figure.ci95 for _, figure in cell.by_seed],
        "protocol": cell.protocol,
        "experiment": summaries[0].experiment,
        "budget": summaries[0].budget,
        "meta_steps": summaries[0].train.steps,
        "train_seconds": [summary.train.seconds for summary in summaries],
        "device": [summary.environment.device for summary in summaries],
        "commit": [summary.environment.commits for summary in summaries],
        "command": [summary.environment.command for summary in summaries],
        "run": [clean_text(run.path.as_posix()) for run in runs],
        "source": paper.source if paper else None,
    }


def as_csv(report: Report) -> str:
    """One row per cell; what each seed has a value of is in `as_runs`."""
    return csv_text([_without_seeds(record(cell)) for cell in report.cells])


def as_runs(report: Report) -> str:
    """One row per run: the cell that it is of, its seed, its own result and where it comes from."""
    rows = []
    for cell in report.cells:
        found = record(cell)
        each = {name: found[key] for name, key in OF_A_RUN.items()}
        for values in zip(*each.values(), strict=True):
            own = dict(zip(each, values, strict=True))
            rows.append({**{key: found[key] for key in OF_A_CELL}, **own})
    return csv_text(rows)


def _without_seeds(cell: dict[str, Any]) -> dict[str, Any]:
    """A record without what each seed has one of; the seeds themselves are one text."""
    kept = {key: value for key, value in cell.items() if not isinstance(value, list)}
    return {**kept, "seeds": " ".join(map(str, cell["seeds"]))}


def as_json(report: Report) -> str:
    """Everything: cells, protocol cards, rules, what was not averaged and what was left out."""
    content = {
        "metabench": __version__,
        "cells": [record(cell) for cell in report.cells],
        "protocols": {cell.protocol: cell.card for cell in report.cells},
        "notes": report.notes,
        "not_averaged": report.apart,
        "left_out": [{"path": clean_text(skip.path.as_posix()), "reason": skip.reason} for skip in report.skipped],
    }
    return json.dumps(plain(content), indent=2, ensure_ascii=False) + "\n"
