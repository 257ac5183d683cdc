"""The jobs of a sweep before the first one begins: each is composed, and its values are checked."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.plugins.sweeper import Sweeper
from omegaconf import open_dict

from metabench.training.execute import check_values


def watch_sweepers() -> None:
    """From now on a sweep with a wrong value in any of its jobs is refused as a whole.

    Hydra's own sweeper composes every job first; whether the values are of their types, it does not know.
    """
    Sweeper.validate_batch_is_legal = _check_jobs  # type: ignore[method-assign, assignment]


def _check_jobs(sweeper: Sweeper, batch: Sequence[Sequence[str]]) -> None:
    """Raise what Hydra or `check_values` raises for the first job that is wrong."""
    assert sweeper.hydra_context is not None
    assert sweeper.config is not None
    load = sweeper.hydra_context.config_loader.load_sweep_config
    for overrides in batch:
        composed = load(sweeper.config, list(overrides))
        choices = composed.hydra.runtime.choices
        with open_dict(composed):
            del composed["hydra"]  # it names a job's number, which no job has yet
        check_values(composed, choices)
