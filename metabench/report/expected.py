"""The configuration that an experiment asks for, composed anew by name, and where a run's differs from it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from typing import Any

from metabench.errors import UserError, format_value
from metabench.report.verdict import Kind, Verdict
from metabench.runs.groups import decisive

LENGTHS = ("train.steps", "train.tasks", "validate.episodes", "test.episodes")
NAME = re.compile(r"\w[\w-]*(/\w[\w-]*)*", re.ASCII)
MANY = 8  # experiments that are worth more than one process


class Experiments:
    """The configurations of experiments by name; None where there is none of that name. Each is composed once."""

    def __init__(self, config_dir: str | None = None, known: Mapping[str, dict[str, Any]] | None = None) -> None:
        self._compose = partial(_compose, config_dir=config_dir)
        self._answers: dict[str, dict[str, Any] | None] = dict(known or {})

    def __getitem__(self, name: str) -> dict[str, Any] | None:
        """The composed configuration of the experiment."""
        if name not in self._answers:
            self._answers[name] = self._compose(name)
        return self._answers[name]

    def prepare(self, names: Iterable[str]) -> None:
        """Compose many on every core: one takes a tenth of a second."""
        missing = [name for name in dict.fromkeys(names) if name not in self._answers]
        if len(missing) >= MANY:
            workers = min(os.cpu_count() or 1, len(missing))
            with suppress(OSError, BrokenProcessPool), ProcessPoolExecutor(workers) as pool:  # or it is done one by one
                self._answers.update(zip(missing, pool.map(self._compose, missing, chunksize=4), strict=True))


def _compose(experiment: str, config_dir: str | None) -> dict[str, Any] | None:
    from metabench.config.compose import compose_plain

    if not NAME.fullmatch(experiment) or len(experiment) > 200:
        return None
    try:
        return compose_plain(f"experiment={experiment}", config_dir=config_dir)
    except UserError:
        return None


def conform(config: Mapping[str, Any], asked: Mapping[str, Any]) -> Verdict | None:
    """None where `config` is what was asked for, seed and place aside; else a short run, or one not comparable."""
    ours, theirs = decisive(config), decisive(asked)
    short: list[str] = []
    other: list[str] = []
    fewer_steps = _shorter(ours.get("train.steps"), theirs.get("train.steps"))
    for key in sorted({*ours, *theirs}):
        have, want = ours.get(key), theirs.get(key)  # a key that was not there yet was null
        if have == want:
            continue
        shorter = fewer_steps if key == "validate.every" else key in LENGTHS and _shorter(have, want)
        (short if shorter else other).append(f"{key} {format_value(have, 60)} for {format_value(want, 60)}")
    if other:
        return Verdict(Kind.NOT_COMPARABLE, ", ".join([*other, *short]))
    return Verdict(Kind.SHORT_RUN, ", ".join(short)) if short else None


def _shorter(have: Any, want: Any) -> bool:
    return type(have) is int and (want == "all" or (type(want) is int and have < want))
