"""The model of a run, built again for tasks of whatever size its method takes."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from metabench.algo.base import Algorithm
from metabench.config.build import check
from metabench.config.schema import Config
from metabench.data.base import TaskSource
from metabench.errors import ConfigError, UserError, last_line
from metabench.runs.inputs import check_same_start, load_init
from metabench.runs.reader import RunReader
from metabench.tasks import Episode, TaskSpec
from metabench.training.components import find_components
from metabench.utils.files import DamagedError
from metabench.utils.paths import expanded


class Model:
    """The weights that validation chose, and the data source that prepares inputs. No data is read."""

    def __init__(self, run: Path, device: torch.device) -> None:
        """Read the run; raises `UserError` where the folder holds none, or one of another version of the program."""
        self.run, self.device = run, device
        if not run.is_dir():
            raise UserError(f"{run}: no such folder; give the directory of a run")
        reader = RunReader(run)
        try:
            self.config: Config = check(Config, deepcopy(reader.config))
            self.weights = reader.weights
        except (UserError, DamagedError) as fault:
            raise UserError(f"{run}: {fault}") from None
        if self.weights is None and self.config.init is not None:  # nothing was trained: the weights of another run
            check_same_start(reader)
            self.weights = load_init(expanded(self.config.init))[0]
        found = find_components(self.config)
        (make_source, source), self._backbone, self._algo = found["data"], found["backbone"], found["algo"]
        self.source: TaskSource = make_source(self.config.seed, device, **source)
        if self.spec.setting == "sequence":
            raise UserError(f"{run}: its tasks are sequences; a learner needs tasks with a support set and queries")
        self.build = lru_cache(maxsize=4)(self._build)

    @property
    def spec(self) -> TaskSpec:
        """The tasks of its training and its test."""
        return self.source.spec

    @property
    def name(self) -> str:
        """The class of the method."""
        return self._algo[0].__name__

    def _build(self, episode: Episode) -> Algorithm:
        """The model in evaluation mode for tasks of the size of `episode`.

        Raises `UserError` where the method has one number of classes for good.
        """
        (make_backbone, backbone), (make_algo, values) = self._backbone, self._algo
        spec = replace(self.spec, eval=episode)
        try:
            with torch.random.fork_rng(devices=[]):  # the seed of the run: what is not trained starts as it did there
                torch.manual_seed(self.config.seed)
                algo: Algorithm = make_algo(spec, make_backbone(spec.input_shape, **backbone), **values)
            if self.weights is not None:
                algo.load_state_dict(self.weights)
        except ConfigError as fault:
            raise self._other_size(episode, str(fault).partition(": ")[2]) from None
        except RuntimeError as fault:
            raise self._other_size(episode, last_line(fault)) from None
        return algo.to(self.device).eval().requires_grad_(False)

    def _other_size(self, episode: Episode, reason: str) -> UserError:
        """An error that says why a task of this size cannot be taken."""
        ways = self.spec.train.outputs
        if episode.outputs == ways:
            return UserError(f"{self.run}: the model cannot be built again: {reason}")
        known: Any = f"{self.name} was trained with {ways} classes and takes {ways}, not {episode.outputs}"
        return UserError(f"{self.run}: {known} ({reason.rpartition(': ')[2]})")
