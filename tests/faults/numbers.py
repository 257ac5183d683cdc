"""Numbers that are none, and gradients that overflow, at a meta-step in the middle."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from identical import identical, straight
from program import only_run, run_metabench

from faults.fault import Attempt, fault
from faults.runs import EVERY, MAML, MODELS, STEPS, again
from metabench.utils.files import load_tensors, read_json

HOLDS = "exit code 3, status nonfinite; the meta-step is named; no checkpoint contains it; the last good one is kept"


@fault("the loss is NaN at a random meta-step: {}", HOLDS, tries=10, over=MODELS)
def nan(attempt: Attempt, model: str) -> None:
    step = attempt.chance.randrange(1, STEPS + 1)
    assert spoilt(attempt, MODELS[model], step, nan_loss) == step


@fault("the gradient overflows to infinity at a random meta-step", HOLDS, tries=10)
def infinite(attempt: Attempt) -> None:
    step = attempt.chance.randrange(1, STEPS + 1)
    assert step <= spoilt(attempt, MAML, step, partial(scale_gradient, math.inf)) <= step + 1


@fault("the gradient's square overflows at a random meta-step, and weights freeze", HOLDS, tries=10)
def frozen(attempt: Attempt) -> None:
    step = attempt.chance.randrange(1, STEPS + 1)
    assert step <= spoilt(attempt, MAML, step, partial(scale_gradient, 1e30)) <= step + EVERY


def spoilt(attempt: Attempt, overrides: tuple[str, ...], step: int, spoil: Callable[[int], None]) -> int:
    """The meta-step that a run names which `spoil` spoils at `step`; unspoilt it goes on and ends identical."""
    cwd = attempt.folder / "work"
    cwd.mkdir()
    done = run_metabench(*overrides, cwd=cwd, patch=partial(spoil, step))
    assert done.code == 3, done
    assert done.err.count("\n") == 1
    run = only_run(cwd)
    status = read_json(run / "status.json")
    assert status["status"] == "nonfinite"
    assert done.err == f"metabench: {status['reason']}\n"
    for path in (run / "checkpoints").iterdir():
        content = load_tensors(path)
        assert content["step"] < step
        moments = (v for state in content.get("optim", {"state": {}})["state"].values() for v in state.values())
        assert all(value.isfinite().all() for value in (*content["algo"].values(), *moments)), path.name
    _, start = again(*overrides, cwd=cwd)
    assert start == (step - 1) // EVERY * EVERY
    identical(run, straight(*overrides))
    found = re.search(r"meta-step (\d+)$", status["reason"])
    assert found, status
    return int(found[1])


def nan_loss(step: int) -> None:
    """A patch: the loss of meta-step `step` is NaN, and so is its gradient."""

    def spoil(self: Any, tasks: Any, share: float) -> Any:
        with self.precision():
            loss, metrics = self.algo(tasks)
        (loss * share * math.nan).backward()
        return metrics | {"loss": metrics["loss"] * math.nan}

    _in_step(step, spoil)


def scale_gradient(factor: float, step: int) -> None:
    """A patch: the gradient of meta-step `step` is `factor` times as large."""
    from metabench.engine.meta_step import MetaStep

    original = MetaStep.eager

    def spoil(self: Any, tasks: Any, share: float) -> Any:
        metrics = original(self, tasks, share)
        for parameter in self.algo.parameters():
            parameter.grad.mul_(factor)
        return metrics

    _in_step(step, spoil)


def _in_step(step: int, spoil: Callable[[Any, Any, float], Any]) -> None:
    from metabench.engine.meta_step import MetaStep

    meta_step, eager = MetaStep.__call__, MetaStep.eager
    now = [0]

    def watched(self: Any, index: int, tasks: Any) -> Any:
        now[0] = index + 1
        return meta_step(self, index, tasks)

    def call(self: Any, tasks: Any, share: float) -> Any:
        return (spoil if now[0] == step else eager)(self, tasks, share)

    MetaStep.__call__, MetaStep.eager = watched, call  # type: ignore[method-assign]


@fault(
    "a prediction is not finite in the meta-test: {}",
    "exit code 3, status nonfinite, every mode and its tasks counted; null in episodes.json, no summary, weights kept",
    tries=3,
    over=MODELS,
)
def diverged(attempt: Attempt, model: str) -> None:
    task = attempt.chance.randrange(4)
    value = attempt.chance.choice([math.nan, math.inf, -math.inf])
    done = run_metabench(*MODELS[model], "test.episodes=4", cwd=attempt.folder, patch=partial(_diverge, task, value))
    assert done.code == 3, done
    assert done.err.count("\n") == 1
    assert "1 of 4 " in done.err
    run = only_run(attempt.folder)
    assert read_json(run / "status.json")["status"] == "nonfinite"
    assert not (run / "summary.json").exists()
    for values in read_json(run / "episodes.json")["modes"].values():
        assert [at for at, found in enumerate(values) if found is None] == [task]
    assert load_tensors(run / "checkpoints/best.pt")["algo"]


def _diverge(task: int, value: float) -> None:
    """A patch: one prediction of one test task is `value`."""
    from metabench.training.components import Components

    evaluate = Components.evaluate

    def watched(self: Any, split: Any, *arguments: Any, **options: Any) -> Any:
        axis = self.algo.axis
        make = axis.parts

        def parts(outputs: Any, target: Any, shots: int) -> Any:
            outputs[-1][task, -1, 0] = value  # of the last query, which is of the last column
            return make(outputs, target, shots)

        if split == "test":
            object.__setattr__(axis, "parts", parts)
        try:
            return evaluate(self, split, *arguments, **options)
        finally:
            object.__setattr__(axis, "parts", make)

    Components.evaluate = watched  # type: ignore[method-assign]
