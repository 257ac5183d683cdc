"""The components of a run: task source, model, optimizer and plan, built from a checked configuration."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from metabench.algo.base import Algorithm
from metabench.axis import INNER_STEPS
from metabench.backbone.base import Backbone
from metabench.config.build import component
from metabench.config.schema import Config
from metabench.config.types import Node
from metabench.data.base import TaskSource
from metabench.data.build import build_source
from metabench.data.loader import TaskLoader
from metabench.data.online import Online
from metabench.engine.device import open_device
from metabench.engine.meta_step import MetaStep
from metabench.engine.plan import Plan, check_engine, make_plan, pick_chunk
from metabench.errors import ConfigError, MissingDataError, UserError, last_line
from metabench.evaluation.evaluate import evaluate
from metabench.evaluation.protocol import protocol_card
from metabench.runs.inputs import find_inputs, load_init
from metabench.runs.reader import RunReader
from metabench.runs.run_dir import UNFIT
from metabench.tasks import Metrics, TaskSpec
from metabench.utils.console import Display
from metabench.utils.distributed import SINGLE, Distributed
from metabench.utils.dynamo import skip_dynamo_import
from metabench.utils.files import DamagedError
from metabench.utils.oom import oom_advice
from metabench.utils.paths import expanded

BASES: dict[str, type] = {
    "data": TaskSource, "backbone": Backbone, "algo": Algorithm, "optim": torch.optim.Optimizer
}  # fmt: skip


def find_components(config: Config) -> dict[str, tuple[type[Any], Node]]:
    """The class of each component and its checked arguments, by key; nothing is constructed."""
    return {key: component(getattr(config, key), base, key) for key, base in BASES.items()}


def run_inputs(config: Config, components: dict[str, tuple[type[Any], Node]]) -> dict[str, Any]:
    """The inputs of a run beside its configuration, part of its id."""
    source, arguments = components["data"]
    return find_inputs(config.init, (cls for cls, _ in components.values()), source.named(**arguments))


def data_card(config: Config) -> dict[str, Any] | None:
    """The facts of the data at hand; None where it is not here. Raises `DataError` for data that is damaged."""
    try:
        return build_source(config.data, config.seed).card()
    except MissingDataError:
        return None


class Components:
    """The parts of a run, built from a checked configuration; what is missing of its data is known with its card."""

    def __init__(self, config: Config, display: Display, ranks: Distributed = SINGLE) -> None:
        self.config, self.display, self.ranks = config, display, ranks
        made = find_components(config)
        (make_source, source_args), (make_backbone, backbone_args) = made["data"], made["backbone"]
        (make_algo, algo_args), (make_optim, optim_args) = made["algo"], made["optim"]
        skip_dynamo_import()
        self.device = open_device(config.device)
        torch.manual_seed(config.seed)
        self.source: TaskSource = make_source(config.seed, self.device, **source_args)
        spec = self._as_trained(self.source.spec)
        backbone = make_backbone(spec.input_shape, **backbone_args)
        self.algo: Algorithm = make_algo(spec, backbone, **algo_args).to(self.device)
        self.init: dict[str, Any] | None = None  # the checkpoint that the run begins with
        if config.init is not None:
            self._start_from(expanded(config.init))
        self.parameters = [p for p in self.algo.parameters() if p.requires_grad]
        # A baseline with nothing to meta-train goes straight to the test.
        self.steps = config.train.steps if self.parameters else 0
        self.optimizer = make_optim(self.parameters or [torch.zeros(1)], **optim_args)
        self.algo.remat = config.remat
        check_engine(config, self.device)
        if config.train.tasks < ranks.size:
            raise ConfigError("train.tasks", config.train.tasks, f"every one of {ranks.size} ranks needs a task")
        if self.algo.coupled:
            self._refuse_chunks()
        if (config.test.inductive_queries or 0) > spec.eval.queries:
            valid = f"at most {spec.eval.queries}, data.queries"
            raise ConfigError("test.inductive_queries", config.test.inductive_queries, valid)
        if self.source.online is not None:
            self._check_online(self.source.online)
        self.loader = TaskLoader(self.source, config.train.tasks, self.steps, ranks)
        self.metric = self.algo.objective.metric_name

    def _as_trained(self, spec: TaskSpec) -> TaskSpec:
        """`spec`; where a trained model is only tested, with the number of classes that it was trained on."""
        if self.config.init is None or self.config.train.steps:
            return spec
        try:
            trained = build_source(RunReader(expanded(self.config.init)).config["data"], self.config.seed)
        except (UserError, DamagedError):  # the folder holds a checkpoint alone, or the data is not at hand
            return spec
        return replace(spec, num_classes=trained.spec.num_classes)

    def _start_from(self, run: Path) -> None:
        weights, self.init = load_init(run)
        try:
            self.algo.load_state_dict(weights)
        except UNFIT as fault:
            raise ConfigError("init", run, f"does not fit this model: {last_line(fault)}") from None
        if not all(bool(value.isfinite().all()) for value in self.algo.state_dict().values()):
            raise ConfigError("init", run, "holds a weight that is not finite")

    def _check_online(self, online: Online) -> None:
        """Raise `ConfigError` for a stream whose tasks arrive at other meta-steps than those of this training."""
        if self.config.validation.early_stopping is not None:
            valid = "null: online streams have no validation"
            raise ConfigError("validate.early_stopping", self.config.validation.early_stopping, valid)
        for key, value, wanted in (
            ("steps", online.steps, self.config.train.steps),
            ("tasks", online.tasks, self.config.train.tasks),
        ):
            if self.steps and value != wanted:
                valid = f"should be train.{key}, {wanted}: what has arrived goes by the meta-steps of the training"
                raise ConfigError(f"data.online.{key}", value, valid)

    def _refuse_chunks(self) -> None:
        if isinstance(self.config.chunk, int) and self.config.chunk < self.config.train.tasks:
            raise ConfigError("chunk", self.config.chunk, f"auto: {self.algo.coupled}")
        if self.ranks.size > 1:
            raise ConfigError("device", "ddp", f"cpu, cuda or auto: {self.algo.coupled}")

    @cached_property
    def card(self) -> dict[str, Any]:
        """The protocol card, which names the data by content."""
        return protocol_card(self.config, self.source, self.algo, self.init)

    @property
    def columns(self) -> range:
        """The numbers of the figures that a test has of each task, inner steps or instances; the last is the result."""
        axis = self.algo.axis
        last = getattr(self.algo, "eval_inner_steps", 0) if axis is INNER_STEPS else self.source.spec.eval.shots
        return range(axis.first, last + 1)

    @cached_property
    def plan(self) -> Plan:
        """The plan of meta-steps, found by running the model on one training task; this process has its threads."""
        with oom_advice(1):
            plan = make_plan(self.config, self.algo, self.source.sample("train", 0, 1))
        if plan.threads is not None:
            torch.set_num_threads(plan.threads)
        return plan

    @cached_property
    def meta_step(self) -> MetaStep:
        """The meta-step of that plan."""
        return MetaStep(self.algo, self.optimizer, self.config.train, self.config.device, self.plan, self.ranks)

    def engine(self) -> dict[str, Any]:
        """The engine and chunk of the meta-steps, for the record; empty where there were none."""
        return {"engine": self.plan.engine, "chunk": self.plan.chunk} if self.steps else {}

    @cached_property
    def batch(self) -> int:
        """Tasks evaluated at once: what fits the memory."""
        probe = self.source.sample("validation", 0, 1)
        batch = min(64, pick_chunk(self.config.chunk, self.algo.eval(), probe))
        return -self.ranks.all_max(-batch)  # one size for all ranks, also where memories differ

    def evaluate(self, split: Any, episodes: int, source: TaskSource | None = None, **options: Any) -> Metrics:
        """`evaluate`, in such batches."""
        source, batch = source or self.source, self.batch
        with oom_advice(batch):
            return evaluate(self.algo, source, split, episodes, batch=batch, ranks=self.ranks, **options)
