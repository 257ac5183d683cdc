"""Time that a run will take, from a few of its own meta-steps and test tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from metabench.algo.base import Mode
from metabench.config.schema import Config
from metabench.training.components import Components
from metabench.utils.console import Display

ENOUGH = 0.4  # seconds of measurement
MOST = 5  # repetitions
TASKS = 2  # evaluated at once


@dataclass(frozen=True)
class Estimate:
    """Seconds of meta-training, and of validations and tests."""

    train: float
    test: float

    @property
    def total(self) -> float:
        """Seconds in all."""
        return self.train + self.test


def estimate(config: Config) -> Estimate:
    """The time of a run of `config` on this machine as it is now; raises `UserError` as the run would.

    By the eager engine: where the compiler will be used, the run takes less.
    """
    components = Components(config.model_copy(update={"engine": "eager"}), Display())
    train = 0.0
    if components.steps:
        step = components.meta_step
        train = components.steps * _seconds(
            lambda i: step(i % components.steps, components.loader(i % components.steps))
        )
    each = _evaluation(components)
    validations = components.steps // config.validation.every * config.validation.episodes
    test = components.source.test_episodes(config.test.episodes) * len(components.algo.modes)
    more = sum(_share(config, overrides) for overrides in (config.tests or {}).values())
    return Estimate(train, each * (validations + test * (1 + more)))


def _evaluation(components: Components) -> float:
    """Seconds of one task, the mean of the modes of prediction."""
    components.evaluate("validation", 1)  # what is done once
    modes = components.algo.modes
    seconds = [_seconds(partial(_evaluate, components, mode)) for mode in modes]
    return sum(seconds) / len(modes) / TASKS


def _evaluate(components: Components, mode: Mode, turn: int) -> None:
    components.evaluate("validation", TASKS, mode=mode)


def _seconds(once: Callable[[int], Any]) -> float:
    """Seconds of one call, the mean of some after the first."""
    once(0)
    began = time.monotonic()
    for i in range(1, MOST + 1):
        once(i)
        if time.monotonic() - began > ENOUGH:
            break
    return (time.monotonic() - began) / i


def _share(config: Config, overrides: Sequence[str]) -> float:
    """The examples of a further test, as a share of those of the main one."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values: dict[str, Any] = {one.key_or_group: one.value() for one in parsed}

    def examples(given: dict[str, Any]) -> float:
        ways: Any
        shots: Any
        queries: Any
        ways, shots, queries = (
            given.get(f"data.{key}", config.data.get(key, 1)) for key in ("ways", "shots", "queries")
        )
        return float(ways * (shots + queries) * given.get("test.episodes", config.test.episodes))

    return examples(values) / examples({})
