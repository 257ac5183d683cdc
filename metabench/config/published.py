"""What papers report, `published.csv`: a row a cell of a table, in the paper's units, with how it was checked.

A row names the experiment that runs it, or says in `without` why there is none. Several rows of one experiment are
cells that one run gives: at several inner steps or instances (`at`), or in two ways of prediction. The first is the
headline, the figure that the run ends with.

ci95      half width of a 95% interval over test tasks, spread: the standard deviation over training runs
verified  where the number was seen: the paper's text, independent notes that quote the paper, or it is from memory
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import Any

from omegaconf import DictConfig, OmegaConf

from metabench.errors import ConfigError

METRICS = {"accuracy": "accuracy", "error": "accuracy", "mse": "mse"}  # the paper's, and what a run reports


@cache
def rows() -> list[dict[str, str]]:
    """The table as it is."""
    text = (files("metabench.config") / "published.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def published(experiment: str) -> dict[str, Any]:
    """The headline of `experiment`, as `config.Published`, its other cells under `also`; raises `ConfigError`."""
    found = [_cell(row) for row in rows() if row["experiment"] == experiment]
    if not found:
        raise ConfigError("published", experiment, "no row of published.csv is of this experiment")
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
    }


def register() -> None:
    """Let a configuration say `published: ${published:omniglot/maml_5w1s}`."""

    def resolve(experiment: str) -> DictConfig:  # a dict would not survive OmegaConf.resolve
        return OmegaConf.create(published(experiment))

    OmegaConf.register_new_resolver("published", resolve, replace=True)
