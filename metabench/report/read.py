"""Run directories as they lie on disk: found, read and checked; nothing in them is trusted.

A folder is a run if it holds a summary.json, or the status.json of one that has not finished. What cannot be read is
`Skipped` with a reason, never an exception.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

import metabench.config
from metabench.config import Count, Whole, check
from metabench.errors import UserError, shown
from metabench.files import DamagedError, read_json
from metabench.identity import digest, identity

NOT_RUNS = {"checkpoints", "pictures", "tensorboard"}  # folders within a run
LARGEST = 4 << 20  # bytes of a file that is read at all
DEEPEST, MOST = 20, 20_000  # levels and values of a configuration
REQUIRED = {"data", "prediction", "metric", "episodes", "shots"}  # of the test part of a protocol card

Values = dict[str, Any]


def clean(content: Any) -> Any:
    """`content` with nothing in its texts that a terminal would obey; raises `ValueError` if it is far too deep."""
    return _clean(content, 0)


def _clean(content: Any, depth: int) -> Any:
    if depth > DEEPEST:
        raise ValueError("is nested too deeply")
    if isinstance(content, str):
        return "".join(letter if letter.isprintable() else "�" for letter in content)
    if isinstance(content, dict):
        return {_clean(str(key), depth): _clean(value, depth + 1) for key, value in content.items()}
    if isinstance(content, list):
        return [_clean(value, depth + 1) for value in content]
    return content


def _finite(value: Any) -> Any:
    if value is None:
        raise ValueError("is not a finite number")
    return value


HUGE = 1e30  # a number beyond it is of no run, and drawing it overflows
Amount = Annotated[float, Field(ge=0, le=HUGE)]
Mean = Annotated[Amount, BeforeValidator(_finite)]  # JSON has null for NaN and infinities
Prediction = Literal["transductive", "inductive"]


class _Part(BaseModel):
    """A part of summary.json; keys it does not name are left alone, so that later versions can be read."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Estimate(_Part):
    """A mean over test tasks."""

    mean: Mean
    ci95: Amount | None
    episodes: Count


class Point(_Part):
    """The mean after one inner step, or at one instance of a class."""

    step: Whole
    mean: Amount | None
    ci95: Amount | None


class Test(_Part):
    """The final test."""

    metric: Literal["accuracy", "mse"]
    prediction: Prediction
    interval: str
    modes: Annotated[dict[str, Estimate], Field(min_length=1)]
    per_step: list[Point] = []  # in the mode of `prediction`


class Protocol(_Part):
    """The protocol card."""

    hash: str
    test: Values
    training: Values


class Trained(_Part):
    """What training took."""

    steps: Annotated[int, Field(ge=0, le=2**63)]
    seconds: Amount


class Environment(_Part):
    """Where it ran."""

    command: str
    git: str | None
    device: str
    versions: dict[str, str | None]


class Published(metabench.config.Published):
    """What a paper reports for the cell; what a later version says of it is left alone."""

    model_config = ConfigDict(extra="ignore")

    value: Amount
    ci95: Amount | None = None
    spread: Amount | None = None
    also: Sequence[Published] = ()  # what else of the table the same run gives


class Summary(_Part):
    """What is read of summary.json."""

    status: Literal["complete"]
    identity: str
    protocol: Protocol
    test: Test
    train: Trained
    environment: Environment
    experiment: str | None = None
    budget: str = "full"
    published: Published | None = None


@dataclass(frozen=True)
class Run:
    """One finished run."""

    path: Path
    summary: Summary
    config: Values | None  # as config.yaml has it; None where that is missing or not of this run
    config_fault: str | None

    @property
    def seed(self) -> int:
        """The seed of its training."""
        return self.summary.protocol.training["seed"]


@dataclass(frozen=True)
class Skipped:
    """A folder, or a file of one, that could not be used, and why."""

    path: Path
    reason: str


def find(folders: Iterable[Path]) -> list[Path]:
    """Every run directory in `folders` and below, in order, each once; raises `UserError` for what is no folder."""
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        for path, inner, files in os.walk(folder):
            inner[:] = sorted(name for name in inner if name not in NOT_RUNS and not name.startswith("."))
            if {"summary.json", "status.json"} & set(files):
                found.setdefault(Path(path).resolve(), None)
    return [Path(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else path for path in found]


def read_runs(paths: Iterable[Path]) -> Iterator[Run | Skipped]:
    """Each of `paths` as a run, or the reason why not."""
    for path in paths:
        try:
            yield read_run(path)
        except DamagedError as fault:
            yield Skipped(path, str(fault))


def read_run(path: Path) -> Run:
    """The run in `path`; raises `DamagedError` that names the file and what is wrong with it."""
    file = path / "summary.json"
    if not file.exists():
        raise DamagedError(_unfinished(path))
    summary = _checked(Summary, _content(file), "summary.json")
    _agree(summary)
    try:
        return Run(path, summary, _config(path, summary), None)
    except DamagedError as fault:
        return Run(path, summary, None, str(fault))


def _unfinished(path: Path) -> str:
    try:
        status = clean(_content(path / "status.json"))
        said = [str(status[key]) for key in ("status", "reason") if status.get(key)]
    except (DamagedError, ValueError, AttributeError):
        said = []
    return f"not finished: {shown(', '.join(said) or 'no status')}"


def _content(file: Path) -> Any:
    """The content of a JSON file; raises `DamagedError` that names it alone."""
    try:
        if file.stat().st_size > LARGEST:
            raise DamagedError(f"{file.name}: is larger than {LARGEST >> 20} MiB")
        return read_json(file)
    except OSError as fault:
        raise DamagedError(f"{file.name}: {fault.strerror}") from None
    except DamagedError as fault:
        said = str(fault).removeprefix(f"{file}: ")
        raise DamagedError(said if said.startswith(file.name) else f"{file.name}: {said}") from None


def _checked(model: type[BaseModel], content: Any, name: str) -> Any:
    if not isinstance(content, dict):
        raise DamagedError(f"{name}: holds {type(content).__name__}, not an object")
    try:
        return check(model, clean(content))
    except (UserError, ValueError) as fault:
        raise DamagedError(f"{name}: {fault}") from None


def _agree(summary: Summary) -> None:
    """Raise `DamagedError` where two places of a summary that say one thing differ: it was changed by hand."""
    card, test = summary.protocol.test, summary.test
    if digest(card)[:12] != summary.protocol.hash:
        raise DamagedError(f"summary.json: protocol.hash={shown(summary.protocol.hash)}: is not that of its card")
    if missing := REQUIRED - card.keys():
        raise DamagedError(f"summary.json: protocol.test.{min(missing)}: is missing")
    seed = summary.protocol.training.get("seed")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise DamagedError("summary.json: protocol.training.seed: is no seed")
    same = {"metric": test.metric, "prediction": test.prediction, "interval": test.interval}
    for name, value in same.items():
        if card.get(name) != value:
            raise DamagedError(f"summary.json: test.{name}={value}: the protocol card says {shown(card.get(name))}")
    if test.prediction not in test.modes:
        raise DamagedError(f"summary.json: test.modes: has no {test.prediction}")
    for mode, estimate in test.modes.items():
        if estimate.episodes != card["episodes"]:
            episodes = f"test.modes.{mode}.episodes={estimate.episodes}"
            raise DamagedError(f"summary.json: {episodes}: the protocol card says {shown(card['episodes'])}")
        if test.metric == "accuracy" and estimate.mean > 1:
            raise DamagedError(f"summary.json: test.modes.{mode}.mean={estimate.mean}: is no {test.metric}")


def _config(path: Path, summary: Summary) -> Values:
    """config.yaml, if it is that of the run."""
    file = path / "config.yaml"
    try:
        if file.stat().st_size > LARGEST:
            raise DamagedError(f"config.yaml: is larger than {LARGEST >> 20} MiB")
        content = yaml.load(file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        count(content)
        agrees = isinstance(content, dict) and identity(content) == summary.identity
    except OSError as fault:
        raise DamagedError(f"config.yaml: {fault.strerror}") from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise DamagedError("config.yaml: is no configuration") from None
    if not agrees:
        raise DamagedError("config.yaml: is not the configuration that this run had")
    return content


def count(content: Any, depth: int = 0, before: int = 0) -> int:
    """How many values `content` holds; raises `ValueError` where they are absurdly many (aliases of YAML can be)."""
    if depth > DEEPEST or before > MOST:
        raise ValueError("is too large")
    inner = content.values() if isinstance(content, Mapping) else content if isinstance(content, list) else ()
    for value in inner:
        before = count(value, depth + 1, before)
    return before + 1


def read_episodes(run: Run, mode: str) -> list[float]:
    """The final figure of every test task in one mode of prediction; raises `DamagedError`."""
    path, test = run.path / "episodes.json", run.summary.test
    if not path.exists():
        raise DamagedError("episodes.json: is missing; without its summary.json the run tests again")
    content = _content(path)
    try:
        metric, values = content["metric"], content["modes"][mode]
        finite = [value for value in values if type(value) in (int, float) and math.isfinite(value)]
    except (KeyError, TypeError):
        raise DamagedError(f"episodes.json: has no figures of {mode} prediction") from None
    if metric != test.metric or len(values) != test.modes[mode].episodes:
        raise DamagedError("episodes.json: is not of the test in summary.json")
    if len(finite) < len(values):
        raise DamagedError(f"episodes.json: {len(values) - len(finite)} of {len(values)} figures are not finite")
    if not math.isclose(math.fsum(finite) / len(finite), test.modes[mode].mean, rel_tol=1e-6, abs_tol=1e-9):
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
