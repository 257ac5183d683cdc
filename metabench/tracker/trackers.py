"""The trackers of a run, each of which follows metrics.jsonl from the line where it stood.

trackers.json counts the lines that each was given. A continued run makes lines again that were cut from metrics.jsonl,
and a tracker that had them is not given them twice; one that was asked for later gets all from the first. A line is
counted before it is sent: a kill in between loses a point and never doubles one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from metabench.config.build import component
from metabench.config.schema import Config
from metabench.config.types import Node
from metabench.errors import ConfigError, format_value
from metabench.tracker.base import Line, Memo, TrackedRun, Tracker
from metabench.utils.files import DamagedError, read_json
from metabench.utils.install import pip_install

MEMORY = "trackers.json"
TENSORBOARD = {"_target_": "metabench.tracker.tensorboard.TensorBoard"}


def find_trackers(config: Config) -> dict[str, Tracker]:
    """The trackers that are asked for, by name; raises `ConfigError` for one that is not installed."""
    nodes: dict[str, Node] = {"tensorboard": TENSORBOARD} if config.log.tensorboard else {}
    nodes |= config.tracker or {}
    found = {}
    for name, node in nodes.items():
        make, arguments = component(node, Tracker, f"tracker.{name}")
        if make.package is not None and find_spec(make.package) is None:
            how = pip_install(make.extra) if make.extra else f"pip install {make.package}"
            raise ConfigError("tracker", name, f"needs {how}")
        found[name] = make(**arguments)
    return found


class Trackers:
    """Trackers by name; one that fails is left with a warning, and the run goes on."""

    def __init__(self, trackers: Mapping[str, Tracker], folder: Path, say: Callable[[str], None]) -> None:
        self.open = dict(trackers)
        self.path, self.say = folder / MEMORY, say
        self.count = 0  # lines of metrics.jsonl
        self.memory: dict[str, Memo] = {}

    def begin(self, run: TrackedRun, lines: Sequence[Line], finished: bool = False) -> None:
        """Open each for a run that has `lines` so far, and give it those that it lacks.

        Of a `finished` run those that have everything are left closed.
        """
        if self.open:
            self.count, self.memory = len(lines), self._remembered()
            if finished:
                done = {name for name, memo in self.memory.items() if memo.get("finished")}
                self.open = {name: tracker for name, tracker in self.open.items() if name not in done}
            self._each(lambda name, tracker: self._begin(name, tracker, run, lines))

    def log(self, line: Line) -> None:
        """Give each a line that was added to metrics.jsonl, unless it had it before the run was continued."""
        self.count += 1
        self._each(lambda name, tracker: self._send(name, tracker, [line]))

    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        """Give each the result, once, and close them."""
        self._each(lambda name, tracker: self._finish(name, tracker, summary, pictures))
        self.end(summary["status"])

    def end(self, status: str) -> None:
        """Close them."""
        self._each(lambda _, tracker: tracker.end(status))
        self.open = {}

    def _begin(self, name: str, tracker: Tracker, run: TrackedRun, lines: Sequence[Line]) -> None:
        memo = self.memory.setdefault(name, {"lines": 0, "finished": False, "own": {}})
        where = tracker.begin(run, memo["own"])
        self._remember()
        self.say(f"tracker {name}: {where}")
        self._send(name, tracker, lines[memo["lines"] :])

    def _send(self, name: str, tracker: Tracker, lines: Sequence[Line]) -> None:
        memo = self.memory[name]
        had = memo["lines"]
        if had >= self.count or not lines:
            return
        memo["lines"] = self.count
        self._remember()
        try:
            tracker.log(lines, self.count - len(lines))
        except Exception:
            memo["lines"] = had
            self._remember()
            raise

    def _finish(self, name: str, tracker: Tracker, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        memo = self.memory[name]
        if not memo["finished"]:
            tracker.finish(summary, pictures)
            memo["finished"] = True
            self._remember()

    def _each(self, call: Callable[[str, Tracker], None]) -> None:
        for name, tracker in list(self.open.items()):
            try:
                call(name, tracker)
            except Exception as fault:
                del self.open[name]
                reason = format_value(str(fault) or type(fault).__name__)
                self.say(f"warning: tracker {name}: {reason}; the run goes on without it")

    def _remembered(self) -> dict[str, Memo]:
        try:
            found = read_json(self.path)
            sound = {name: memo for name, memo in found.items() if memo["lines"] >= 0 and memo["own"].keys()}
        except (DamagedError, AttributeError, KeyError, TypeError):
            return {}
        return sound

    def _remember(self) -> None:
        aside = self.path.with_name(f".{self.path.name}.part")
        aside.write_text(json.dumps(self.memory, indent=2) + "\n")  # not synced: this is once a line
        aside.replace(self.path)
