"""The keys that a search varies: `KEY=log(1e-4,1e-1)`, in the language of Hydra's overrides.

KEY=log(a,b)           a number, uniform in its logarithm
KEY=interval(a,b)      a number
KEY=int(interval(a,b)) a whole number, both ends included; int(log(a,b)) as well
KEY=a,b,c              one of these; choice(a,b,c), range(a,b)
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import Glob, IntervalSweep, Override

from metabench.config.explain import USAGE
from metabench.errors import ConfigError, UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIGITS = 4  # of a number that was drawn: what is printed is what was run
# What validation measures must be the same in every trial, and so must be what a trial is.
FIXED = (
    *("data", "validate", "test", "seed", "budget", "experiment", "init", "published"),
    *("resume", "run_dir", "name", "hydra"),
)


def parse(arguments: Sequence[str]) -> tuple[list[str], dict[str, Override]]:
    """The overrides that are the same in every trial, and those that vary, by key."""
    functions = create_functions()
    functions.register("log", _log)
    functions.definitions["log"] = inspect.signature(_log, eval_str=True)  # types, which Hydra compares arguments with
    fixed: list[str] = []
    varied: dict[str, Override] = {}
    for override in OverridesParser(functions).parse_overrides(list(arguments)):
        key, text = override.key_or_group, str(override.input_line)
        if not key:
            raise UserError(f"{text}: {USAGE}")
        if not override.is_sweep_override():
            fixed.append(text)
        elif key in varied:
            raise UserError(f"{text}: {key} is varied twice")
        else:
            _check(override, text)
            varied[key] = override
    return fixed, varied


def distribution(override: Override) -> BaseDistribution:
    """It, as Optuna draws from it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        start, end, log = sweep.start, sweep.end, "log" in sweep.tags
        if isinstance(start, int) and isinstance(end, int):
            return IntDistribution(start, end, log=log)
        assert start is not None
        assert end is not None
        return FloatDistribution(start, end, log=log)
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def corners(varied: dict[str, Override]) -> list[list[str]]:
    """Overrides of which every end of an interval and every choice is in at least one."""
    ends = {key: _ends(override) for key, override in varied.items()}
    first = {key: values[0] for key, values in ends.items()}
    lines = [first, *({**first, key: value} for key, values in ends.items() for value in values[1:])]
    return [as_overrides(line) for line in lines]


def as_overrides(values: dict[str, Any]) -> list[str]:
    """The words that a trial adds to the command line; numbers are rounded to a few digits."""
    return [f"{key}={_text(value)}" for key, value in values.items()]


def _text(value: Any) -> str:
    return repr(float(f"{value:.{DIGITS}g}")) if isinstance(value, float) else str(value)


def _ends(override: Override) -> list[Any]:
    sweep = override.value()
    return [sweep.start, sweep.end] if isinstance(sweep, IntervalSweep) else list(override.sweep_string_iterator())


def _log(start: int | float, end: int | float) -> IntervalSweep:
    """Hydra's `tag(log, interval(start, end))`."""
    return IntervalSweep(start=float(start), end=float(end), tags={"log"})


def _check(override: Override, text: str) -> None:
    key, sweep = override.key_or_group, override.value()
    parts = key.replace("/", ".").split(".")
    if parts[0] in FIXED and parts[:2] != ["data", "train"]:
        raise UserError(f"{text}: {key} says what validation measures, which is the same in every trial")
    if isinstance(sweep, Glob):
        raise UserError(f"{text}: name the choices")
    if isinstance(sweep, IntervalSweep):
        assert sweep.start is not None
        assert sweep.end is not None
        if sweep.start >= sweep.end:
            raise ConfigError(key, text.partition("=")[2], "should have a lower end below its upper end")
        if "log" in sweep.tags and sweep.start <= 0:
            raise ConfigError(key, text.partition("=")[2], "should have ends above 0, to be drawn by its logarithm")
