"""The meta-learner LSTM (Ravi, Larochelle, ICLR 2017, "Optimization as a model for few-shot learning").

The weights of the learner are the cell state of an LSTM, one cell per coordinate with shared parameters:

    h_t = LSTM(readable(∇_t), readable(L_t))      an ordinary LSTM, 20 units; ∇_t and L_t those of the support set
    f̂_t = W_F [h_t, θ_{t-1}, f̂_{t-1}] + b_F       gates are fed back before the sigmoid, as in the authors' code
    î_t = W_I [h_t, θ_{t-1}, î_{t-1}] + b_I
    θ_t = σ(f̂_t) ∘ θ_{t-1} - σ(î_t) ∘ ∇_t         θ_0 is learned

In the paper the outer loop treats the learner's gradient as a constant (`first_order`). Otherwise it differentiates
through ∇_t in the last line, as MAML does; the inputs of the networks stay constants.

`start=published`: all weights U(±0.01), b_F ~ U(4, 5), b_I ~ U(-5, -4), so that training starts near gradient descent,
with θ shrinking by 1% per step (the authors' code divides the mean gradient by N once more). `start=sgd`: W_F = W_I =
0, σ(b_I) = `inner_lr`, b_F = 4.5, and the forget gate is 1 + σ(f̂_t) - σ(4.5), so that training starts at gradient
descent with step `inner_lr` exactly.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from metabench.algo.fast_weights import InnerLoop
from metabench.algo.learned_rule import LearnedRule, readable
from metabench.backbone.base import Backbone
from metabench.config.types import Count
from metabench.tasks import TaskSpec

FORGET_BIAS, INPUT_BIAS, WIDTH = 4.5, -4.5, 0.5  # the published intervals: middles and half-width


class Kept(NamedTuple):
    """State per coordinate: h and c of the LSTM, `[T·P, H]`, and both gates before the sigmoid, `[T·P, 1]`."""

    h: Tensor
    c: Tensor
    forget: Tensor
    enter: Tensor


class MetaLSTM(LearnedRule, rowwise=True):
    """A learned initialisation, and learned gates that scale the weights and their gradient."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        start: Literal["sgd", "published"],
        first_order: bool,
        inner_lr: Annotated[float, Field(gt=0, lt=1)],
        hidden: Count,
        **loop: Unpack[InnerLoop],
    ) -> None:
        super().__init__(spec, backbone, **loop)
        self.first_order = first_order
        self.lstm = nn.LSTMCell(4, hidden)
        self.forget, self.enter = nn.Linear(hidden + 2, 1), nn.Linear(hidden + 2, 1)
        for p in (*self.lstm.parameters(), self.forget.weight, self.enter.weight):
            nn.init.uniform_(p, -0.01, 0.01)
        if start == "sgd":
            for gate, bias in ((self.forget, FORGET_BIAS), (self.enter, math.log(inner_lr / (1 - inner_lr)))):
                nn.init.zeros_(gate.weight)
                nn.init.constant_(gate.bias, bias)
        else:
            for gate, bias in ((self.forget, FORGET_BIAS), (self.enter, INPUT_BIAS)):
                nn.init.uniform_(gate.bias, bias - WIDTH, bias + WIDTH)
        self.relative = start == "sgd"

    def begin(self, theta: Tensor) -> Kept:
        """Zeros, before the first step."""
        zeros, column = theta.new_zeros(theta.numel(), self.lstm.hidden_size), theta.new_zeros(theta.numel(), 1)
        return Kept(zeros, zeros, column, column)

    def move(self, theta: Tensor, gradient: Tensor, loss: Tensor, kept: Kept) -> tuple[Tensor, Kept]:
        """The amount subtracted from θ, (1 - f) ∘ θ + i ∘ ∇, and the new state."""
        losses = readable(loss).unsqueeze(1).expand(*theta.shape, 2)
        h, c = self.lstm(torch.cat([readable(gradient), losses], dim=-1).flatten(0, 1), (kept.h, kept.c))
        column = theta.reshape(-1, 1)
        forget = self.forget(torch.cat([h, column, kept.forget], dim=-1))
        enter = self.enter(torch.cat([h, column, kept.enter], dim=-1))
        lost = (torch.sigmoid(torch.full_like(forget, FORGET_BIAS)) if self.relative else 1) - forget.sigmoid()
        move = lost.view_as(theta) * theta + enter.sigmoid().view_as(theta) * gradient
        return move, Kept(h, c, forget, enter)
