"""Baseline (Chen, Liu, Kira, Wang, Huang, ICLR 2019, arXiv 1904.04232): no meta-learning.

Training: a softmax over all training classes. At test the network is fixed and a new linear head is fitted to the
support set by SGD with momentum μ, dampening τ and weight decay δ:

    g = ∇ L_batch(w) + δ w,   v ← μ v + (1 - τ) g  (at first v = g),   w ← w - α v

over `epochs` passes in mini-batches of `batch`. Each pass has its own order, the same for all tasks. With one order for
all passes, the same few examples would always form the last mini-batch and have more weight. The support set itself is
in random order.

The head is sampled per task, uniformly in ±1/√F for F features (torch's default for a linear layer), as in the authors'
code; the row of a class depends on the examples of that class alone. Starting from `zero` is more accurate: these few
small steps do not remove the initial noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypedDict, Unpack

import torch

from metabench.algo.fast_weights import Weights
from metabench.algo.pretrain import Pretrain
from metabench.backbone.base import Backbone
from metabench.config.types import Count, NonNegative, Positive, Share
from metabench.objective import one_hot
from metabench.rng import NOISE, content_keys, uniform
from metabench.tasks import Examples, TaskSpec


class Finetune(TypedDict):
    """Hyperparameters of training a task's head."""

    inner_lr: Positive
    momentum: Share
    dampening: Share
    weight_decay: NonNegative
    batch: Count
    epochs: Count


class Baseline(Pretrain, rowwise=True):
    """Joint training, then a linear head on fixed features."""

    classifies = True
    settings = ("few_shot",)  # its epochs need a support set of fixed size
    uneven_support = False

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        new_head: Literal["drawn", "zero"],
        **finetune: Unpack[Finetune],
    ) -> None:
        size, epochs, batch = spec.eval.outputs * spec.eval.shots, finetune["epochs"], finetune["batch"]
        chance = torch.Generator().manual_seed(0)
        orders = [torch.randperm(size, generator=chance) for _ in range(epochs)]
        super().__init__(
            spec,
            backbone,
            inner_lr=finetune["inner_lr"],
            eval_inner_steps=epochs * math.ceil(size / batch),
            adapt_norm=False,
            finetune="head",
        )
        self.new_head, self.batch = new_head, batch
        self.momentum, self.dampening = finetune["momentum"], finetune["dampening"]
        self.weight_decay = finetune["weight_decay"]
        self.orders: torch.Tensor
        self.register_buffer("orders", torch.stack(orders), persistent=False)

    def drawn_head(self, support: Examples, dtype: torch.dtype) -> Weights:
        """A new linear layer per task, each row a function of the examples of its class."""
        outputs, features = self.network.head.get_parameter("weight").shape
        keys = (content_keys(support.x).unsqueeze(-1) * one_hot(support.y, outputs, torch.int64)).sum(1)
        u = uniform(keys.flatten(), NOISE, features + 1).unflatten(0, keys.shape)
        drawn = ((2 * u - 1) / math.sqrt(features)).to(dtype)
        return {"weight": drawn[..., :-1], "bias": drawn[..., -1]}

    def trajectory(self, support: Examples) -> Iterator[Weights]:
        """The head before the first and after each mini-batch."""
        z, y = self.embed(support.x), support.y
        fast = self.initial(z, y) if self.new_head == "zero" else self.drawn_head(support, z.dtype)
        velocity: Weights = {}
        yield fast
        parts = [part for order in self.orders for part in order.split(self.batch)]
        for part in parts[: self.steps]:
            gradient = self.gradient(fast, z[:, part], y[:, part])
            gradient = {name: g.add(fast[name], alpha=self.weight_decay) for name, g in gradient.items()}
            velocity = {
                name: torch.add(self.momentum * velocity[name], g, alpha=1 - self.dampening) if velocity else g
                for name, g in gradient.items()
            }
            fast = self.descend(fast, velocity)
            yield fast
