"""A trained model that learns a user's task: adapt to labelled examples, predict others."""

from __future__ import annotations

from collections.abc import Sized
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metabench.algo.base import Algorithm, Mode
from metabench.backbone.base import batch_statistics
from metabench.backbone.task_norm import task_norms
from metabench.engine.device import find_device
from metabench.errors import UserError
from metabench.inference.inputs import Inputs, prepare_inputs
from metabench.inference.model import Model
from metabench.inference.targets import Classes, Labels, plain_list, prepare_targets
from metabench.objective import OBJECTIVES
from metabench.tasks import Episode, Examples, Tasks, TaskSpec
from metabench.utils.counted import counted
from metabench.utils.paths import expanded

AT_ONCE = 256  # queries


class Prediction(NamedTuple):
    """Classification of M queries: `labels [M]`, and `probabilities [M, ways]` in the order of `Learner.classes`."""

    labels: np.ndarray
    probabilities: np.ndarray


class Fit(NamedTuple):
    """Regression of M queries: `values [M]`, or `[M, D]`, and their standard deviations, if the method gives any."""

    values: np.ndarray
    std: np.ndarray | None


def load(run: str | PathLike[str], *, device: str = "cpu") -> Learner:
    """The learner that a run has trained: the weights that validation chose.

    `run` is the folder of a run, or the `Result` of one. Raises `UserError` where there is no model in it.
    """
    return Learner(Model(expanded(run), find_device(device)))


class Learner:
    """A trained model; `adapt` teaches it a task, and `predict` answers queries of that task.

    Any kind of label, number of classes and number of examples is taken that the method can take; anything else is a
    `UserError` that says why.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._classes: Classes | None = None
        self._task: tuple[Algorithm, Examples] | None = None  # the model for the task, and its support set
        self._state: Any = None
        self._flat = False  # targets were given as [N]

    @property
    def spec(self) -> TaskSpec:
        """The tasks that the model was trained and tested on."""
        return self._model.spec

    @property
    def classes(self) -> np.ndarray:
        """The classes of the task `[ways]`: sorted, or in the order of the support set where they cannot be."""
        if self._classes is None:
            raise UserError("there are no classes yet: call adapt(images, labels) first")
        return self._classes.as_array()

    @property
    def algorithm(self) -> Algorithm:
        """The torch module behind it, built for the task at hand."""
        return self._adapted()[0]

    @property
    def title(self) -> str:
        """Method, data and size of the training tasks."""
        train = self.spec.train
        size = f"{train.outputs}-way {train.shots}-shot" if self.spec.num_classes else counted(train.shots, "point")
        return f"{self._model.name} trained on {type(self._model.source).__name__}, {size}"

    def __repr__(self) -> str:
        lines = [f"{self.title}: {self._model.run}"]
        if self._task is not None:
            examples = len(self._task[1].x[0])
            classes = f" of {counted(len(self._classes), 'class', 'classes')}" if self._classes else ""
            lines.append(f"adapted to {counted(examples, 'example')}{classes}")
        return "\n".join(lines)

    def adapt(self, images: Inputs, labels: Labels) -> Learner:
        """Learn a task from its support set, in the order given; a task learned before is forgotten.

        `images`: N paths, PIL images or arrays of any size (uint8), prepared as in training; or floats
        `[N, *input_shape]` as tasks have them. `labels`: N values of any kind that can be told apart. In regression,
        `images` are the x of the points and `labels` their y, `[N]` or `[N, D]`. Returns the learner.
        """
        x = prepare_inputs(images, self._model.source)
        classes = Classes(labels) if self._classifies else None
        y = classes.y if classes else prepare_targets(labels, self.spec.eval.outputs)
        _check_as_many(x, y)
        algo = self._model.build(self._episode(classes, len(y)))
        support = Examples(x.unsqueeze(0).to(self._model.device), y.unsqueeze(0).to(self._model.device))
        try:
            support = algo.view(Tasks(support, support, {})).support
        except KeyError as fault:
            raise UserError(f"{self._model.name} is told {fault} of every task, which yours does not have") from None
        with torch.no_grad():
            self._state = algo.adapt(support)
        self._classes, self._task = classes, (algo, support)
        self._flat = classes is None and np.ndim(labels) == 1
        return self

    def predict(self, images: Inputs, *, mode: Mode = "inductive") -> Any:
        """Predict M queries: a `Prediction` (labels, probabilities); in regression a `Fit` (values, std).

        Inductive: each query by itself, whatever else is asked. Transductive: all queries together, where batch norm
        uses their statistics, as many papers test. Raises `UserError` before `adapt`, and for predictions that are not
        finite.
        """
        algo, _ = self._adapted()
        x = prepare_inputs(images, self._model.source).unsqueeze(0).to(self._model.device)
        with torch.no_grad():
            scores = self._scores(x, mode)[0].float().cpu()
        if not bool(scores.isfinite().all()):
            raise UserError(f"{self._model.run}: the model's predictions for this task are not finite")
        if self._classes is None:
            gaussian = algo.objective is OBJECTIVES["gaussian"]
            mean, std = scores.chunk(2, dim=-1) if gaussian else (scores, None)
            return Fit(self._shaped(mean), None if std is None else self._shaped(std))
        chances = scores.double().softmax(-1)
        return Prediction(self.classes[chances.argmax(-1).numpy()], chances.numpy())

    def score(self, images: Inputs, labels: Labels, *, mode: Mode = "inductive") -> float:
        """Accuracy on M queries, in 0 to 1; in regression the mean squared error."""
        found = self.predict(images, mode=mode)[0]
        if self._classes is None:
            target = prepare_targets(labels, self.spec.eval.outputs).numpy()
            _check_as_many(found, target)
            return float(np.square(found - target.reshape(found.shape)).mean())
        wanted = plain_list(labels)
        _check_as_many(found, wanted)
        if unknown := [label for label in wanted if label not in self._classes.names]:
            raise UserError(
                f"labels: {unknown[0]!r} is no class of the task: {', '.join(map(repr, self._classes.names))}"
            )
        return sum(a == b for a, b in zip(found.tolist(), wanted, strict=True)) / len(wanted)

    @property
    def _classifies(self) -> bool:
        return self.spec.objective == "cross_entropy"

    def _adapted(self) -> tuple[Algorithm, Examples]:
        if self._task is None:
            raise UserError("there is no task yet: call adapt(images, labels) first")
        return self._task

    def _episode(self, classes: Classes | None, size: int) -> Episode:
        """The size of a task: shots of a class, or points."""
        queries = self.spec.eval.queries
        if classes is None:
            return Episode(self.spec.eval.outputs, size, queries)
        shots = max(classes.counts)
        episode = Episode(len(classes), shots, queries)
        if min(classes.counts) != shots and not self._model.build(episode).uneven_support:
            said = f"{self._model.name} needs as many examples of each class"
            raise UserError(f"{said}; there are {min(classes.counts)} to {shots}")
        return episode

    def _scores(self, x: Tensor, mode: Mode) -> Tensor:
        """Predictions `[1, M, O]` of the method, in `mode`."""
        algo, support = self._adapted()
        if mode not in algo.modes:
            raise UserError(f"mode={mode}: should be {' or '.join(algo.modes)} for this model")
        if mode == "transductive":
            if algo.modes[0] == mode:
                return algo.outputs(support, x)[-1]
            with batch_statistics(algo):
                return algo.outputs(support, x)[-1]
        if algo.modes[0] != mode:
            return algo.predict_alone(support, x, self._state)
        parts = x.split(AT_ONCE, dim=1)
        if task_norms(algo):  # which read the support set beside the queries
            return torch.cat([algo.solve(support, part) for part in parts], dim=1)
        return torch.cat([algo.predict(self._state, part) for part in parts], dim=1)

    def _shaped(self, values: Tensor) -> np.ndarray:
        array = values.numpy()
        return array[:, 0] if self._flat and array.shape[1] == 1 else array


def _check_as_many(inputs: Sized, labels: Sized) -> None:
    if len(inputs) != len(labels):
        raise UserError(f"{len(inputs)} inputs and {len(labels)} labels: should be as many")
