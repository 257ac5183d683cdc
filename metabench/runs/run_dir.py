"""The directory of a run: who may write it, what is in it, and where a stopped run continues.

config.yaml        the composed configuration
environment.json   command, versions, git state, device; written first
metrics.jsonl      one line per log interval and one per validation
run.log            what was shown, as plain lines; a run that goes on adds to it
checkpoints/       last.pt, previous.pt (the one before, until the run is finished), best.pt (on validation)
status.json        running | stopped | failed | nonfinite | oom | complete, and why
pictures/          if asked for
trackers.json      what each tracker was given; their files lie in trackers/ and tensorboard/
episodes.json      the final metric of every test task, in each mode of prediction
summary.json       written last: a run that has one is finished
"""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from metabench.errors import BusyError, ConfigError, DataError, UserError, format_value, last_line
from metabench.runs.own_files import FILES, FOLDERS
from metabench.runs.run_id import flat, of_run
from metabench.utils.files import (
    DamagedError,
    append_line,
    load_tensors,
    plain,
    read_json,
    save_tensors,
    write_bytes,
    write_errors,
    write_json,
)
from metabench.utils.lock import Lock

UNFIT = (AttributeError, KeyError, RuntimeError, TypeError, ValueError)  # raised by a state that is not this model's
MOST = 3  # keys that a message names


class RunDirectory:
    """One run's files, held by one process at a time."""

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self.identity = path, identity
        self.metrics_path = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self._lock = Lock(path / ".lock", self._refused)

    def __enter__(self) -> RunDirectory:
        """Lock the directory; raises `UserError` if another process holds it."""
        self._lock.acquire(self._busy)
        write_json(self.path / ".owner", {"pid": os.getpid(), "host": socket.gethostname()})
        return self

    def _busy(self) -> None:
        raise BusyError(f"{self.path}: another process writes this run: {self._owner()}")

    def _refused(self, reason: str) -> UserError:
        return ConfigError("run_dir", self.path, f"cannot be written: {reason}")

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock."""
        (self.path / ".owner").unlink(missing_ok=True)
        self._lock.release()

    def _owner(self) -> str:
        try:
            owner = read_json(self.path / ".owner")
            return f"process {owner['pid']} on {owner['host']}"
        except (DamagedError, KeyError, TypeError):
            return "owner unknown"

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise `ConfigError` if it holds a run of another configuration than `config`, or what no run wrote.

        Reads only.
        """
        if os.path.lexists(self.path) and not self.path.is_dir():
            said = "is no folder" if self.path.exists() else "is a link that leads nowhere"
            raise ConfigError("run_dir", self.path, f"{said}; choose another")
        first = self.path / "environment.json"
        foreign = [name for name in (*FILES, *FOLDERS) if (self.path / name).exists() and not first.exists()]
        if foreign:
            raise ConfigError("run_dir", self.path, f"has a {foreign[0]}, but is no run's; choose another folder")
        held = held_identity(self.path)
        if held is not None and held != self.identity:
            said = f"holds a run of another configuration{self._differences(config)}; choose another folder"
            raise ConfigError("run_dir", self.path, said)

    def _differences(self, config: Mapping[str, Any]) -> str:
        """The keys in which the run that lies here differs from `config`, with both values."""
        file = self.path / "config.yaml"
        try:
            held, now = (flat(of_run(one)) for one in (yaml.safe_load(file.read_text(encoding="utf-8")), config))
        except OSError as fault:
            return f" ({file}, which would tell the keys, cannot be read: {fault.strerror})"
        except (UnicodeDecodeError, yaml.YAMLError, *UNFIT):
            return f" ({file}, which would tell the keys, is not a configuration)"
        keys = sorted(key for key in {*held, *now} if held.get(key) != now.get(key))
        said = [f"{key}={format_value(held.get(key), 60)} there, {format_value(now.get(key), 60)} here" for key in keys]
        if not said:
            return ", with another checkpoint of init or other code of your own"
        return ": " + ", ".join([*said[:MOST], *([f"and {len(said) - MOST} more"] if len(said) > MOST else [])])

    def held(self) -> dict[str, Any] | None:
        """The record that `begin` made of the run that lies here."""
        try:
            found = read_json(self.path / "environment.json")
        except DamagedError:
            return None
        return found if isinstance(found, dict) else None

    @property
    def goes_on(self) -> bool:
        """True where a checkpoint to continue from lies here."""
        return (self.checkpoints / "last.pt").exists()

    def check_free(self) -> None:
        """Raise `UserError` if another process has the directory; makes none."""
        if (self.path / ".lock").exists():
            self._lock.acquire(self._busy)
            self._lock.release()

    def summary(self) -> dict[str, Any] | None:
        """The summary of a finished run."""
        try:
            found = read_json(self.path / "summary.json")
        except DamagedError:
            return None
        return found if isinstance(found, dict) else None

    def begin(self, config_yaml: str, environment: dict[str, Any]) -> None:
        """Record what is about to run."""
        write_json(self.path / "environment.json", {"identity": self.identity, **environment})
        with write_errors(self.checkpoints):
            self.checkpoints.mkdir(exist_ok=True)
        write_bytes(self.path / "config.yaml", config_yaml.encode())
        self.status("running")

    def status(self, status: str, reason: str | None = None) -> None:
        """Record how the run stands."""
        write_json(self.path / "status.json", {"status": status, "reason": reason})

    def append(self, line: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        append_line(self.metrics_path, json.dumps(plain(line)))

    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        if not self.metrics_path.exists():
            return []
        return [json.loads(line) for line in self.metrics_path.read_text().splitlines()]

    def validations(self, metric: str) -> list[tuple[int, float]]:
        """Meta-step and metric of every validation; NaN where it has none."""
        lines = (line for line in self.records() if line.get("split") == "validation")
        return [(line["step"], math.nan if line[metric] is None else line[metric]) for line in lines]

    def save(self, content: dict[str, Any]) -> None:
        """Write the checkpoint to continue from; the one before is kept."""
        size = 0
        if self.metrics_path.exists():
            with self.metrics_path.open("rb") as file:
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
        last = self.checkpoints / "last.pt"
        if last.exists():
            with write_errors(last):
                last.replace(self.checkpoints / "previous.pt")
        save_tensors(last, {**content, "identity": self.identity, "metrics_size": size})

    def resume(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest intact checkpoint, and what was wrong with newer ones; metrics.jsonl is cut back to it."""
        warnings = []
        for name in ("last.pt", "previous.pt"):
            path = self.checkpoints / name
            if not path.exists():
                continue
            try:
                content = load_tensors(path)
                if content.get("identity") != self.identity or not isinstance(content.get("metrics_size"), int):
                    raise DamagedError(f"{path}: belongs to another run")
            except DamagedError as fault:
                warnings.append(str(fault))
                with write_errors(path):  # aside, or the next save would put it in the place of the good one
                    path.replace(path.with_suffix(".damaged"))
                continue
            self._cut(content["metrics_size"])
            return content, warnings
        self._cut(0)
        return None, warnings

    def _cut(self, size: int) -> None:
        if self.metrics_path.exists():
            with write_errors(self.metrics_path):
                os.truncate(self.metrics_path, min(size, self.metrics_path.stat().st_size))

    def save_best(self, content: dict[str, Any]) -> None:
        """Write the checkpoint that validation chose."""
        save_tensors(self.checkpoints / "best.pt", {**content, "identity": self.identity})

    def best(self, step: int) -> dict[str, Any]:
        """The checkpoint that this run chose after meta-step `step`; raises `DataError`."""
        file = self.checkpoints / "best.pt"
        try:
            content = load_best(self.path)
            if content.get("identity") != self.identity:
                raise DamagedError(f"{file}: belongs to another run")
            if content.get("step") != step:
                raise DamagedError(f"{file}: is of meta-step {content.get('step')}, not {step}, which was chosen")
        except DamagedError as fault:
            raise DataError(f"{fault}; resume=false starts the run anew") from None
        return content

    def save_episodes(self, metric: str, modes: Mapping[Any, list[float]]) -> None:
        """Write the final `metric` of every test task, in the order of the tasks, for each mode of prediction."""
        write_json(self.path / "episodes.json", {"metric": metric, "modes": dict(modes)}, indent=None)

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary, the last file of a run, and keep the checkpoints that a finished run needs.

        best.pt is what is tested, plotted and begun from; from last.pt a summary that is lost is made again.
        """
        self.status(summary["status"])
        write_json(self.path / "summary.json", summary)
        with suppress(OSError):
            (self.checkpoints / "previous.pt").unlink()


def held_identity(path: Path) -> str | None:
    """The id of the run in `path`; None where there is none."""
    try:
        return read_json(path / "environment.json").get("identity")
    except (DamagedError, AttributeError):
        return None


def load_best(path: Path) -> dict[str, Any]:
    """The chosen checkpoint of the run in `path`; raises `DamagedError`."""
    content = load_tensors(path / "checkpoints" / "best.pt")
    if not isinstance(content.get("algo"), dict):
        raise DamagedError(f"{path / 'checkpoints' / 'best.pt'}: holds no model")
    return content


@contextmanager
def checked_state(path: Path) -> Iterator[None]:
    """Within it what is read from `path` may turn out not to be what a run wrote: a `DataError`."""
    try:
        yield
    except UNFIT as fault:
        reason = f"{type(fault).__name__}: {last_line(fault)}"
        raise DataError(f"{path}: not what this run wrote ({reason}); resume=false runs it anew") from None
