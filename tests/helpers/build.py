"""Builds what a configuration names, composed by overrides as the command line would compose it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from paths import CONF
from torch import Tensor

from metabench.algo.base import Algorithm
from metabench.backbone.base import Backbone
from metabench.config.build import check, component
from metabench.config.compose import composition
from metabench.config.schema import Config
from metabench.data import glyphs
from metabench.data.base import TaskSource
from metabench.data.build import build_source
from metabench.engine.meta_step import MetaStep
from metabench.engine.plan import Plan, check_engine, make_plan
from metabench.tasks import SplitName, Tasks

ALGOS = sorted(path.stem for path in (CONF / "algo").glob("*.yaml"))
DATA = ("sinusoid", "glyphs")  # the kinds that need no download
REGRESSES = {"joint", "oracle"}  # one function for all tasks, which classes under changing labels do not have
ONLINE = ("sinusoid_online", "glyphs_online")
WHOLE = 1 << 20  # the number of a training task of an online stream that has come whole
GROUPS = {str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_dir()}
CPU = torch.device("cpu")

glyphs.draw_glyphs = cache(glyphs.draw_glyphs)  # a pure function that many tests share


@dataclass
class Setup:
    config: Config
    source: TaskSource
    algo: Algorithm
    optimizer: torch.optim.Optimizer | None  # None where nothing is meta-trained
    dtype: torch.dtype

    @cached_property
    def plan(self) -> Plan:
        check_engine(self.config, CPU)
        return make_plan(self.config, self.algo, self.tasks(count=1))

    @property
    def step(self) -> MetaStep:
        assert self.optimizer is not None
        return MetaStep(self.algo, self.optimizer, self.config.train, self.config.device, self.plan)

    def tasks(self, split: SplitName = "train", index: int = 0, count: int = 3) -> Tasks:
        if split == "train" and self.source.online is not None:
            index += WHOLE
        return self.source.sample(split, index, count).to(self.dtype)

    def train(self, steps: int, start: int = 0) -> list[Tensor]:
        """The losses `[T]` of meta-steps start .. start + steps - 1."""
        size, step = self.config.train.tasks, self.step
        return [step(i, self.tasks("train", i * size, size))["loss"] for i in range(start, start + steps)]

    def gradients(self) -> dict[str, Tensor]:
        return {name: p.grad.clone() for name, p in self.algo.named_parameters() if p.grad is not None}


@cache
def composed(*overrides: str) -> Config:
    """What `compose` gives, with Hydra's share of the work done once for all values under the same choices."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = [o for o in parsed if o.type is OverrideType.CHANGE and o.key_or_group not in GROUPS]
    config = deepcopy(_chosen(*(o.input_line for o in parsed if o not in values)))
    OmegaConf.set_struct(config, True)
    for o in values:
        OmegaConf.update(config, o.key_or_group, o.value(), merge=True)
    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return check(Config, plain)


@cache
def _chosen(*overrides: str) -> DictConfig:
    return composition("device=cpu", "engine=eager", *overrides)[0]


def build(*overrides: str, dtype: torch.dtype = torch.float32) -> Setup:
    config = composed(*overrides)
    source = make_source(config)
    torch.manual_seed(config.seed)
    backbone_class, backbone = component(config.backbone, Backbone, "backbone")
    algo_class, values = component(config.algo, Algorithm, "algo")
    algo = algo_class(source.spec, backbone_class(source.spec.input_shape, **backbone), **values).to(dtype)
    trained = [p for p in algo.parameters() if p.requires_grad]
    optimizer_class, values = component(config.optim, torch.optim.Optimizer, "optim")
    algo.remat = config.remat
    return Setup(config, source, algo, optimizer_class(trained, **values) if trained else None, dtype)


def make_source(config: Config) -> TaskSource:
    return build_source(config.data, config.seed)


@cache
def small(algo: str, data: str, *overrides: str) -> tuple[str, ...]:
    """Overrides that make `algo` on `data` quick: three tasks a meta-step, few examples, a narrow network."""
    sizes = (
        {"shots": 5, "queries": 6}
        if data.startswith(("sinusoid", "gp_curves"))
        else {"ways": 4, "shots": 2, "queries": 1}
    )
    if data.endswith("_sequence"):
        sizes = {"ways": 4, "shots": 3, "queries": 0}
    wanted = {
        "train": {"tasks": 3},
        "data": {
            "characters": 40, "size": 16, **sizes, **{f"train.{name}": n for name, n in sizes.items()},
            "online.rounds": 6,
        },
        "backbone": {"filters": 4, "hidden": "[8,8]"},
        "algo": {
            "inner_steps": 2, "eval_inner_steps": 3, "inner_batch": 4, "eval_inner_batch": 3, "epochs": 20,
            "filters": 4, "hidden": 12, "units": 6, "slots": 6, "width": 5,
            "encoder": "[8,8]", "decoder": "[8]", "latent": 6, "heads": 2, "samples": 3,
            "memory_size": 40, "key_size": 8,
        },
    }  # fmt: skip
    chosen = (f"algo={algo}", f"data={data}", *(o for o in overrides if o.startswith("backbone=")))
    config = composed(*chosen).model_dump()
    fitting = [
        f"{group}.{name}={value}"
        for group, values in wanted.items()
        for name, value in values.items()
        if _fits(config[group].get(name.split(".")[0]), value)
    ]
    return (*chosen, *fitting, *(o for o in overrides if not o.startswith("backbone=")))


def _fits(configured: object, value: object) -> bool:
    """It is there, no network stays none, and a list is for a list: methods have sizes of one name."""
    listed = isinstance(value, str) and value.startswith("[")
    return configured not in (None, []) and isinstance(configured, list) == listed


def pairs() -> list[tuple[str, str]]:
    """Every algorithm with every kind of data that it accepts, and with online streams where it needs one.

    Known from classes: to build all would take every process that collects tests a quarter of a minute.
    """
    return [(algo, data) for algo in ALGOS for data in (ONLINE if needs_stream(algo) else DATA) if accepts(algo, data)]


def accepts(algo: str, data: str) -> bool:
    """True for tasks that it reads; `tests/algo/test_contract.py` holds this to what can be built."""
    if algo == "gp":  # curves of its prior alone
        return False
    return not class_of(algo).classifies if data.startswith("sinusoid") else algo not in REGRESSES


@cache
def class_of(algo: str) -> type[Algorithm]:
    """The class that its file names; nothing is composed."""
    return get_class(OmegaConf.load(CONF / f"algo/{algo}.yaml")["_target_"])


def needs_stream(algo: str) -> bool:
    """Whether it is for tasks that come one after the other."""
    return class_of(algo).settings == ("online",)
