"""Time that a run will take where it has a core to itself, from a few of its own meta-steps and test tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

from metabench.algo.base import Mode
from metabench.config.schema import Config
from metabench.training.components import Components
from metabench.utils.console import Display

ENOUGH = 0.4  # seconds of measurement
LONG = 2.0  # seconds of a first call that is measured once: what it does once is little of it
MOST = 5  # repetitions
SIZES = ("ways", "shots", "queries")
MANY = 16  # tasks evaluated at once


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
    components.source.sample("validation", 0, components.batch)  # reads the data, and finds what fits the memory
    validations = components.steps // config.validation.every * config.validation.episodes
    episodes = components.source.test_episodes(config.test.episodes)
    natural, test = components.algo.modes[0], 0.0
    for mode in components.algo.modes:
        alone = mode == "inductive" != natural
        more = sum(_share(config, overrides, alone=alone) for overrides in (config.tests or {}).values())
        test += _task(components, mode) * episodes * (1 + more)
    if validations:
        test += _task(components, natural, last=True) * validations
    return Estimate(train, test)


def _task(components: Components, mode: Mode, last: bool = False) -> float:
    """Seconds of one task, with its `last` predictions alone or all of them.

    Of one task alone where it takes long, else of many at once, as tests have them.
    """

    def evaluate(tasks: int) -> float:
        began = _clock()
        queries = components.config.test.inductive_queries
        components.evaluate("validation", tasks, mode=mode, alone=queries, last=last)
        return (_clock() - began) / tasks

    alone = evaluate(1)
    return alone if alone > LONG else evaluate(MANY)


def _seconds(once: Callable[[int], Any]) -> float:
    """Seconds of one call: of the first where it is long, else the mean of some after it."""
    began = _clock()
    once(0)
    if (first := _clock() - began) > LONG:
        return first
    began = _clock()
    for i in range(1, MOST + 1):
        once(i)
        if _clock() - began > ENOUGH:
            break
    return (_clock() - began) / i


def _clock() -> float:
    """Seconds of this process's own work on a CPU, whatever runs beside it; of the clock where a GPU works."""
    return time.monotonic() if torch.cuda.is_available() else time.process_time()


def _share(config: Config, overrides: Sequence[str], *, alone: bool) -> float:
    """The examples of a further test, as a share of those of the main one; `alone`: a support set for each query."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = {one.key_or_group: one.value() for one in parsed}

    def examples(given: Mapping[str, Any]) -> float:
        ways, shots, queries = (given.get(f"data.{key}", config.data.get(key, 1)) for key in SIZES)
        episodes = given.get("test.episodes", config.test.episodes)
        if not alone:
            return float(ways * (shots + queries) * episodes)
        some = given.get("test.inductive_queries", config.test.inductive_queries) or queries
        return float(ways * some * (ways * shots + 1) * episodes)

    return examples(values) / examples({})
