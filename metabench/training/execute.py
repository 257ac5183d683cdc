"""From a composed configuration to a finished run: check, name, run, and the further tests that it asks for.

Torch is imported once the configuration is sound: a wrong value is answered at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from metabench.errors import system_refusals
from metabench.utils.starting import Starting

if TYPE_CHECKING:
    from metabench.config.schema import Config
    from metabench.config.types import Node
    from metabench.runs.run_spec import RunSpec
    from metabench.utils.console import Display

    Components = dict[str, tuple[type[Any], Node]]


def plan_run(composed: DictConfig, hydra_config: Any, command: Sequence[str]) -> tuple[Config, RunSpec]:
    """Check what was composed, and say which run it is and where it lies; nothing is written."""
    from metabench.config.build import settled
    from metabench.runs.experiment import cell

    plain, config, components = check_values(composed, hydra_config.runtime.choices)

    from metabench.runs.run_spec import RunSpec
    from metabench.training.components import run_inputs
    from metabench.training.unseen import check_unseen, trainings

    if config.init is not None:
        check_unseen(trainings(plain), components["data"])
    inputs = run_inputs(config, components)
    choices = hydra_config.runtime.choices
    names = [choices.get(group, "custom") for group in ("data", "algo")]  # none in a configuration of the user's own
    about = cell(config, choices.get("experiment"), hydra_config.overrides.task)
    return config, RunSpec.of(settled(config, components), plain, inputs, Path("outputs", *names), about, command)


def check_values(composed: DictConfig, choices: Mapping[str, Any]) -> tuple[dict[str, Any], Config, Components]:
    """Plain values of what was composed, the checked configuration of them, and the classes that will be built of it.

    `choices` are the names that were chosen of the groups. Raises `ConfigError` that names the first wrong value.
    """
    from metabench.config.build import check
    from metabench.config.schema import Config

    plain: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    config = check(Config, plain)
    _check_board(config.board, choices.get("data"))
    Starting.say("loading torch")

    from metabench.training.components import find_components

    return plain, config, find_components(config)


def _check_board(board: str | None, data: str | None) -> None:
    """Raise `ConfigError` for a board that there is not, and for other data than it is of."""
    from metabench.board.columns import COLUMNS
    from metabench.errors import ConfigError, suggest

    if board is None:
        return
    if board not in COLUMNS:
        raise ConfigError("board", board, suggest(board, COLUMNS, "no such board"))
    if data != board:
        raise ConfigError("data", data, f"bench={board} is a test of data={board}; choose one of the two")


@system_refusals()
def execute(
    composed: DictConfig, hydra_config: Any, command: Sequence[str], display: Display | None = None
) -> tuple[dict[str, Any], Path]:
    """Check what was composed and run it, or continue; the summary and the directory of the run.

    `hydra_config` says how it was composed, `command` is what a person would give the program for it, and `display`
    shows it, on standard output by default.
    """
    config, spec = plan_run(composed, hydra_config, command)

    from metabench.training.runner import run
    from metabench.utils.console import Display

    display = display or Display()
    summary = run(config, spec, display)
    if config.tests:
        from metabench.runs.reader import RunReader
        from metabench.training.suite import run_suite

        run_suite(RunReader(spec.path), config.tests, display)
    return summary, spec.path
