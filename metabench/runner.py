"""One run: meta-train, validate, checkpoint, meta-test. Reads top to bottom.

The path of a batch: `Feed` (`source.sample`) → `MetaStep` → `algo(tasks)` → `Window` → metrics.jsonl.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metabench.algo.base import Algorithm
from metabench.axis import INNER_STEPS
from metabench.backbone.base import Backbone
from metabench.board import Board, require_tensorboard
from metabench.cell import cell_line
from metabench.config import Config, component
from metabench.console import Display, Phase, card_table, figure, result_table
from metabench.device import open_device
from metabench.engine.plan import Plan, check_engine, make_plan, pick_chunk
from metabench.errors import ConfigError, DataError, UserError, last_line
from metabench.evaluate import FORMULA, evaluate, summarise
from metabench.feed import Feed
from metabench.files import DamagedError
from metabench.online import Arrived, Rounds
from metabench.protocol import environment, protocol_card
from metabench.ranks import ALONE, Ranks, open_ranks
from metabench.records import RunDirectory, load_best
from metabench.shortage import advised
from metabench.start import spare_dynamo
from metabench.step import MetaStep
from metabench.stop import Left, Stop, Stopped
from metabench.tasks import Metrics, TaskSource
from metabench.window import NonFiniteError, Window

UNFIT = (AttributeError, KeyError, RuntimeError, TypeError, ValueError)  # raised by a state that is not this model's


class Run:
    """The parts of a run, built from a checked configuration; what is missing of its data is known with its card."""

    def __init__(self, config: Config, display: Display, ranks: Ranks = ALONE) -> None:
        self.config, self.display, self.ranks = config, display, ranks
        if config.log.tensorboard:
            require_tensorboard()
        make_source, source_args = component(config.data, TaskSource, "data")
        make_backbone, backbone_args = component(config.backbone, Backbone, "backbone")
        make_algo, algo_args = component(config.algo, Algorithm, "algo")
        make_optim, optim_args = component(config.optim, torch.optim.Optimizer, "optim")
        spare_dynamo()
        self.device = open_device(config.device)
        torch.manual_seed(config.seed)
        self.source: TaskSource = make_source(config.seed, self.device, **source_args)
        spec = self.source.spec
        backbone = make_backbone(spec.input_shape, **backbone_args)
        self.algo: Algorithm = make_algo(spec, backbone, **algo_args).to(self.device)
        if config.init is not None:
            self._start_from(Path(config.init).expanduser())
        self.parameters = [p for p in self.algo.parameters() if p.requires_grad]
        # A baseline with nothing to meta-train goes straight to the test.
        self.steps = config.train.steps if self.parameters else 0
        self.optimizer = make_optim(self.parameters or [torch.zeros(1)], **optim_args)
        self.algo.remat = config.remat
        check_engine(config, self.device)
        if config.train.tasks < ranks.size:
            raise ConfigError("train.tasks", config.train.tasks, f"every one of {ranks.size} ranks needs a task")
        self.feed = Feed(self.source, config.train.tasks, self.steps, ranks)
        self.metric = self.algo.objective.metric_name
        self.rounds = Rounds(self.source, self.algo.objective, self.steps) if self.source.online else None
        self.step = 0
        self.seconds = 0.0
        self.due = False  # the validation of this meta-step was interrupted
        self.best: dict[str, Any] | None = None
        self.window = Window()
        self.board: Board | None = None

    def _start_from(self, run: Path) -> None:
        try:
            self.algo.load_state_dict(load_best(run)["algo"])
        except DamagedError as fault:
            raise ConfigError("init", run, f"has no intact best checkpoint: {fault}") from None
        except UNFIT as fault:
            raise ConfigError("init", run, f"does not fit this model: {last_line(fault)}") from None
        if not all(bool(value.isfinite().all()) for value in self.algo.state_dict().values()):
            raise ConfigError("init", run, "holds a weight that is not finite")

    @cached_property
    def card(self) -> dict[str, Any]:
        """The protocol card, which names the data by content."""
        return protocol_card(self.config, self.source, self.algo)

    @property
    def columns(self) -> range:
        """The numbers of the figures that a test has of each task, inner steps or instances; the last is the result."""
        axis = self.algo.axis
        last = getattr(self.algo, "eval_inner_steps", 0) if axis is INNER_STEPS else self.source.spec.eval.shots
        return range(axis.first, last + 1)

    @cached_property
    def plan(self) -> Plan:
        """How meta-steps are computed; found by running the model on one training task."""
        with advised(1):
            return make_plan(self.config, self.algo, self.source.sample("train", 0, 1))

    @cached_property
    def meta_step(self) -> MetaStep:
        """The meta-step of that plan."""
        if self.plan.threads is not None:
            torch.set_num_threads(self.plan.threads)
        return MetaStep(self.algo, self.optimizer, self.config.train, self.config.device, self.plan, self.ranks)

    def engine(self) -> dict[str, Any]:
        """What computed the meta-steps, for the record; nothing where there were none."""
        return {"engine": self.plan.engine, "chunk": self.plan.chunk} if self.steps else {}

    # ---- meta-training

    def train(self, directory: RunDirectory, stop: Stop) -> None:
        """Meta-steps from where the run stands to the end, or until asked to stop."""
        config = self.config
        chunk = 1
        if self.step < self.steps:
            self.display.say(self.plan.describe())
            chunk = self.plan.chunk
        if self.step == 0:
            self.meet(directory)
        began = time.monotonic() - self.seconds
        with self.display.phase("meta-training", self.steps, self.step) as phase, advised(chunk):
            while self.due or self.step < self.steps:
                if not self.due:
                    self.window.add(self.meta_step(self.step, self.feed(self.step)))
                    self.step += 1
                    stop.hold()
                    stop.listen()
                    self.seconds = time.monotonic() - began
                last = self.step == self.steps
                if not self.due and (last or self.step % config.log.every == 0):
                    self.log(directory, phase)
                if self.rounds:
                    self.meet(directory)
                elif last or self.step % config.validation.every == 0:
                    self.validate(directory, stop)
                if last or self.step % config.checkpoint.every == 0 or stop.asked:
                    self.save(directory)
                stop.check()
                if not phase.display.live or self.step % 5 == 0:
                    phase.update(self.step)
        stop.release()

    def log(self, directory: RunDirectory, phase: Phase) -> None:
        """The means since the last line. Only lines, validations and checkpoints wait for the device."""
        means = self.window.close(self.step)
        lr = float(self.optimizer.param_groups[0]["lr"])
        figures = {**means, "lr": lr, "seconds": round(self.seconds, 3)}
        self.record(directory, {"step": self.step, "split": "train", **figures})
        best = f"  best validation {figure(self.metric, self.best['value'])}" if self.best else ""
        now = f"loss {means['loss']:.4f}  {self.metric} {figure(self.metric, means[self.metric])}"
        phase.update(self.step, f"{now}{best}  {phase.rate * self.config.train.tasks:.0f} tasks/s")

    def validate(self, directory: RunDirectory, stop: Stop) -> None:
        """Estimate the metric on validation tasks; keep the best weights. A run that is stopped in it repeats it."""
        self.check_finite()
        self.due, before = True, torch.get_rng_state()

        def tick(done: int) -> None:
            stop.listen()
            if stop.asked:
                self.save(directory, before)
                stop.check()

        found = self.evaluate("validation", self.config.validation.episodes, tick=tick)
        self.due = False
        result = summarise(found[self.metric], self.algo.axis)
        loss = found["loss"][:, -1].double().mean().item()
        figures = {self.metric: result["mean"], "ci95": result["ci95"], "loss": loss}
        self.record(directory, {"step": self.step, "split": "validation", **figures})
        keep = self.config.validation.select == "last"
        if keep or self.best is None or self.algo.objective.better(result["mean"], self.best["value"]):
            self.best = {"step": self.step, "value": result["mean"]}
            directory.save_best({"algo": self.algo.state_dict(), **self.best})

    def meet(self, directory: RunDirectory) -> None:
        """Judge the learner, as it stands, on what of an online stream has come by now; keep the last weights."""
        due = self.rounds.due(self.step) if self.rounds else []
        if not (self.rounds and due):
            return
        self.check_finite()
        for part in due:
            found = self.evaluate("test", part.tasks, source=Arrived(self.source, part.first, part.shots))
            for line in self.rounds.judge(part, found):
                self.record(directory, {"step": self.step, "split": "online", **line})
        if self.step == self.steps > 0:
            self.best = {"step": self.step, "value": summarise(self.rounds.found, self.algo.axis)["mean"]}
            directory.save_best({"algo": self.algo.state_dict(), **self.best})

    def record(self, directory: RunDirectory, line: dict[str, Any]) -> None:
        """Write a line of metrics, to TensorBoard too if that was asked for."""
        directory.append(line)
        if self.config.log.tensorboard and self.ranks.rank == 0:
            self.board = self.board or Board(directory.path / "tensorboard", self.step)
            self.board.add(line)

    @cached_property
    def batch(self) -> int:
        """Tasks evaluated at once: what fits the memory."""
        probe = self.source.sample("validation", 0, 1)
        batch = min(64, pick_chunk(self.config.chunk, self.algo.eval(), probe))
        return -self.ranks.most(-batch)  # one size for all ranks, also where memories differ

    def evaluate(self, split: Any, episodes: int, source: TaskSource | None = None, **options: Any) -> Metrics:
        """`evaluate`, in such batches."""
        source, batch = source or self.source, self.batch
        with advised(batch):
            return evaluate(self.algo, source, split, episodes, batch=batch, ranks=self.ranks, **options)

    # ---- where a stopped run continues

    def save(self, directory: RunDirectory, rng: Tensor | None = None) -> None:
        """Write all that the next meta-step depends on, if it is finite; `rng` where torch's own is no longer it."""
        self.check_finite()
        directory.save(
            {
                "step": self.step,
                "seconds": self.seconds,
                "due": self.due,
                "best": self.best,
                "algo": self.algo.state_dict(),
                "optim": self.optimizer.state_dict(),
                "rng": torch.get_rng_state() if rng is None else rng,
                "window": self.window.stacked(),
                **({"rounds": self.rounds.found} if self.rounds else {}),
            }
        )

    def check_finite(self) -> None:
        """Raise `NonFiniteError` if a loss, a weight or a moment no longer is: what is written and chosen is."""
        self.window.check(self.step)
        moments = (value for state in self.optimizer.state.values() for value in state.values())
        for what, values in (("a weight", self.algo.state_dict().values()), ("a moment of the optimiser", moments)):
            if not all(bool(value.isfinite().all()) for value in values if isinstance(value, Tensor)):
                raise NonFiniteError(f"{what} is not finite after meta-step {self.step}")

    def load(self, content: dict[str, Any]) -> None:
        """Take up what `save` wrote."""
        self.step, self.seconds = int(content["step"]), float(content["seconds"])
        best = content["best"]
        self.best = best and {"step": int(best["step"]), "value": float(best["value"])}
        self.due = bool(content.get("due", False))  # earlier checkpoints were never written within a validation
        self.algo.load_state_dict(content["algo"])
        self.optimizer.load_state_dict(content["optim"])
        torch.set_rng_state(content["rng"])
        self.window = Window(content["window"])
        if self.rounds:
            self.rounds.found = content["rounds"]

    # ---- meta-test

    def test(self, directory: RunDirectory, stop: Stop) -> dict[str, Any]:
        """The chosen checkpoint on the test tasks, in every mode of prediction the model has.

        Online those were met in training, in the natural mode; here the last weights are tested in hindsight.
        """
        if self.steps:
            best = directory.best()["algo"]
            with _fitting(directory.path / "checkpoints" / "best.pt"):
                self.algo.load_state_dict(best)
        modes = self.algo.modes[:1] if self.rounds else self.algo.modes
        episodes = self.source.test_episodes(self.config.test.episodes)
        results, finals = {}, {}
        online: dict[str, Any] = {}
        began = time.monotonic()
        with self.display.phase("meta-test", episodes * len(modes)) as phase:
            for i, mode in enumerate(modes):

                def tick(done: int, before: int = i * episodes) -> None:
                    phase.update(before + done)
                    stop.listen()
                    stop.check()  # should something have swallowed what the handler raised

                found = self.evaluate("test", episodes, mode=mode, tick=tick)
                figures = found[self.metric]
                if self.rounds:
                    outcome, figures = self.rounds.outcome(figures[:, -1]), self.rounds.found
                    for line in self.rounds.in_hindsight(outcome):
                        self.record(directory, {"step": self.step, "split": "hindsight", **line})
                    online = {"online": outcome}
                results[mode] = summarise(figures, self.algo.axis)
                finals[mode] = figures[:, -1].tolist()
        directory.save_episodes(self.metric, finals)
        natural = results[modes[0]]
        return {
            "metric": self.metric,
            **natural,
            "seconds": round(time.monotonic() - began, 3),
            "prediction": modes[0],
            "interval": FORMULA,
            "modes": {mode: {k: r[k] for k in ("mean", "ci95", "episodes")} for mode, r in results.items()},
            **online,
        }


@dataclass(frozen=True)
class Ticket:
    """What names a run: its directory and identity, the configuration as it is written there, its cell of a table."""

    path: Path
    identity: str
    config_yaml: str
    cell: dict[str, Any]  # as `metabench.cell.cell` says it
    command: Sequence[str]  # what a person gives the program for it


def run(config: Config, ticket: Ticket, display: Display) -> dict[str, Any]:
    """Run `config` in the ticket's directory, or continue, or show what is finished; returns the summary."""
    with open_ranks(config.device) as ranks:
        return _run(config, ticket, display, ranks)


def _run(config: Config, ticket: Ticket, display: Display, ranks: Ranks) -> dict[str, Any]:
    path, cell = ticket.path, ticket.cell
    directory = ranks.share_directory(RunDirectory(path, ticket.identity))
    directory.check()
    summary = directory.summary() if config.resume else None
    if summary is not None:
        if cell["experiment"] and not summary.get("experiment"):  # it was run by plain overrides before
            summary |= cell
            with directory:
                directory.finish(summary)
        display.say(f"{path}: finished before; resume=false runs it again")
        with _fitting(path / "summary.json"):
            display.console.print(result_table(summary))
        return summary
    directory.check_free()
    with advised(0):
        job = ranks.each(lambda: Run(config, display, ranks))
        card = ranks.each(lambda: card_table(job.card))  # reads the data: nothing is written where that fails
    with Stop(ranks.most if ranks.size > 1 else None) as stop, directory:
        if not config.resume:
            directory.clear()
        where = environment(job.device, ticket.command, ranks)
        directory.begin(ticket.config_yaml, where)
        display.say(f"run {path}")
        if line := cell_line(cell):
            display.say(line)
        display.say(
            f"metabench {where['metabench']} ({where['git'] or 'no git'}), torch {torch.__version__}, {where['device']}"
        )
        if ranks.size > 1:
            display.say(f"{ranks.size} ranks share the {config.train.tasks} tasks of a meta-step")
        display.console.print(card)
        try:
            checkpoint, warnings = directory.resume()
            then = "it begins anew" if checkpoint is None else "the checkpoint before it is used"
            for warning in warnings:
                display.say(f"warning: {warning}; {then}")
            if checkpoint is not None:
                with _fitting(path / "checkpoints"):
                    job.load(checkpoint)
                display.say(f"continuing at meta-step {job.step} of {job.steps}")
            job.train(directory, stop)
            test = job.test(directory, stop)
            summary = {
                "status": "complete",
                "identity": ticket.identity,
                **cell,
                "protocol": job.card,
                "test": test,
                "selected": job.best,
                "train": {"steps": job.step, "seconds": round(job.seconds, 3), **job.engine()},
                "environment": where,
            }
            if config.log.pictures and ranks.rank == 0:
                _draw(directory, job, test)
            stop.hold()  # what is finished is not stopped
            directory.finish(summary)
        except BaseException as fault:
            with suppress(UserError):  # where the disk is full the fault itself is what is to be said
                directory.status(*_ending(fault))
            raise
        display.console.print(result_table(summary))
        display.say(f"written to {path}")
        return summary


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """Within it what is read from `path` may turn out not to be what a run wrote: a `DataError`."""
    try:
        yield
    except UNFIT as fault:
        reason = f"{type(fault).__name__}: {last_line(fault)}"
        raise DataError(f"{path}: not what this run wrote ({reason}); resume=false runs it anew") from None


def _ending(fault: BaseException) -> tuple[str, str]:
    if isinstance(fault, (Stopped, Left, UserError)):
        return fault.status, str(fault)
    return "failed", f"{type(fault).__name__}: {fault}"


def _draw(directory: RunDirectory, job: Run, test: dict[str, Any]) -> None:
    from metabench.pictures import draw_run
    from metabench.pictures.rounds import beside

    folder = directory.path / "pictures"
    folder.mkdir(exist_ok=True)
    try:
        others = beside(directory.path, job.card["hash"]) if job.rounds else {}
        draw_run(folder, job.algo, job.source, directory.records(), test, others)
    except Exception as fault:  # a picture is never worth a finished run
        job.display.say(f"warning: pictures: {type(fault).__name__}: {fault}")
