"""Meta-training: meta-steps, what they are logged and validated as, and where a stopped run continues.

The path of a batch: `TaskLoader` (`source.sample`) → `MetaStep` → `algo(tasks)` → `MetricLog` → metrics.jsonl.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from metabench.evaluation.evaluate import count_nonfinite, estimate, summarise
from metabench.evaluation.online import Arrived, Rounds
from metabench.runs.run_dir import RunDirectory
from metabench.tracker.trackers import Trackers
from metabench.training.components import Components
from metabench.training.metrics import MetricLog, NonFiniteError
from metabench.training.usage import peak_memory
from metabench.utils.console import format_metric
from metabench.utils.oom import oom_advice
from metabench.utils.progress import Phase, in_words
from metabench.utils.signals import SignalHandler

LONG = 600.0  # seconds; a longer training is announced


class Training:
    """The meta-training of a run's components in its directory, and how far it has come."""

    def __init__(
        self,
        components: Components,
        directory: RunDirectory,
        signals: SignalHandler,
        trackers: Trackers | None = None,
    ) -> None:
        self.components, self.directory, self.signals = components, directory, signals
        source, algo = components.source, components.algo
        self.rounds = Rounds(source, algo.objective, components.steps) if source.online else None
        self.step = 0
        self.seconds = 0.0
        self.validating = False  # the validation of this meta-step was interrupted
        self.best: dict[str, Any] | None = None
        self.stale = 0  # validations since the best one
        self.peak = 0  # bytes of memory that processes before this one held
        self.log = MetricLog(directory, trackers)
        self.estimated = False  # how long it takes, to the user

    def run(self) -> None:
        """Meta-steps from where the run stands to the end, or until asked to stop."""
        components, config, signals = self.components, self.components.config, self.signals
        chunk = 1
        if self.step < components.steps:
            components.display.say(components.plan.describe())
            chunk = components.plan.chunk
        if self.step == 0:
            self.evaluate_online()
        began = time.monotonic() - self.seconds
        with self._phase() as phase, oom_advice(chunk):
            while self.validating or not (self.stopped_early or self.step == components.steps):
                if not self.validating:
                    self.log.add(components.meta_step(self.step, components.loader(self.step)))
                    self.step += 1
                    signals.hold()
                    signals.listen()
                    self.seconds = time.monotonic() - began
                last = self.step == components.steps
                if not self.validating and (last or self.step % config.log.every == 0):
                    self.log_training(phase)
                if self.rounds:
                    self.evaluate_online()
                elif last or self.step % config.validation.every == 0:
                    self.validate(phase)
                    if self.stopped_early and self.log.steps:
                        self.log_training(phase)
                if last or self.stopped_early or self.step % config.checkpoint.every == 0 or signals.asked:
                    self.save()
                signals.check()
                phase.update(self.step)
        signals.release()
        if self.stopped_early:
            without = f"{config.validation.early_stopping} validations without a better one"
            components.display.say(f"stopped early at meta-step {self.step} of {components.steps}: {without}")

    @property
    def stopped_early(self) -> bool:
        """True after as many validations without a better one as `validate.early_stopping` allows."""
        patience = self.components.config.validation.early_stopping
        return patience is not None and self.stale >= patience

    def _phase(self) -> Phase:
        every, steps = self.components.config.validation.every, self.components.steps
        validations = () if self.rounds else (*range(every, steps, every), steps)
        return self.components.display.phase("meta-training", steps, self.step, validations)

    def log_training(self, phase: Phase) -> None:
        """Write the means since the last line. Only lines, validations and checkpoints wait for the device."""
        metric, tasks = self.components.metric, self.components.config.train.tasks
        means = self.log.means(self.step)
        lr = float(self.components.optimizer.param_groups[0]["lr"])
        self.log.write(self.step, "train", **means, lr=lr, seconds=round(self.seconds, 3))
        notes = [f"loss {means['loss']:.4f}", f"{metric} {format_metric(metric, means[metric])}"]
        if self.best:
            notes.append(f"best validation {format_metric(metric, self.best['value'])}")
        if phase.clock.rate:
            notes.append(f"{phase.clock.rate * tasks:.0f} tasks/s")
        phase.update(self.step, notes)
        if not self.estimated and phase.clock.left is not None:
            self.estimated = True
            if phase.clock.left > LONG:
                left = in_words(phase.clock.left)
                self.components.display.say(f"estimated {left}; Ctrl-C any time, the same command continues")

    def validate(self, phase: Phase) -> None:
        """Estimate the metric on validation tasks; keep the best weights. A run stopped in validation repeats it.

        A validation with a task whose metric is not finite is worse than any other.
        """
        self.check_finite()
        components, config = self.components, self.components.config.validation
        self.validating, before = True, torch.get_rng_state()

        with phase.interlude("validation", config.episodes) as shown:

            def tick(done: int) -> None:
                shown(done)
                self.signals.listen()
                if self.signals.asked:
                    self.save(before)
                    self.signals.check()

            found = components.evaluate("validation", config.episodes, last=True, tick=tick)
        self.validating = False
        selecting = components.algo.axis.selecting
        values, loss = selecting(found[components.metric]), selecting(found["loss"]).mean().item()
        result, lost = estimate(values), count_nonfinite(values)
        line = {components.metric: result.mean, "ci95": result.ci95, "loss": loss}
        self.log.write(self.step, "validation", **line, **({"nonfinite": lost} if lost else {}))
        if lost:  # the mean is NaN, which is never preferred
            self._warn(f"{lost} of {config.episodes} validation tasks")
        better = components.algo.objective.better
        if config.select == "last" or not self.best or better(result.mean, self.best["value"]):
            self.save_best(result.mean)
            self.stale = 0
        else:
            self.stale += 1
        self._tell(self.step, result.mean)

    def _tell(self, step: int, value: float) -> None:
        """Let who watches the run judge a validation; after the last one there is nothing to give up."""
        if step < self.components.steps:
            self.components.display.validated(step, value)

    def _warn(self, tasks: str) -> None:
        self.components.display.say(f"warning: {tasks} have no finite metric after meta-step {self.step}")

    def evaluate_online(self) -> None:
        """Evaluate the learner as it stands on what has arrived of an online stream; keep the last weights."""
        due = self.rounds.due(self.step) if self.rounds else []
        if not (self.rounds and due):
            return
        self.check_finite()
        for part in due:
            arrived = Arrived(self.components.source, part.first, part.shots)
            found = self.components.evaluate("test", part.tasks, arrived, last=True)
            for line in self.rounds.judge(part, found):
                self.log.write(self.step, "online", **line)
            if lost := count_nonfinite(found[self.components.metric][:, -1]):
                self._warn(f"{lost} of {part.tasks} tasks with {part.shots} shots")
        if self.step == self.components.steps > 0:
            self.save_best(summarise(self.rounds.found, self.components.algo.axis)["mean"])

    def save_best(self, value: float) -> None:
        """Keep the weights as they are now for the meta-test."""
        self.best = {"step": self.step, "value": value}
        self.directory.save_best({"algo": self.components.algo.state_dict(), **self.best})

    # ---- where a stopped run continues

    def save(self, rng: Tensor | None = None) -> None:
        """Write all that the next meta-step depends on, if it is finite; `rng` where torch's own has moved on."""
        self.check_finite()
        self.directory.save(
            {
                "step": self.step,
                "seconds": self.seconds,
                "due": self.validating,
                "best": self.best,
                "stale": self.stale,
                "peak_memory": max(self.peak, peak_memory(self.components.device) or 0),
                "algo": self.components.algo.state_dict(),
                "optim": self.components.optimizer.state_dict(),
                "rng": torch.get_rng_state() if rng is None else rng,
                "window": self.log.state(),
                **({"rounds": self.rounds.found} if self.rounds else {}),
            }
        )

    def check_finite(self) -> None:
        """Raise `NonFiniteError` if a loss, a weight or a moment is not finite: before anything is written."""
        self.log.check_finite(self.step)
        weights = self.components.algo.state_dict().values()
        moments = (value for state in self.components.optimizer.state.values() for value in state.values())
        for what, values in (("a weight", weights), ("a moment of the optimiser", moments)):
            if not all(bool(value.isfinite().all()) for value in values if isinstance(value, Tensor)):
                raise NonFiniteError(f"{what} is not finite after meta-step {self.step}")

    def load(self, content: dict[str, Any]) -> None:
        """Continue from what `save` wrote."""
        self.step, self.seconds = int(content["step"]), float(content["seconds"])
        best = content["best"]
        self.best = best and {"step": int(best["step"]), "value": float(best["value"])}
        self.validating = bool(content.get("due", False))  # earlier checkpoints were never written within a validation
        self.stale = int(content.get("stale", 0))  # earlier checkpoints have none
        self.peak = int(content.get("peak_memory", 0))  # likewise
        self.components.algo.load_state_dict(content["algo"])
        self.components.optimizer.load_state_dict(content["optim"])
        torch.set_rng_state(content["rng"])
        self.log.load(content["window"], self.components.device)
        if self.rounds:
            self.rounds.found = content["rounds"]
        for step, value in self.directory.validations(self.components.metric):
            self._tell(step, value)
