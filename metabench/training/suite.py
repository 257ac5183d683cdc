"""A suite: a list of tests of one trained model, each a test of its own below the run, and a table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from metabench.config.catalog import entries, folders, keys
from metabench.config.compose import compose_plain
from metabench.errors import ConfigError, DataError, UserError, suggest
from metabench.runs.own_files import REFUSED, TESTS
from metabench.runs.reader import RunReader, read_refused
from metabench.training.metrics import NonFiniteError
from metabench.training.retest import check_overrides, finished_summary, plan_test, retest
from metabench.utils.console import Display, format_metric
from metabench.utils.distributed import silent
from metabench.utils.files import write_errors, write_json

Suite = Mapping[str, Sequence[str]]
"""The overrides of each test, by name."""

OF_MODEL = ("data", "algo", "backbone", "experiment")  # keys of what a model cannot do


def load_suite(name: str, run: RunReader, config_dir: str | None = None) -> Suite:
    """The tests of `conf/suite/NAME.yaml`, which may depend on the data of the run.

    Raises `ConfigError` where there is no such suite, or none for such data.
    """
    known = entries("suite", folders(config_dir))
    if name not in known:
        raise ConfigError("suite", name, suggest(name, known, "no such suite"))
    below = [key.removeprefix(f"{name}/") for key in known if key.startswith(f"{name}/")]
    if not below:
        return _tests(name, config_dir)
    data = finished_summary(run).protocol.test["data"]
    source = str(data.get("source") if isinstance(data, dict) else data)
    if source not in below:
        raise ConfigError("suite", name, f"has no tests for a model trained on {source}; it has: {', '.join(below)}")
    return _tests(f"{name}/{source}", config_dir)


def _tests(name: str, config_dir: str | None) -> Suite:
    """The tests of a suite; raises `ConfigError` for a file that is none."""
    tests = compose_plain(f"suite={name}", config_dir=config_dir)["tests"]
    valid = "a mapping of names to lists of KEY=VALUE"
    if not isinstance(tests, Mapping) or not tests:
        raise ConfigError("tests", tests, f"suite={name} should have {valid}")
    for test, overrides in tests.items():
        if not isinstance(overrides, list) or not all(isinstance(one, str) for one in overrides):
            raise ConfigError(f"tests.{test}", overrides, f"suite={name} should have {valid}")
    return tests


def run_suite(
    run: RunReader, suite: Suite, display: Display, shared: Sequence[str] = (), *, config_dir: str | None = None
) -> dict[str, dict[str, Any] | str]:
    """Make every test that the model can take, with `shared` overrides; a summary by name, or why there is none.

    A test may be `experiment=NAME`, a cell of a published table that has the same training. Raises `UserError` before
    the first test for a run that cannot be tested and for a mistake in `shared` or in the suite.
    """
    plan_test(run, shared, config_dir=config_dir)
    for overrides in suite.values():
        try:
            check_overrides(run, [*overrides, *shared], config_dir)
        except ConfigError as fault:
            if not _of_another_method(fault, run, config_dir):
                raise
    found: dict[str, dict[str, Any] | str] = {}
    for name, overrides in suite.items():
        display.say(f"\ntest {name}: {' '.join(overrides)}")
        try:
            command = ["test", str(run.path), *overrides, *shared]
            found[name] = retest(run, [*overrides, *shared], display, name=name, config_dir=config_dir, command=command)
        except (ConfigError, DataError, NonFiniteError) as fault:
            if not _of_the_test(fault, overrides):
                raise
            found[name] = str(fault)
            display.say(f"skipped: {fault}")
    if not silent():
        keep_refused(run.path, found)
    if display.results:
        display.console.print("", suite_table(found))
    return found


def _of_another_method(fault: ConfigError, run: RunReader, config_dir: str | None) -> bool:
    """True for a key of the algorithm that the run's has not, but another: inner steps of a method without any."""
    root, _, key = fault.key.partition(".")
    return root == "algo" and key not in run.config["algo"] and key in keys("algo", folders(config_dir))


def _of_the_test(fault: UserError, overrides: Sequence[str]) -> bool:
    """True where one test has no result: a head of another number of ways, data not at hand, errors not finite."""
    if isinstance(fault, DataError):
        return any(override.startswith("data=") for override in overrides)
    return not isinstance(fault, ConfigError) or fault.key.partition(".")[0] in OF_MODEL


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
