"""Tasks that come one after the other, each while its examples arrive (Finn, Rajeswaran, Kakade, Levine, ICML 2019).

In round t a new task D_t comes, shot by shot: one point of a curve, or one drawing of each class. The stage (t, k) is
the time from its k-th shot to the next. What has come by then is all of D_0 … D_{t-1} and k shots of D_t. That is what
meta-training draws its tasks from, and it is a pure function of the meta-step: a stopped run need not keep it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from metabench.config.types import Count, Positive, Section, Seed, Whole
from metabench.errors import ConfigError
from metabench.rng import below, bits, shuffle, task_keys
from metabench.tasks import SPLITS, Examples, Tasks, TaskSpec

_TASK, _SHOTS, _CLASSES, _SUPPORT, _QUERY = range(5)  # streams of random numbers
_LAST = torch.iinfo(torch.int64).max
_OWN = "training tasks are made of the tasks that came"


class Online(Section):
    """Settings of an online stream of tasks."""

    rounds: Count
    threshold: Positive  # of the metric: at which a task counts as learned
    present: bool  # meta-training draws the task of the round too, and not those of earlier rounds alone
    steps: Whole  # meta-steps in all, the same number in every stage as nearly as can be
    tasks: Count  # drawn for a meta-step

    def card(self) -> dict[str, Any]:
        """The settings that decide a result, for the protocol card."""
        return {"online": {"rounds": self.rounds, "threshold": self.threshold}}

    def applied(self, spec: TaskSpec) -> TaskSpec:
        """`spec`, of tasks that come online; raises `ConfigError` where training tasks cannot be drawn from them."""
        unit, train, of = "ways" if spec.num_classes else "outputs", spec.train, spec.eval
        if train.outputs != of.outputs:
            raise ConfigError(f"data.train.{unit}", train.outputs, f"should be data.{unit}, {of.outputs}: {_OWN}")
        if train.shots > of.shots:
            raise ConfigError("data.train.shots", train.shots, f"at most data.shots, {of.shots}: {_OWN}")
        return replace(spec, setting="online")

    def check_classes(self, classes: int, ways: int) -> None:
        """Raise `ConfigError` where there are too few test classes for rounds that share none."""
        if self.rounds > (most := classes // ways):
            valid = f"at most {most}: there are {classes} test classes, and no two rounds share one"
            raise ConfigError("data.online.rounds", self.rounds, valid)


class Buffer:
    """Training tasks drawn from what has come of the rounds `stream`: of their support sets, in the order of arrival.

    A draw is a task, uniform among those that have come, and some of its shots, the queries' others than the support
    set's; only of a task with fewer shots than that some come twice. Classes are numbered anew in every draw.
    """

    def __init__(self, online: Online, stream: Tasks, spec: TaskSpec, seed: Seed) -> None:
        x, y = stream.support
        self.online, self.stream, self.train, self.shots, self.seed = online, stream, spec.train, spec.eval.shots, seed
        self.device, self.classes = x.device, spec.eval.outputs if spec.num_classes else None
        order = y.argsort(stable=True) if self.classes else torch.arange(self.shots, device=x.device).expand(len(x), -1)
        self.rows = order.view(len(x), -1, self.shots)  # [rounds, classes or 1, shots]: where each shot lies

    def sample(self, index: int, num_tasks: int) -> Tasks:
        """Training tasks index .. index + num_tasks - 1, each as of its meta-step."""
        keys = task_keys(self.seed, SPLITS.index("train"), index, num_tasks, self.device)
        now, come = self.stage(torch.arange(index, index + num_tasks, device=self.device))
        task = below(keys, _TASK, (now + self.online.present).clamp(min=1))  # the first round has no earlier one
        rows, truth = self.rows[task], {name: value[task] for name, value in self.stream.truth.items()}
        if self.classes:
            order = shuffle(keys, _CLASSES, self.classes)
            rows, truth = rows.take_along_dim(order.unsqueeze(2), 1), {"classes": truth["classes"].gather(1, order)}
        rows = rows.take_along_dim(self._shots(keys, torch.where(task < now, self.shots, come)), 2)
        support, query = (
            self._gather(keys, stream, task, part)
            for stream, part in zip(
                (_SUPPORT, _QUERY), rows.split([self.train.shots, self.train.queries], 2), strict=True
            )
        )
        return Tasks(support, query, truth, keys)

    def stage(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Of training tasks `index [T]` the round in which they are drawn, and the shots of its task that have come."""
        steps = max(self.online.steps, 1)
        stage = (index // self.online.tasks).clamp(max=steps - 1) * (self.online.rounds * self.shots) // steps
        return stage // self.shots, stage % self.shots + 1

    def _shots(self, keys: Tensor, come: Tensor) -> Tensor:
        """As many shots as a training task has, of the first `come [T]`, in random order: `[T, classes or 1, K]`."""
        waiting = torch.arange(self.shots, device=self.device) >= come[:, None, None]
        order = (
            (bits(keys, _SHOTS, self.rows.shape[1], self.shots) >> 1).masked_fill(waiting, _LAST).argsort(stable=True)
        )
        wanted = torch.arange(self.train.shots + self.train.queries, device=self.device) % come[:, None, None]
        return order.take_along_dim(wanted, 2)

    def _gather(self, keys: Tensor, stream: int, task: Tensor, rows: Tensor) -> Examples:
        """The examples `rows [T, classes or 1, K]` of each task, in random order."""
        _, classes, each = rows.shape
        order = shuffle(keys, stream, classes * each)
        at = task.unsqueeze(1), rows.flatten(1).gather(1, order)
        x, y = self.stream.support
        return Examples(x[at], order // each if self.classes else y[at])
