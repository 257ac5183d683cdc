"""The model of a run as validation chose it, and its data: built again from the configuration in its directory."""

from __future__ import annotations

from copy import deepcopy

from metabench.algo.base import Algorithm
from metabench.config.build import check
from metabench.config.schema import Config
from metabench.data.base import TaskSource
from metabench.errors import UserError, last_line
from metabench.runs.inputs import check_same_start
from metabench.runs.reader import RunReader
from metabench.training.components import Components
from metabench.utils.console import Display
from metabench.utils.files import DamagedError


def trained(run: RunReader, queries: int | None = None) -> tuple[Algorithm, TaskSource]:
    """The chosen model of `run` on the CPU, and its tasks, with `queries` in evaluation if given.

    Raises `UserError` where the configuration is of another version of the program.
    """
    try:
        plain = deepcopy(run.config)
        plain["device"] = {**plain["device"], "type": "cpu", "index": None}
        if queries is not None:
            plain["data"]["queries"] = queries
        if run.weights is not None:
            plain["init"] = None  # it was taken up when training began
        else:
            check_same_start(run)
        built = Components(check(Config, plain), Display())
        if run.weights is not None:
            built.algo.load_state_dict(run.weights)
    except (UserError, DamagedError, RuntimeError) as fault:
        raise UserError(f"{run.path}: the model cannot be built again: {last_line(fault)}") from None
    return built.algo, built.source
