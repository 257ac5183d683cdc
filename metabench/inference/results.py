"""Runs and tests from Python, and what they leave: metrics, figures, a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console

from metabench.config.compose import check_words, checked_composition
from metabench.errors import UserError
from metabench.evaluation.evaluate import Estimate
from metabench.runs.own_files import TESTS
from metabench.runs.reader import RunReader
from metabench.training.execute import execute
from metabench.training.retest import retest
from metabench.utils.console import Display, format_metric
from metabench.utils.files import DamagedError, read_json
from metabench.utils.paths import expanded
from metabench.utils.signals import Interrupted


class Result:
    """A finished run, or a test of one; a path of its folder, for `load` and `evaluate`."""

    def __init__(self, folder: Path, summary: dict[str, Any]) -> None:
        self.folder, self.summary = folder, summary  # of summary.json: protocol card, result, command, versions

    @property
    def metric(self) -> str:
        """Name of the metric: accuracy (0 to 1), or mse."""
        return str(self.summary["test"]["metric"])

    @property
    def mean(self) -> float:
        """Mean of the metric over the test tasks, in the model's own mode of prediction."""
        return float(self.summary["test"]["mean"])

    @property
    def ci95(self) -> float:
        """Half-width of its 95% interval over test tasks."""
        return float(self.summary["test"]["ci95"])

    @property
    def metrics(self) -> dict[str, Estimate]:
        """Mean, half-width and number of test tasks, by mode of prediction; the model's own first."""
        modes = self.summary["test"]["modes"]
        return {mode: Estimate(found["mean"], found["ci95"], found["episodes"]) for mode, found in modes.items()}

    @cached_property
    def episodes(self) -> dict[str, list[float]]:
        """The metric of every test task, in their order, by mode of prediction."""
        try:
            return dict(read_json(self.folder / "episodes.json")["modes"])
        except DamagedError as fault:
            raise UserError(str(fault)) from None

    @property
    def figures(self) -> dict[str, Path]:
        """The pictures of the run by name; none with log.pictures=false."""
        return {path.stem: path for path in sorted((self.folder / "pictures").glob("*.png"))}

    def history(self, split: str = "validation") -> list[dict[str, Any]]:
        """The lines of metrics.jsonl of a split, train or validation: metrics by meta-step."""
        try:
            return RunReader(self.folder).lines(split, required=False)
        except DamagedError as fault:
            raise UserError(f"{self.folder}: {fault}") from None

    def __fspath__(self) -> str:
        """Path of the folder."""
        return str(self.folder)

    def __repr__(self) -> str:
        found = [
            f"{self.metric} {format_metric(self.metric, one.mean, one.ci95)}, {mode}, {one.episodes} test tasks"
            for mode, one in self.metrics.items()
        ]
        figures = [f"figures: {', '.join(self.figures)}"] if self.figures else []
        return "\n".join([*found, *figures, f"folder: {self.folder}"])


def run(
    *overrides: str, run_dir: str | Path | None = None, config_dir: str | None = None, quiet: bool = False
) -> Result:
    """Make the run of `metabench OVERRIDES…`, or continue or show it, as the command does.

    `run_dir` is its folder, by default outputs/<data>/<algo>/<id>. `quiet` prints nothing. Raises `UserError` of one
    line for bad input, and `KeyboardInterrupt` where Ctrl-C has stopped it: the same call continues.
    """
    composed, hydra_config = checked_composition(*overrides, config_dir=config_dir)
    command = [*([f"--config-dir={config_dir}"] if config_dir else []), *overrides]
    if run_dir is not None:
        composed.run_dir = str(run_dir)
        command.append(f"run_dir={_quoted(str(run_dir))}")
    with _keyboard_interrupt():
        summary, folder = execute(composed, hydra_config, command, _display(quiet))
    return Result(folder, summary)


def evaluate(run: str | PathLike[str], *overrides: str, config_dir: str | None = None, quiet: bool = False) -> Result:
    """Test the chosen weights of a finished run another way, as `metabench test RUN OVERRIDES…` does.

    The result lies below the run; the same call shows it again. Raises `UserError` for a run that is not finished, and
    for an override that a test cannot have.
    """
    path = expanded(run)
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; give the directory of a finished run")
    command = ["test", str(path), *overrides]
    check_words(overrides)
    with _keyboard_interrupt():
        summary = retest(RunReader(path), overrides, _display(quiet), config_dir=config_dir, command=command)
    return Result(path / TESTS / summary["identity"], summary)


@contextmanager
def _keyboard_interrupt() -> Iterator[None]:
    """Let a run that was stopped end as Python's programs do: by `KeyboardInterrupt`, or `SystemExit` for SIGTERM."""
    try:
        yield
    except Interrupted as stopped:
        if stopped.number == 2:
            raise KeyboardInterrupt(str(stopped)) from None
        raise SystemExit(stopped.exit_code) from None


def _display(quiet: bool) -> Display:
    return Display(Console(quiet=True)) if quiet else Display()


def _quoted(text: str) -> str:
    """The value of an override as Hydra reads it."""
    plain = re.fullmatch(r"[\w./~-]+", text)
    return text if plain else '"' + text.replace('"', '\\"') + '"'
