"""Meta-training: meta-steps, what they are logged and validated as, and where a stopped run continues.

The path of a batch: `Feed` (`source.sample`) → `MetaStep` → `algo(tasks)` → `Window` → metrics.jsonl.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from metabench.evaluation.evaluate import summarise
from metabench.evaluation.online import Arrived, Rounds
from metabench.runs.run_dir import RunDirectory
from metabench.training.components import Parts
from metabench.training.metrics import NonFiniteError, Window
from metabench.utils.console import Phase, figure
from metabench.utils.oom import advised
from metabench.utils.signals import Stop
from metabench.utils.tensorboard import Board


class Training:
    """The meta-training of a run's parts in its directory, and how far it has come."""

    def __init__(self, parts: Parts, directory: RunDirectory, stop: Stop) -> None:
        self.parts, self.directory, self.stop = parts, directory, stop
        self.rounds = Rounds(parts.source, parts.algo.objective, parts.steps) if parts.source.online else None
        self.step = 0
        self.seconds = 0.0
        self.due = False  # the validation of this meta-step was interrupted
        self.best: dict[str, Any] | None = None
        self.window = Window()
        self.board: Board | None = None

    def run(self) -> None:
        """Meta-steps from where the run stands to the end, or until asked to stop."""
        parts, config, stop = self.parts, self.parts.config, self.stop
        chunk = 1
        if self.step < parts.steps:
            parts.display.say(parts.plan.describe())
            chunk = parts.plan.chunk
        if self.step == 0:
            self.meet()
        began = time.monotonic() - self.seconds
        with parts.display.phase("meta-training", parts.steps, self.step) as phase, advised(chunk):
            while self.due or self.step < parts.steps:
                if not self.due:
                    self.window.add(parts.meta_step(self.step, parts.feed(self.step)))
                    self.step += 1
                    stop.hold()
                    stop.listen()
                    self.seconds = time.monotonic() - began
                last = self.step == parts.steps
                if not self.due and (last or self.step % config.log.every == 0):
                    self.log(phase)
                if self.rounds:
                    self.meet()
                elif last or self.step % config.validation.every == 0:
                    self.validate()
                if last or self.step % config.checkpoint.every == 0 or stop.asked:
                    self.save()
                stop.check()
                if not phase.display.live or self.step % 5 == 0:
                    phase.update(self.step)
        stop.release()

    def log(self, phase: Phase) -> None:
        """The means since the last line. Only lines, validations and checkpoints wait for the device."""
        metric, tasks = self.parts.metric, self.parts.config.train.tasks
        means = self.window.close(self.step)
        lr = float(self.parts.optimizer.param_groups[0]["lr"])
        self.record({"step": self.step, "split": "train", **means, "lr": lr, "seconds": round(self.seconds, 3)})
        best = f"  best validation {figure(metric, self.best['value'])}" if self.best else ""
        now = f"loss {means['loss']:.4f}  {metric} {figure(metric, means[metric])}"
        phase.update(self.step, f"{now}{best}  {phase.rate * tasks:.0f} tasks/s")

    def validate(self) -> None:
        """Estimate the metric on validation tasks; keep the best weights. A run that is stopped in it repeats it."""
        self.check_finite()
        parts, config = self.parts, self.parts.config.validation
        self.due, before = True, torch.get_rng_state()

        def tick(done: int) -> None:
            self.stop.listen()
            if self.stop.asked:
                self.save(before)
                self.stop.check()

        found = parts.evaluate("validation", config.episodes, tick=tick)
        self.due = False
        result = summarise(found[parts.metric], parts.algo.axis)
        loss = found["loss"][:, -1].double().mean().item()
        figures = {parts.metric: result["mean"], "ci95": result["ci95"], "loss": loss}
        self.record({"step": self.step, "split": "validation", **figures})
        if config.select == "last" or not self.best or parts.algo.objective.better(result["mean"], self.best["value"]):
            self.choose(result["mean"])

    def meet(self) -> None:
        """Judge the learner, as it stands, on what of an online stream has come by now; keep the last weights."""
        due = self.rounds.due(self.step) if self.rounds else []
        if not (self.rounds and due):
            return
        self.check_finite()
        for part in due:
            arrived = Arrived(self.parts.source, part.first, part.shots)
            for line in self.rounds.judge(part, self.parts.evaluate("test", part.tasks, arrived)):
                self.record({"step": self.step, "split": "online", **line})
        if self.step == self.parts.steps > 0:
            self.choose(summarise(self.rounds.found, self.parts.algo.axis)["mean"])

    def choose(self, value: float) -> None:
        """Keep the weights as they are now for the meta-test."""
        self.best = {"step": self.step, "value": value}
        self.directory.save_best({"algo": self.parts.algo.state_dict(), **self.best})

    def record(self, line: dict[str, Any]) -> None:
        """Write a line of metrics, to TensorBoard too if that was asked for."""
        self.directory.append(line)
        if self.parts.config.log.tensorboard and self.parts.ranks.rank == 0:
            self.board = self.board or Board(self.directory.path / "tensorboard", self.step)
            self.board.add(line)

    # ---- where a stopped run continues

    def save(self, rng: Tensor | None = None) -> None:
        """Write all that the next meta-step depends on, if it is finite; `rng` where torch's own is no longer it."""
        self.check_finite()
        self.directory.save(
            {
                "step": self.step,
                "seconds": self.seconds,
                "due": self.due,
                "best": self.best,
                "algo": self.parts.algo.state_dict(),
                "optim": self.parts.optimizer.state_dict(),
                "rng": torch.get_rng_state() if rng is None else rng,
                "window": self.window.stacked(),
                **({"rounds": self.rounds.found} if self.rounds else {}),
            }
        )

    def check_finite(self) -> None:
        """Raise `NonFiniteError` if a loss, a weight or a moment no longer is: what is written and chosen is."""
        self.window.check(self.step)
        weights = self.parts.algo.state_dict().values()
        moments = (value for state in self.parts.optimizer.state.values() for value in state.values())
        for what, values in (("a weight", weights), ("a moment of the optimiser", moments)):
            if not all(bool(value.isfinite().all()) for value in values if isinstance(value, Tensor)):
                raise NonFiniteError(f"{what} is not finite after meta-step {self.step}")

    def load(self, content: dict[str, Any]) -> None:
        """Take up what `save` wrote."""
        self.step, self.seconds = int(content["step"]), float(content["seconds"])
        best = content["best"]
        self.best = best and {"step": int(best["step"]), "value": float(best["value"])}
        self.due = bool(content.get("due", False))  # earlier checkpoints were never written within a validation
        self.parts.algo.load_state_dict(content["algo"])
        self.parts.optimizer.load_state_dict(content["optim"])
        torch.set_rng_state(content["rng"])
        self.window = Window(content["window"])
        if self.rounds:
            self.rounds.found = content["rounds"]
