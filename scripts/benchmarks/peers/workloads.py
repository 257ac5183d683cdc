"""The work that is compared. Plain data: the parent and every worker read it, with or without torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

OUTER_LR = 1e-3  # of Adam, everywhere
BATCHES = 4  # different batches that repetitions go round

# Two values that do not enter into the amount of work, chosen so that a float32 gradient can be judged. At initial
# weights a normalised value is often so near to a ReLU's kink that float32 and float64 take different sides, and after
# a few inner steps one such ReLU changes the gradient by up to a tenth (20-way, 5 steps of the published size, which is
# 2.0 of the mean loss): in every library alike, right or wrong. So shifts begin at 3 standard deviations, where kinks
# are rare, and inner steps are short enough for such features. Right gradients then agree to better than 1e-4, and one
# without its second-order part is off by more than half.
SHIFT = 3.0
CONV_INNER_LR = 0.02

Kind = Literal["maml", "protonet", "sampling", "start", "lstm", "dnc", "cnp"]
NAMES: dict[Kind, str] = {  # what a contestant needs for a kind of work
    "maml": "MAML",
    "protonet": "prototypical network",
    "sampling": "loader of its own",
    "start": "MAML",
    "lstm": "LSTM",
    "dnc": "differentiable neural computer",
    "cnp": "conditional neural process",
}
MAML: tuple[Kind, ...] = ("maml", "start")
PEERS: dict[str, tuple[Kind, ...]] = {  # the peers, and what each has
    "learn2learn": (*MAML, "protonet", "sampling"),
    "higher": MAML,
    "torchopt": MAML,
    "torchmeta": (*MAML, "protonet", "sampling"),
    "parallel-metalearn": (*MAML, "protonet", "sampling"),
    "jax": (*MAML, "protonet"),
    "torch": ("lstm", "cnp"),
    "dnc": ("dnc",),
    "neuralprocesses": ("cnp",),
}


@dataclass(frozen=True)
class Workload:
    """What every contestant does."""

    key: str
    title: str
    kind: Kind
    overrides: tuple[str, ...]  # of metabench's configuration, data and sizes apart
    data: str = "{images}"  # metabench's name of it; {images} is omniglot or glyphs
    sizes: dict[str, Any] = field(default_factory=dict)  # of a network, by metabench's keys of `algo`
    ways: int = 1
    queries: int = 10  # of a class; of a task in a regression
    tasks: int = 25
    inner_steps: int = 1
    inner_lr: float = 0.01

    @property
    def regression(self) -> bool:
        return self.data == "sinusoid"

    def configuration(self, images: str) -> tuple[str, ...]:
        """All overrides of metabench's configuration; `images` are omniglot or glyphs."""
        sizes = (f"algo.{name}={size}" for name, size in self.sizes.items())
        return (f"data={self.data.format(images=images)}", *self.overrides, *sizes)


def _maml(key: str, title: str, *, ways: int, queries: int, tasks: int, inner_steps: int) -> Workload:
    overrides = (
        "algo=maml",
        f"data.ways={ways}",
        "data.shots=1",
        f"data.queries={queries}",
        f"train.tasks={tasks}",
        f"algo.inner_steps={inner_steps}",
        f"algo.inner_lr={CONV_INNER_LR}",
    )
    return Workload(
        key, title, "maml", overrides,
        ways=ways, queries=queries, tasks=tasks, inner_steps=inner_steps, inner_lr=CONV_INNER_LR,
    )  # fmt: skip


def _sinusoid(key: str, title: str, inner_steps: int) -> Workload:
    overrides = ("algo=maml", "train.tasks=25", f"algo.inner_steps={inner_steps}")
    return Workload(key, title, "maml", overrides, data="sinusoid", inner_steps=inner_steps)


def _stream(key: Kind, title: str, **sizes: int) -> Workload:
    """A network that reads pixels. Gradients are not clipped, so that Adam is given them as they are."""
    overrides = (f"algo={key}", "backbone=mlp_pixels", "train.tasks=16", "train.clip=null")
    return Workload(key, title, key, overrides, data="{images}_sequence", sizes=sizes, ways=5, tasks=16)


_SINUSOID = _sinusoid("sinusoid1", "MAML sinusoid, MLP 40-40, 10 + 10 points, 1 inner step, 25 tasks", 1)

WORKLOADS = {
    w.key: w
    for w in (
        _maml(
            "omniglot5",
            "MAML Omniglot 5-way 1-shot as published: strided conv4-64, 1 query a class, 1 inner step, 32 tasks",
            ways=5, queries=1, tasks=32, inner_steps=1,
        ),
        _maml(
            "omniglot5q15",
            "MAML Omniglot 5-way 1-shot, 15 queries a class, 5 inner steps, 32 tasks",
            ways=5, queries=15, tasks=32, inner_steps=5,
        ),
        _maml(
            "omniglot20",
            "MAML Omniglot 20-way 1-shot, 1 query a class, 5 inner steps, 16 tasks",
            ways=20, queries=1, tasks=16, inner_steps=5,
        ),
        _SINUSOID,
        _sinusoid("sinusoid5", "MAML sinusoid, MLP 40-40, 10 + 10 points, 5 inner steps, 25 tasks", 5),
        Workload(
            "protonet60",
            "ProtoNet Omniglot 60-way 1-shot 5-query, max-pooled conv4-64, 1 task",
            "protonet",
            ("algo=protonet", "data.train.ways=60", "data.train.shots=1", "data.train.queries=5", "train.tasks=1"),
            ways=60, queries=5, tasks=1, inner_steps=0,
        ),
        Workload(
            "sampling",
            "Sampling: one batch of 32 Omniglot episodes, 5-way 1-shot 15-query, ready for the step",
            "sampling",
            ("algo=maml", "data.ways=5", "data.shots=1", "data.queries=15", "train.tasks=32"),
            ways=5, queries=15, tasks=32,
        ),
        replace(
            _SINUSOID,
            key="start",
            title="Cold start: from launching the process to the end of the first meta-step of sinusoid MAML",
            kind="start",
            overrides=(*_SINUSOID.overrides, "train.steps=1"),  # a long run would first wait for the compiler
        ),
        _stream("lstm", "LSTM on 16 Omniglot streams, 50 drawings of 5 classes, 20x20 pixels, 200 units", units=200),
        _stream(
            "dnc",
            "DNC on 16 such streams, controller of 200 units, 64 rows of 40 numbers, 4 read heads",
            units=200, slots=64, width=40, heads=4,
        ),
        Workload(
            "cnp",
            "CNP sinusoid, encoder 128-128-128-128, decoder 128-128, 10 context points of 20 targets, 64 tasks",
            "cnp",
            ("algo=cnp", "train.tasks=64", "algo.min_context=null"),  # the context is the support set
            data="sinusoid", sizes={"encoder": [128] * 4, "decoder": [128] * 2}, tasks=64,
        ),
    )
}  # fmt: skip
