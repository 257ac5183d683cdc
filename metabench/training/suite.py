"""A suite: a list of tests of one trained model, each a test of its own below the run, and a table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from metabench.config.catalog import entries, folders
from metabench.config.compose import compose_plain
from metabench.errors import ConfigError, UserError, suggest
from metabench.runs.reader import REFUSED, TESTS, RunReader, read_refused
from metabench.training.retest import finished_summary, retest
from metabench.utils.console import Display, format_metric
from metabench.utils.files import write_errors, write_json

Suite = Mapping[str, Sequence[str]]
"""The overrides of each test, by name."""


def load_suite(name: str, run: RunReader, config_dir: str | None = None) -> Suite:
    """The tests of `conf/suite/NAME.yaml`, which may depend on the data of the run.

    Raises `ConfigError` where there is no such suite, or none for such data.
    """
    known = entries("suite", folders(config_dir))
    if name not in known:
        raise ConfigError("suite", name, suggest(name, known, "no such suite"))
    below = [key.removeprefix(f"{name}/") for key in known if key.startswith(f"{name}/")]
    if not below:
        return compose_plain(f"suite={name}", config_dir=config_dir)["tests"]
    data = finished_summary(run).protocol.test["data"]
    source = str(data.get("source") if isinstance(data, dict) else data)
    if source not in below:
        raise ConfigError("suite", name, f"has no tests for a model trained on {source}; it has: {', '.join(below)}")
    return compose_plain(f"suite={name}/{source}", config_dir=config_dir)["tests"]


def run_suite(
    run: RunReader, suite: Suite, display: Display, shared: Sequence[str] = (), *, config_dir: str | None = None
) -> dict[str, dict[str, Any] | str]:
    """Make every test that the model can take, with `shared` overrides; a summary by name, or why there is none.

    A test may be `experiment=NAME`, a cell of a published table that has the same training.
    """
    found: dict[str, dict[str, Any] | str] = {}
    for name, overrides in suite.items():
        display.say(f"\ntest {name}: {' '.join(overrides)}")
        try:
            command = ["test", str(run.path), *overrides, *shared]
            found[name] = retest(run, [*overrides, *shared], display, name=name, config_dir=config_dir, command=command)
        except UserError as fault:  # a head of fixed size has no other number of ways
            found[name] = str(fault)
            display.say(f"skipped: {fault}")
    keep_refused(run.path, found)
    if display.results:
        display.console.print("", suite_table(found))
    return found


def keep_refused(run: Path, found: Mapping[str, dict[str, Any] | str]) -> None:
    """Keep beside a run's tests why some were not made, by name, for tables of them."""
    before = read_refused(run)
    now = {name: reason for name, reason in before.items() if name not in found}
    now |= {name: outcome for name, outcome in found.items() if isinstance(outcome, str)}
    if now != before:
        with write_errors(run / TESTS):
            (run / TESTS).mkdir(exist_ok=True)
        write_json(run / TESTS / REFUSED, now)


def suite_table(found: Mapping[str, dict[str, Any] | str]) -> Table:
    """A row per test: its metric in each mode of prediction."""
    table = Table(title="tests", title_justify="left", box=None, pad_edge=False)
    for heading in ("test", "inductive", "transductive"):
        table.add_column(heading)
    for name, outcome in found.items():
        if isinstance(outcome, str):
            table.add_row(name, "skipped", "")
            continue
        test = outcome["test"]
        cells = [
            format_metric(test["metric"], mode["mean"], mode["ci95"]) if mode else ""
            for mode in (test["modes"].get(kind) for kind in ("inductive", "transductive"))
        ]
        table.add_row(name, *cells)
    return table
