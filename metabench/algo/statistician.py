"""Neural statistician (Edwards, Storkey, ICLR 2017, arXiv 1606.02185): a variational autoencoder over sets.

    p(D) = ∫ p(c) Π_{x in D} ∫ p(z_L | c) Π_{i<L} p(z_i | z_{i+1}, c) p(x | z_1 … z_L, c) dz dc,   p(c) = N(0, 1)
    q(c, z | D) = q(c | D) Π_{x in D} q(z_L | x, c) Π_{i<L} q(z_i | z_{i+1}, x, c)
    loss = -E_q [Σ_x log p(x | z, c)] + KL(q(c | D) ‖ p(c)) + E_q [Σ_x Σ_i KL(q(z_i | ·) ‖ p(z_i | ·))]
         at meta-step t, its first term times 1 + α, the others divided by 1 + α, α = 2^(-t/h)
    prediction = the class k of smallest KL(q(c | D_k) ‖ q(c | x)),   D_k its support set, x a query alone

The paper starts α at 1 and halves it after every epoch: while the context costs little, the model learns to use it.

All distributions are diagonal normal, except pixels, which are Bernoulli. The statistic network q(c | D)
is post([mean_x pre(f(x)), |D|]), with f the backbone, which the inference networks share. In training a set is all
images of a class, support and queries. The statistic network sees a subset of it (sample dropout) whose size is sampled
log-uniformly from 1 to all, since test sets are small; the paper does not give the distribution. Logits are minus the
divergences; the loss is per image, in nats.

As in the paper, all fully connected layers but a network's last have batch norm, then ELU. Omitted here: its encoder
and decoder have nine convolutional layers each, 64 to 256 channels; it dilates strokes at random and resamples binary
pixels every epoch; its code normalises the parameters of q and p by their overall mean and standard deviation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.embedder import Embedder
from metabench.algo.gaussian import Normal, divergence
from metabench.backbone.base import Backbone, kept_statistics, running_statistics
from metabench.backbone.dense import Dense, dense
from metabench.backbone.image_decoder import ImageDecoder
from metabench.backbone.norm import Statistics
from metabench.config.types import Count, Whole
from metabench.objective import one_hot
from metabench.rng import NOISE, noise_keys, normal, task_keys, uniform
from metabench.tasks import Examples, Metrics, Tasks, TaskSpec

SIZE, PART, CONTEXT, LATENT = range(4)  # streams of a task's noise; one more for each further layer of z


class StatisticNetwork(nn.Module):
    """The posterior q(c | D) from embedded examples."""

    def __init__(self, features: int, hidden: int, context: int, statistics: Statistics) -> None:
        super().__init__()
        self.element = Dense(features, hidden, statistics)
        self.vector = dense([hidden + 1, hidden, hidden, 2 * context], statistics)

    def forward(self, h: Tensor, member: Tensor | None = None) -> Normal:
        """q(c | D) of S sets of examples h `[T, N, F]`, given by `member` `[T, N, S]` in {0, 1}; else per example."""
        e = self.element(h)
        count = torch.ones_like(e[..., :1])
        if member is not None:
            count = member.sum(1).unsqueeze(-1)
            e = (member.mT @ e) / count.clamp_min(1)
        return as_normal(self.vector(torch.cat([e, count], dim=-1)))


class Statistician(Embedder):
    """The state is the posterior of each class's context, `[T, ways, context]`."""

    classifies = True

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        context: Count,
        latent: Count,
        layers: Count,
        hidden: Count,
        filters: Count,
        half_life: Whole,
    ) -> None:
        super().__init__(spec, backbone)
        features, kind = backbone.feature_size, kept_statistics(backbone)
        self.context, self.latent = context, latent
        self.statistic = StatisticNetwork(features, hidden, context, kind)
        inputs = [context + (latent if i else 0) for i in range(layers)]  # the first is z_L
        self.inference, self.latent_decoder = (
            nn.ModuleList(dense([more + n, hidden, hidden, hidden, 2 * latent], kind) for n in inputs)
            for more in (features, 0)
        )
        self.half_life = half_life
        self.meta_steps: Tensor
        self.register_buffer("meta_steps", torch.zeros(()))
        mixed = Dense(context + layers * latent, hidden, kind)
        self.decoder = nn.Sequential(mixed, ImageDecoder(hidden, filters, spec.input_shape))

    # ---- classification

    def fit(self, z: Tensor, y: Tensor) -> Normal:
        """q(c | D_k) of each class, from embedded examples and their labels."""
        return self.statistic(z, one_hot(y, self.episode.outputs, z.dtype))

    def read(self, state: Normal, z: Tensor) -> Tensor:
        """Logits `[T, M, ways]`: minus the divergence from each class."""
        return -divergences(state, self.statistic(z))

    # ---- the bound

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """Minus the evidence lower bound, per image; the metric is that of the queries given the support set."""
        x, y = (torch.cat(parts, dim=1) for parts in zip(*tasks[:2], strict=True))
        keys, size = noise_keys(tasks.keys), tasks.support.x.shape[1]
        h = self.backbone(x)
        with torch.no_grad(), running_statistics(self.statistic):
            prediction = self.read(self.fit(h[:, :size], tasks.support.y), h[:, size:])
        loss = self.bound(x, h, one_hot(y, self.episode.outputs, h.dtype), keys)
        if self.training:
            self.meta_steps.add_(1)
        return loss.mean(), self.metrics(loss, prediction, tasks.query.y)

    def bound(self, x: Tensor, h: Tensor, member: Tensor, keys: Tensor) -> Tensor:
        """The loss `[T]` of images x with features h, in sets given by `member` `[T, N, S]`."""
        posterior = self.statistic(h, member * self.part(member, keys))
        prior = Normal(torch.zeros_like(posterior.mean), torch.ones_like(posterior.std))
        c = member @ draw(posterior, keys, CONTEXT)  # for each image, the context of its set
        z, apart = self.infer(h, c, keys)
        logits = self.decoder(torch.cat([c, *z], dim=-1))
        likelihood = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(2).sum(-1)
        apart = divergence(posterior, prior).sum(1) + apart.sum(1)
        weight = 1 + (torch.exp2(-self.meta_steps / self.half_life) if self.half_life else 0)
        return (apart / weight - weight * likelihood.sum(1)) / x.shape[1]

    def infer(self, h: Tensor, c: Tensor, keys: Tensor) -> tuple[list[Tensor], Tensor]:
        """Samples z_L … z_1 from q for each image, and Σ_i KL(q(z_i | ·) ‖ p(z_i | ·)) `[T, N]`."""
        z: list[Tensor] = []
        apart = torch.zeros_like(h[..., 0])
        for i, (infer, decode) in enumerate(zip(self.inference, self.latent_decoder, strict=True)):
            given = torch.cat([c, *z[-1:]], dim=-1)
            q, p = as_normal(infer(torch.cat([h, given], dim=-1))), as_normal(decode(given))
            z.append(draw(q, keys, LATENT + i))
            apart = apart + divergence(q, p)
        return z, apart

    def part(self, member: Tensor, keys: Tensor) -> Tensor:
        """Mask `[T, N, 1]` of the images that the statistic network sees: a random part of every set, of 1 to all."""
        u = uniform(keys, NOISE + SIZE, member.shape[2])
        sizes = ((member.sum(1) + 1).log() * u).exp().floor()  # [T, S], n with probability ∝ log(n + 1) - log(n)
        u = uniform(keys, NOISE + PART, member.shape[1])
        before = (u.unsqueeze(1) < u.unsqueeze(2)).to(member.dtype) @ member  # [T, N, S]: how many of a set come before
        return ((before < sizes.unsqueeze(1)) * member).sum(-1, keepdim=True)

    def generate(self, support: Examples, count: int) -> Tensor:
        """`count` images per class from p(x | c), with c the mean of q(c | D_k): `[T, ways, count, *input_shape]`."""
        c = self.adapt(support).mean
        tasks, ways, _ = c.shape
        c = c.repeat_interleave(count, dim=1)
        keys, z = task_keys(0, 0, 0, tasks, c.device), list[Tensor]()
        for i, decode in enumerate(self.latent_decoder):
            z.append(draw(as_normal(decode(torch.cat([c, *z[-1:]], dim=-1))), keys, LATENT + i))
        return self.decoder(torch.cat([c, *z], dim=-1)).sigmoid().unflatten(1, (ways, count))


def as_normal(parameters: Tensor) -> Normal:
    """A network's output as mean and log-variance."""
    mean, log_variance = parameters.chunk(2, dim=-1)
    return Normal(mean, (0.5 * log_variance).exp())


def draw(q: Normal, keys: Tensor, stream: int) -> Tensor:
    """One sample per mean `[T, N, L]`."""
    return q.mean + q.std * normal(keys, stream, *q.mean.shape[1:]).to(q.mean.dtype)


def divergences(q: Normal, p: Normal) -> Tensor:
    """KL(q_k ‖ p_m) for every k of q `[T, K, L]` and m of p `[T, M, L]`: `[T, M, K]`, without `[T, M, K, L]`."""
    precision = p.std.pow(-2)
    squares = precision @ (q.mean.square() + q.std.square()).mT - 2 * (p.mean * precision) @ q.mean.mT
    own = (p.mean.square() * precision + 2 * p.std.log() - 1).sum(-1)
    return 0.5 * (squares + own.unsqueeze(2)) - q.std.log().sum(-1).unsqueeze(1)
