"""Neural processes (Garnelo et al. 2018, arXiv 1807.01622).

    r = mean_i h([x_i, y_i])                                       deterministic path, as of the CNP
    q(z | C) = N(μ(s), σ(s)²),   s = mean_i h'([x_i, y_i]),   σ = 0.1 + 0.9 sigmoid(·)       latent path
    (μ, σ) = g([r, z, x*])
    loss = -mean_T log p(y* | r_C, z) + KL(q(z | T) ‖ q(z | C)) / |T|,   z ~ q(z | T)

T are the targets, including the context C. A prediction is the mean and variance (in classification, the mean
probabilities) of the mixture over samples z ~ q(z | C). All tasks use the same standard normal numbers, so the same
support set always gives the same prediction. With `samples: 0` z is its mean.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.gaussian import Normal, divergence
from metabench.algo.neural_process import INIT, LATENT, MIN_STD, Context, Mean, NeuralProcess, Path
from metabench.backbone.base import Backbone
from metabench.backbone.layers import Linear
from metabench.config.types import Count, Whole, Widths
from metabench.rng import noise_keys, normal, task_keys
from metabench.tasks import Examples, TaskSpec


class Latent(nn.Module):
    """The latent path q(z | C)."""

    def __init__(self, path: Mean, latent: int) -> None:
        super().__init__()
        self.path = path
        between = (path.size + latent) // 2
        self.hidden = Linear(path.size, between, INIT)
        self.mean, self.std = (Linear(between, latent, INIT) for _ in range(2))

    def forward(self, context: Context) -> Normal:
        """Mean and standard deviation of z, `[T, L]` each."""
        s = F.relu(self.hidden(self.path(context)))
        return Normal(self.mean(s), MIN_STD + (1 - MIN_STD) * torch.sigmoid(self.std(s)))


class Belief(NamedTuple):
    """The state: the encoding of the deterministic path, and q(z | C)."""

    kept: Any
    z: Normal


class NP(NeuralProcess):
    """A deterministic and a latent path; the state is a `Belief`."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        path: Path | None = None,
        *,
        encoder: Widths,
        decoder: Widths,
        min_context: Whole | None,
        latent: Count,
        samples: Whole,
    ) -> None:
        path = path or Mean(spec, backbone.feature_size, encoder)
        super().__init__(spec, backbone, path, decoder=decoder, min_context=min_context, beside=latent)
        self.latent = Latent(Mean(spec, backbone.feature_size, encoder), latent)
        noise = normal(task_keys(0, 0, 0, samples, torch.device("cpu")), LATENT, latent)
        self.register_buffer("noise", noise, persistent=False)  # [samples, latent]
        self.noise: Tensor

    def represent(self, context: Context) -> Belief:
        """Encode the context with both paths."""
        return Belief(self.path(context), self.latent(context))

    def read(self, state: Belief, z: Tensor) -> Tensor:
        """The average prediction over samples of the latent variable."""
        r, (mean, std) = self.path.read(state.kept, z), state.z
        if not len(self.noise):
            return self.given(mean, r, z)
        drawn = [self.given(mean + std * one, r, z) for one in self.noise]
        return average(torch.stack(drawn), probabilities=self.classes)

    def draws(self, support: Examples, x: Tensor, count: int) -> list[Tensor]:
        """Predictions for `count` samples of the latent variable."""
        state, z = self.adapt(support), self.backbone(x)
        r, (mean, std) = self.path.read(state.kept, z), state.z
        noise = normal(task_keys(0, 0, 0, count, mean.device), LATENT, mean.shape[1]).to(mean.dtype)
        return [self.given(mean + std * one, r, z) for one in noise]

    def given(self, latent: Tensor, r: Tensor, z: Tensor) -> Tensor:
        """Predictions g([r, z, x*]) for one latent variable per task, `[T, L]`."""
        latent = latent.unsqueeze(1).expand(-1, z.shape[1], -1)
        return self.distribution(self.decoder(torch.cat([r, latent, z], dim=-1)))

    def learn(self, context: Context, targets: Context, y: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor]:
        """Minus the evidence lower bound per target, and the predictions."""
        prior, posterior = self.latent(context), self.latent(targets)
        noise = normal(noise_keys(keys), LATENT, prior.mean.shape[1]).to(prior.mean.dtype)
        r = self.path.read(self.path(context), targets.z)
        prediction = self.given(posterior.mean + posterior.std * noise, r, targets.z)
        return self.objective.loss(prediction, y) + divergence(posterior, prior) / y.shape[1], prediction


def average(predictions: Tensor, *, probabilities: bool) -> Tensor:
    """The mixture of S predictions `[S, T, M, O]`: logits of the mean probabilities, or mean and standard deviation."""
    if probabilities:
        return predictions.log_softmax(-1).logsumexp(0) - math.log(len(predictions))
    means, stds = predictions.chunk(2, dim=-1)
    variance = stds.square().mean(0) + means.var(0, correction=0)
    return torch.cat([means.mean(0), variance.sqrt()], dim=-1)
