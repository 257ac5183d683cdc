"""Latent embedding optimisation (Rusu et al., ICLR 2019, arXiv 1807.05960).

    z_n ~ N(μ, σ²),   (μ, σ) = mean over all pairs (x_n, x_m) of the support set of g_r([g_e(x_n), g_e(x_m)])
    w_n ~ N(μ', σ'²),   (μ', σ') = g_d(z_n)
    z ← z - α ∘ ∇_z L_S(w(z)),   a few steps;   then   w ← w - η ∘ ∇_w L_S(w),   a few more
    loss = L_Q(w) + β KL(N(μ, σ²) ‖ N(0, 1)) + γ (stopgrad(z') - z)² + λ₁ ½‖g‖² + λ₂ (C_d - 1)²

z' is z after its steps; C_d holds the correlations of the decoder's rows; the penalties are means (λ₁'s a sum) as in
the released code. Encoder and decoder are linear without bias, the relation net g_r has three layers. Classification:
z_n and w_n belong to class n, logits are f(x)·w_n, and f, the backbone, is trained jointly (the authors pre-train it).
Regression: g_e reads x and y, and w are all weights of the network, relative to learned ones. Sampling every weight is
too noisy there, so w = μ' (`sample_weights: false`), and inner gradients are clipped elementwise at `inner_clip`. α and
η have one entry per dimension, learned as a multiple of the initial value, so that one step of Adam cannot double a
small one. Predictions use the means; there is no dropout.

σ = exp(u) - 1, at least 1e-10, as released: most latents soon have no spread, and the KL no gradient there. Beside that
the authors draw decoder noise at every inner step and K latents per class, whose logits they average; here each is one
draw for the whole inner loop. They start Glorot-uniform, this one as torch's linear layers do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metabench.algo.base import Algorithm
from metabench.algo.fast_weights import Network
from metabench.backbone.base import Backbone
from metabench.config.types import Count, NonNegative, Positive, Whole
from metabench.objective import one_hot
from metabench.rng import noise_keys, normal, task_keys
from metabench.tasks import Examples, Metrics, Tasks, TaskSpec

LATENT, WEIGHTS = range(2)  # streams of a task's noise


class Found(NamedTuple):
    """State of the inner loop: latents `[T, C, L]` and weights `[T, C, P]`, with C classes, or 1 in regression."""

    z: Tensor
    w: Tensor


class LEO(Algorithm):
    """Gradient descent on latents, then on the weights they decode to; the state is a `Found`."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        latent: Count,
        latent_lr: Positive,
        latent_steps: Whole,
        finetune_lr: Positive,
        finetune_steps: Whole,
        inner_clip: Positive | None,
        sample_weights: bool,
        kl: NonNegative,
        encoder_penalty: NonNegative,
        weight_penalty: NonNegative,
        orthogonality: NonNegative,
    ) -> None:
        super().__init__(spec, backbone)
        self.classes = spec.objective == "cross_entropy"
        if self.classes:
            code, self.size = backbone.feature_size, backbone.feature_size
        else:
            self.network = Network(backbone, spec.eval.outputs)
            code = math.prod(spec.input_shape) + spec.eval.outputs
            self.size = sum(p.numel() for p in self.network.parameters())
        self.encoder = nn.Linear(code, latent, bias=False)
        self.relation = nn.Sequential(
            nn.Linear(2 * latent, 2 * latent, bias=False), nn.ReLU(),
            nn.Linear(2 * latent, 2 * latent, bias=False), nn.ReLU(),
            nn.Linear(2 * latent, 2 * latent, bias=False),
        )  # fmt: skip
        self.inner_clip, self.sample_weights = inner_clip, sample_weights
        self.decoder = nn.Linear(latent, (2 if sample_weights else 1) * self.size, bias=False)
        self.latent_lr, self.finetune_lr = latent_lr, finetune_lr
        self.alpha, self.eta = nn.Parameter(torch.ones(latent)), nn.Parameter(torch.ones(self.size))
        self.latent_steps, self.finetune_steps = latent_steps, finetune_steps
        self.inner_steps = self.eval_inner_steps = latent_steps + finetune_steps
        self.kl, self.encoder_penalty = kl, encoder_penalty
        self.weight_penalty, self.orthogonality = weight_penalty, orthogonality

    # ---- from a support set to latents to weights

    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Latent means μ and standard deviations σ, `[T, C, L]` each, from embedded inputs and labels or targets."""
        if self.classes:
            member = one_hot(y, self.episode.outputs, x.dtype)
        else:
            x, member = torch.cat([x.flatten(2), y], dim=-1), torch.ones_like(y[..., :1])
        code = self.encoder(x)
        pairs = [code.unsqueeze(2), code.unsqueeze(1)]
        size = code.shape[1]
        related = self.relation(torch.cat([part.expand(-1, size, size, -1) for part in pairs], dim=-1)).mean(2)
        mean, u = ((member.mT @ related) / member.sum(1).unsqueeze(-1)).chunk(2, dim=-1)
        return mean, _std(u, offset=0.0)

    def decode(self, z: Tensor, noise: Tensor | None) -> Tensor:
        """Weights `[T, C, P]` of latents `[T, C, L]`: the mean, or a sample with `noise`."""
        mean, u = self.decoder(z).split(self.size, dim=-1) if self.sample_weights else (self.decoder(z), None)
        if not self.classes:
            mean = mean + torch.cat([p.flatten() for p in self.network.parameters()])
        if noise is None or u is None:
            return mean
        return mean + noise * _std(u, offset=math.sqrt(2 / (z.shape[1] + self.size)))

    def embed(self, x: Tensor) -> Tensor:
        """Inputs of the decoded weights: features in classification, x in regression."""
        return self.backbone(x) if self.classes else x

    def apply_weights(self, w: Tensor, x: Tensor) -> Tensor:
        """Predictions `[T, M, O]` of weights on embedded inputs."""
        if self.classes:
            return x @ w.mT
        named = dict(self.network.named_parameters())
        parts = w.squeeze(1).split([p.numel() for p in named.values()], dim=-1)
        fast = {name: part.unflatten(-1, p.shape) for (name, p), part in zip(named.items(), parts, strict=True)}
        return functional_call(self.network, fast, (x,))

    # ---- the inner loop

    def walk(self, z: Tensor, x: Tensor, y: Tensor, noise: Tensor | None) -> Iterator[Found]:
        """Latents and weights after each inner step 0..S, starting from latents z."""

        def of_latents(z: Tensor) -> Tensor:
            return self.objective.loss(self.apply_weights(self.decode(z, noise), x), y)

        def of_weights(w: Tensor) -> Tensor:
            return self.objective.loss(self.apply_weights(w, x), y)

        w = self.decode(z, noise)
        yield Found(z, w)
        for _ in range(self.latent_steps):
            z = z - self.latent_lr * self.alpha * self.gradient(of_latents, z)
            w = self.decode(z, noise)
            yield Found(z, w)
        for _ in range(self.finetune_steps):
            w = w - self.finetune_lr * self.eta * self.gradient(of_weights, w)
            yield Found(z, w)

    def gradient(self, loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
        """The clipped gradient of the loss summed over tasks; part of the graph if gradients are enabled."""
        learning = torch.is_grad_enabled()
        with torch.enable_grad():
            at = at if learning and at.requires_grad else at.detach().requires_grad_()
            (found,) = torch.autograd.grad(loss(at).sum(), at, create_graph=learning)
        return found if self.inner_clip is None else found.clamp(-self.inner_clip, self.inner_clip)

    def trajectory(self, support: Examples) -> Iterator[Found]:
        """The inner loop from the mean of the latents."""
        x = self.embed(support.x)
        mean, _ = self.encode(x, support.y)
        return self.walk(mean, x, support.y, None)

    def adapt(self, support: Examples) -> Found:
        """Latents and weights after the last inner step."""
        *_, last = self.trajectory(support)
        return last

    def predict(self, state: Found, x: Tensor) -> Tensor:
        """Predictions of the adapted weights."""
        return self.apply_weights(state.w, self.embed(x))

    def outputs(self, support: Examples, x: Tensor) -> list[Tensor]:
        """Predictions after each inner step 0..S."""
        x = self.embed(x)
        return [self.apply_weights(found.w, x) for found in self.trajectory(support)]

    def draws(self, support: Examples, x: Tensor, count: int) -> list[Tensor]:
        """Predictions after adaptation from `count` samples of the latents."""
        embedded = self.embed(support.x)
        mean, std = self.encode(embedded, support.y)
        found = []
        for i in range(count):
            keys = task_keys(0, 0, i * len(mean), len(mean), mean.device)
            z = mean + std * normal(keys, LATENT, *mean.shape[1:]).to(mean.dtype)
            *_, last = self.walk(z, embedded, support.y, None)
            found.append(self.predict(last, x))
        return found

    # ---- the outer loss

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """The regularised query loss; the metrics are those of the sampled latents and weights."""
        (x, y), query = tasks.support, tasks.query
        x = self.embed(x)
        mean, std = self.encode(x, y)
        keys, (classes, latent) = noise_keys(tasks.keys), mean.shape[1:]
        first = mean + std * normal(keys, LATENT, classes, latent).to(x.dtype)
        *_, last = self.walk(first, x, y, normal(keys, WEIGHTS, classes, self.size).to(x.dtype))
        prediction = self.predict(last, query.x)
        loss = self.objective.loss(prediction, query.y)
        divergence = 0.5 * (std.square() + mean.square() - 1) - std.log()
        distance = (last.z.detach() - first).square()
        penalised = self.kl * divergence.flatten(1).mean(1) + self.encoder_penalty * distance.flatten(1).mean(1)
        return (loss + penalised).mean() + self.penalty(), self.metrics(loss, prediction, query.y)

    def penalty(self) -> Tensor:
        """The penalty λ₁ ½‖g‖² + λ₂ (C_d - 1)², a scalar."""
        weights = [p for part in (self.encoder, self.relation, self.decoder) for p in part.parameters()]
        squares = torch.stack([p.square().sum() for p in weights]).sum()
        rows = F.normalize(self.decoder.weight.mT, dim=-1)  # one for each latent dimension
        correlation = rows @ rows.mT - torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
        return self.weight_penalty * 0.5 * squares + self.orthogonality * correlation.square().mean()


def _std(u: Tensor, offset: float) -> Tensor:
    """exp(u) - (1 - offset), at least 1e-10."""
    return (u.exp() - (1 - offset)).clamp_min(1e-10)
