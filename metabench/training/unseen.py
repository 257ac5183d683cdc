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


def check_unseen(trainings: Iterator[Mapping[str, Any]], data: tuple[type[Any], Node]) -> None:
    """Raise `ConfigError` where the test of `data` has classes that one of the configurations was trained on."""
    asked = class_names(data, "test")
    for trained in trainings:
        if known := len(asked & _trained_on(trained)):
            said = f"the model was trained on {known} of the {len(asked)} classes that this test is made of"
            make, values = data
            split = values.get("split")
            raise ConfigError("data.split" if split else "data", split or make.__name__, said)


def trainings(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The configurations whose meta-steps made a model: its own, and those of the runs that it begins with."""
    seen: set[str] = set()
    while True:
        if config["train"]["steps"]:
            yield config
        init = config.get("init")
        if init is None or init in seen:
            return
        seen.add(init)
        try:
            config = RunReader(expanded(init)).config
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
