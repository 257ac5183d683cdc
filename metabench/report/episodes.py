"""The figures of a run beside its summary: those of each test task, and its validations."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from metabench.report.read import Run
from metabench.report.summary import HUGE
from metabench.report.untrusted import read_content
from metabench.utils.files import DamagedError


def read_episodes(run: Run, mode: str) -> list[float]:
    """The final figure of every test task in one mode of prediction; raises `DamagedError`."""
    path, test = run.path / "episodes.json", run.summary.test
    if not path.exists():
        raise DamagedError("episodes.json: is missing; without its summary.json the run tests again")
    content = read_content(path)
    try:
        metric, values = content["metric"], content["modes"][mode]
        finite = [value for value in values if type(value) in (int, float) and math.isfinite(value)]
    except (KeyError, TypeError):
        raise DamagedError(f"episodes.json: has no figures of {mode} prediction") from None
    if metric != test.metric or len(values) != test.modes[mode].episodes:
        raise DamagedError("episodes.json: is not of the test in summary.json")
    if len(finite) < len(values):
        raise DamagedError(f"episodes.json: {len(values) - len(finite)} of {len(values)} figures are not finite")
    mean = test.modes[mode].mean
    if mean is None or not math.isclose(math.fsum(finite) / len(finite), mean, rel_tol=1e-6, abs_tol=1e-9):
        raise DamagedError("episodes.json: its mean is not the one in summary.json")
    return finite


@dataclass(frozen=True)
class Validation:
    """A validation within a run; what was not finite, or absurd, is NaN."""

    step: int
    value: float
    ci95: float


def read_validations(run: Run) -> list[Validation]:
    """The validations of metrics.jsonl, none where that is missing; raises `DamagedError`."""
    file, metric = run.path / "metrics.jsonl", run.summary.test.metric
    number = 0
    found = []
    try:
        if not file.exists():
            return []
        with file.open(encoding="utf-8") as lines:
            for number, text in enumerate(lines, start=1):  # noqa: B007
                if '"validation"' in text:
                    line = json.loads(text)
                    step = min(int(line["step"]), 2**53)
                    found.append(Validation(step, _number(line[metric]), _number(line["ci95"])))
    except OSError as fault:
        raise DamagedError(f"metrics.jsonl: {fault.strerror}") from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise DamagedError(f"metrics.jsonl: damaged at line {number}") from None
    return found


def _number(value: Any) -> float:
    number = math.nan if value is None else float(value)
    return number if abs(number) <= HUGE else math.nan
