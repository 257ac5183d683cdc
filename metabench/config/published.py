"""The values that papers report, `published.csv`: one row per cell of a table, in the paper's units.

A row names the experiment that runs it, or says in `without` why there is none. Several rows of one experiment are
cells that one run gives: at several inner steps or instances (`at`), or in two ways of prediction. The first is the
headline, the value that the run ends with.

ci95      half width of a 95% interval over test tasks, spread: the standard deviation over training runs
verified  where the number was seen: the paper's text, its authors' poster, independent notes that quote the paper, or
          nowhere: a value from memory is marked with a dagger wherever it is shown
place     which notes or poster, where they are known
note      what the value is of, where that is not the method as it stands
"""

from __future__ import annotations

import csv
from functools import cache, wraps
from importlib.resources import files
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig

from metabench.config.search_path import replaced

METRICS = {"accuracy": "accuracy", "error": "accuracy", "mse": "mse"}  # the paper's, and the run's


@cache
def rows() -> list[dict[str, str]]:
    """All rows, as text."""
    text = (files("metabench.config") / "published.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def has_row(experiment: str) -> bool:
    """True where the table has a value that `experiment` reproduces."""
    return any(row["experiment"] == experiment for row in rows())


def published(experiment: str) -> dict[str, Any]:
    """The headline of `experiment`, as `config.Published`, its other cells under `also`."""
    found = [_cell(row) for row in rows() if row["experiment"] == experiment]
    return {**found[0], "also": found[1:]}


def _cell(row: dict[str, str]) -> dict[str, Any]:
    value = float(row["value"])
    if row["metric"] == "error":
        value = 100 - value
    unit = 100 if METRICS[row["metric"]] == "accuracy" else 1

    def width(name: str) -> float | None:
        return round(float(row[name]) / unit, 6) if row[name] else None

    return {
        "value": round(value / unit, 6),
        "ci95": width("ci95"),
        "spread": width("spread"),
        "metric": METRICS[row["metric"]],
        "prediction": row["prediction"] or None,
        "at": int(row["at"]) if row["at"] else None,
        **{name: row[name] or None for name in ("row", "column", "source", "arxiv", "verified")},
        **({"note": row["note"]} if row["note"] else {}),
    }


def fill_published() -> None:
    """Make Hydra fill in `published` for every experiment that has a row in the table.

    The row is of the program's own files: where a user's file replaces one of them, nothing is filled in.
    """
    load = ConfigLoaderImpl.load_configuration
    if hasattr(load, "fills_published"):
        return

    @wraps(load)
    def filled(*args: Any, **options: Any) -> DictConfig:
        replaced.clear()
        config = load(*args, **options)
        experiment = config.hydra.runtime.choices.get("experiment")
        if replaced:
            return config
        if experiment is not None and "published" in config and config.published is None and has_row(experiment):
            config.published = published(experiment)
        return config

    filled.fills_published = True  # type: ignore[attr-defined]
    ConfigLoaderImpl.load_configuration = filled  # type: ignore[method-assign]
