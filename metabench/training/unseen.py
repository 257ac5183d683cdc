"""A test is of classes that the model has not been trained on, by itself or by the run that it begins with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from metabench.config.build import component
from metabench.config.types import Node
from metabench.data.base import TaskSource
from metabench.errors import ConfigError, DataError, UserError
from metabench.runs.reader import RunReader
from metabench.tasks import SplitName
from metabench.utils.files import DamagedError
from metabench.utils.paths import expanded


def check_unseen(trainings: Iterator[frozenset[str]], data: tuple[type[Any], Node]) -> None:
    """Raise `ConfigError` where the test of `data` has classes of one of the trainings."""
    asked = class_names(data, "test")
    for trained in trainings:
        if known := len(asked & trained):
            said = f"the model was trained on {known} of the {len(asked)} classes that this test is made of"
            make, values = data
            split = values.get("split")
            raise ConfigError("data.split" if split else "data", split or make.__name__, said)


def trainings(config: Mapping[str, Any], run: RunReader | None = None) -> Iterator[frozenset[str]]:
    """The classes of the meta-steps that made a model: those of its own, and of the runs that it begins with.

    `run` is one that has been made of `config`.
    """
    seen: set[str] = set()
    while True:
        if config["train"]["steps"]:
            recorded = run.training_classes if run else None
            yield _trained_on(config) if recorded is None else recorded
        init = config.get("init")
        if init is None or init in seen:
            return
        seen.add(init)
        try:
            run = RunReader(expanded(init))
            config = run.config
        except (DamagedError, UserError):  # weights alone: nothing says what they were trained on
            return


def class_names(data: tuple[type[Any], Node], split: SplitName) -> frozenset[str]:
    """Names of the classes of a data source, which is not read; see `TaskSource`."""
    make, values = data
    source: TaskSource = make(0, torch.device("cpu"), **values)
    return source.class_names(split)


def _trained_on(trained: Mapping[str, Any]) -> frozenset[str]:
    try:
        return class_names(component(trained["data"], TaskSource, "data"), "train")
    except DataError:  # images that are no longer there
        return frozenset()
