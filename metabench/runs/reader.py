"""The one reader of run directories: found in folders, read part by part, checked; nothing in them is trusted.

A folder is a run if it holds one of the files in `MARKS`. Torch is imported for weights alone.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from metabench.errors import UserError, format_value
from metabench.runs.own_files import FOLDERS, MARKS, REFUSED, TESTS, TRAINING_CLASSES
from metabench.runs.run_dir import load_best
from metabench.runs.run_id import first_identity, identity
from metabench.runs.summary import HUGE, Summary, Values, parse
from metabench.runs.untrusted import LONGEST, check_file, clean, clean_text, read_content, read_yaml
from metabench.utils.files import DamagedError

OUTPUTS = Path("outputs")
RECORDED = OUTPUTS / "reference"  # of a checkout
APART = f"without {RECORDED}: name it to see the recorded runs"
GOES_ON = ("running", "stopped", "no status")  # how a run stands that the same command continues
SECTIONS = ("algo", "data", "backbone", "optim", "train", "device")  # of every configuration


class RunReader:
    """The directory of a run, finished or not; nothing in it is changed.

    Every part raises `DamagedError` that names the file within the directory and what is wrong with it.
    """

    def __init__(self, path: Path, named: bool = True) -> None:
        self.path, self.named = path, named  # by the user, or found in a folder

    @cached_property
    def summary(self) -> Summary:
        """The summary of a finished run."""
        file = self.path / "summary.json"
        if not os.path.lexists(file):
            status = self._status()
            hint = "; the same command continues it" if status.startswith(GOES_ON) and "continues" not in status else ""
            raise DamagedError(f"is not finished: {status}{hint}")
        return parse(read_content(file))

    @property
    def finished(self) -> bool:
        """True where there is a sound summary."""
        try:
            return bool(self.summary)
        except DamagedError:
            return False

    def _status(self) -> str:
        try:
            status = clean(read_content(self.path / "status.json"))
            said = [str(status[key]) for key in ("status", "reason") if status.get(key)]
            if len(said) == 2 and said[1].startswith(f"{said[0]} "):  # "stopped", "stopped by SIGTERM; …"
                del said[0]
        except (DamagedError, ValueError, AttributeError):
            said = []
        return format_value(", ".join(said) or "no status")

    @cached_property
    def config(self) -> Values:
        """The composed configuration, as it was written; that of the summary, where the run is finished."""
        content = read_yaml(self.path / "config.yaml")
        if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in SECTIONS):
            raise DamagedError("config.yaml: is not the configuration of a run")
        if self.finished:
            try:
                known = (identity(content, self.summary.inputs), first_identity(content))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
                raise DamagedError("config.yaml: is not a configuration") from None
            if self.summary.identity not in known:
                raise DamagedError("config.yaml: is not the configuration that this run had")
        return content

    @cached_property
    def config_fault(self) -> str | None:
        """The fault of config.yaml, if any."""
        try:
            return None if self.config else "config.yaml: is empty"
        except DamagedError as fault:
            return str(fault)

    @property
    def sound_config(self) -> Values | None:
        """The configuration; None where something is wrong with it."""
        return self.config if self.config_fault is None else None

    @cached_property
    def tested(self) -> RunReader | None:
        """The finished run that this is a test of, if it lies where `metabench test` puts tests: below that run."""
        if not self.finished or self.summary.test_of is None or self.path.absolute().parent.name != TESTS:
            return None
        above = RunReader(self.path.absolute().parents[1])
        known = above.finished and above.config_fault is None and above.summary.test_of is None
        named = known and above.summary.identity == self.summary.test_of.get("run")
        return above if named and above.seed == self.seed else None

    @cached_property
    def inputs(self) -> Values:
        """The inputs beside the configuration that decided its numbers (`runs.inputs`): for most runs none."""
        if self.finished:
            return self.summary.inputs
        try:
            found = clean(read_content(self.path / "environment.json"))["inputs"]
        except (DamagedError, ValueError, KeyError, TypeError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def training_classes(self) -> frozenset[str] | None:
        """The classes that it was trained on, where its environment.json has them: of a user's own images."""
        try:
            found = read_content(self.path / "environment.json")[TRAINING_CLASSES]
        except (DamagedError, KeyError, TypeError):
            return None
        return frozenset(map(str, found)) if isinstance(found, list) else None

    @property
    def seed(self) -> int:
        """The seed of its training; 0 where an unfinished run does not say it."""
        if self.finished:
            return self.summary.protocol.training["seed"]
        seed = self.config.get("seed")
        return seed if type(seed) is int else 0

    @property
    def validation_tasks(self) -> int | None:
        """The number of tasks of a validation; None where the configuration does not say it."""
        validation = (self.sound_config or {}).get("validate")
        count = validation.get("episodes") if isinstance(validation, dict) else None
        return count if type(count) is int else None

    @property
    def protocol(self) -> str | None:
        """The protocol's hash, once the run is finished."""
        return self.summary.protocol.hash if self.finished else None

    def episodes(self, mode: str) -> list[float]:
        """The final metric of every test task in one mode of prediction."""
        test = self.summary.test
        content = read_content(self.path / "episodes.json")
        try:
            metric, values = content["metric"], content["modes"][mode]
            finite = [value for value in values if type(value) in (int, float) and math.isfinite(value)]
        except (KeyError, TypeError, OverflowError):
            raise DamagedError(f"episodes.json: has no values of {mode} prediction") from None
        if metric != test.metric or len(values) != test.modes[mode].episodes:
            raise DamagedError("episodes.json: is not of the test in summary.json")
        if len(finite) < len(values):
            raise DamagedError(f"episodes.json: {len(values) - len(finite)} of {len(values)} values are not finite")
        mean = test.modes[mode].mean
        if mean is None or not math.isclose(math.fsum(finite) / len(finite), mean, rel_tol=1e-6, abs_tol=1e-9):
            raise DamagedError("episodes.json: its mean is not the one in summary.json")
        return finite

    def lines(self, split: str, required: bool = True) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl of one split: `split`, `step`, and numbers, NaN where one is null or absurd.

        A last line that a kill cut short is left out. Having none is a fault if they are `required`.
        """
        file = self.path / "metrics.jsonl"
        check_file(file, LONGEST)
        found, number, mark = [], 0, f'"{split}"'
        try:
            with file.open(encoding="utf-8") as lines:
                for number, text in enumerate(lines, start=1):  # noqa: B007
                    if mark in text and text.endswith("\n"):
                        entry = json.loads(text)
                        if entry["split"] == split:
                            numbers = {k: _number(v) for k, v in entry.items() if k not in ("split", "step")}
                            found.append({**numbers, "split": split, "step": _step(entry["step"])})
        except OSError as fault:
            raise DamagedError(f"metrics.jsonl: {fault.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise DamagedError(f"metrics.jsonl: line {number} is not a line of metrics") from None
        if required and not found:
            raise DamagedError(f"metrics.jsonl: has no line of split={split} yet")
        return found

    @cached_property
    def weights(self) -> dict[str, Any] | None:
        """The state of the model that validation chose; None for a run without meta-training, which chooses nothing."""
        if not self.config["train"].get("steps"):
            return None
        try:
            return load_best(self.path)["algo"]
        except (DamagedError, KeyError) as fault:
            raise DamagedError(f"has no model: {fault}") from None


def read_refused(run: Path) -> dict[str, str]:
    """Why tests of a suite were not made of a run, by name; nothing where that cannot be read."""
    try:
        found = clean(read_content(run / TESTS / REFUSED))
        return {str(name): format_value(reason) for name, reason in found.items()}
    except (DamagedError, ValueError, AttributeError):
        return {}


def _step(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 2**53:
        raise ValueError(value)
    return value


def _number(value: Any) -> float:
    number = math.nan if value is None else float(value)
    return number if abs(number) <= HUGE else math.nan


@dataclass(frozen=True)
class Skipped:
    """A folder, or a file of one, that could not be used, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{clean_text(self.path.as_posix())}: {self.reason}"


def recorded_apart(folders: Sequence[Path]) -> Path | None:
    """The recorded runs of a checkout, where no folder is named and `outputs` has others, lost among them."""
    with suppress(OSError):  # `find` says what cannot be entered
        others = any(path.is_dir() and path != RECORDED and path.name[0] != "." for path in OUTPUTS.iterdir())
        return RECORDED if not folders and others and RECORDED.is_dir() else None
    return None


def find(
    folders: Iterable[Path], tests: bool = True, without: Path | None = None
) -> tuple[list[RunReader], list[Skipped]]:
    """Every run in `folders` and below, but for those in `without`, each once, in order; and what could not be entered.

    Links to folders are followed, each folder once. Hidden folders, and those within a run that hold checkpoints and
    pictures, are not entered; nor, without `tests`, the one of further tests. Raises `UserError` for a given path that
    is no folder.
    """
    runs: list[RunReader] = []
    skipped: list[Skipped] = []
    seen: set[tuple[int, int]] = set()
    own = {*FOLDERS} if tests else {*FOLDERS, TESTS}
    for folder in folders:
        if not folder.is_dir():
            first = "; `metabench` makes a first run, or name a folder" if folder == OUTPUTS else ""
            raise UserError(f"{folder}: {'is not a folder' if os.path.lexists(folder) else f'no such folder{first}'}")
        waiting = [folder]  # folders by name, then links, so that a run goes by its own name
        linked: list[Path] = []
        while waiting or linked:
            here = waiting.pop(0) if waiting else linked.pop(0)
            try:
                status = here.stat()
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                entries = sorted(os.scandir(here), key=lambda entry: entry.name)
            except OSError as fault:
                skipped.append(Skipped(here, f"cannot be entered: {fault.strerror}"))
                continue
            is_run = any(entry.name in MARKS for entry in entries)
            if is_run:
                runs.append(RunReader(here, named=here == folder))
            inner = []
            for entry in entries:
                path = here / entry.name
                if entry.name.startswith(".") or (is_run and entry.name in own) or path == without:
                    continue
                if entry.is_symlink():
                    broken = _link_fault(path)
                    if broken is not None and entry.name not in MARKS:
                        skipped.append(Skipped(path, broken))
                    elif broken is None and path.is_dir():
                        linked.append(path)
                elif entry.is_dir(follow_symlinks=False):
                    inner.append(path)
            waiting = inner + waiting
    return runs, skipped


def _link_fault(path: Path) -> str | None:
    """The fault of a link, if it leads neither to a folder nor to a file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"is a broken link to {clean_text(str(path.readlink()))}"
    except OSError as fault:
        return f"is a link that cannot be followed: {fault.strerror}"
    return None if stat.S_ISDIR(mode) or stat.S_ISREG(mode) else "is a link to what is neither a folder nor a file"
