"""Data augmentation GAN for prototypical networks (Antoniou, Storkey, Edwards 2017, arXiv 1711.04340).

A generator G turns an image x and noise z ~ N(0, 1) into another image of the same class. A discriminator D sees two
images, (x, x') of one class or (x, G(x, z)). The support set of a few-shot method is then augmented with generated
images. Here that method is ProtoNet, and x and x' are a support image and a query of each class of a training episode:

    loss of D = softplus(-D(x, x')) + softplus(D(x, G(x, z))) + ½ γ ‖∇ D(x, x')‖²
    loss of G = softplus(-D(x, G(x, z)))
    prototype of a class = mean f(x) over its support set, with G(x, z) in it at a weight w

All are trained jointly: the outer loss is the sum of the losses of G, of D and of the prototypical network, each of
which treats the weights of the others as constants, so that each part's gradient is that of its own loss. The S
generated images of an image have total weight w in (0, 1), learned with the embedding.

The paper trains the GAN first, with the Wasserstein loss, a gradient penalty and five discriminator steps per generator
step. Simultaneous steps need another loss: the logistic one with a penalty on real data converges (Mescheder et al.
2018, arXiv 1801.04406).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metabench.algo.metric import Embedded
from metabench.algo.protonet import ProtoNet
from metabench.backbone.base import Backbone
from metabench.backbone.image_decoder import image_shape
from metabench.backbone.layers import Conv2d, Linear
from metabench.backbone.norm import make_norm
from metabench.config.types import Count, NonNegative, Positive
from metabench.objective import one_hot
from metabench.rng import noise_keys, normal, task_keys
from metabench.tasks import Examples, Metrics, Tasks, TaskSpec

AUGMENT, ADVERSARIAL = range(2)  # streams of a task's noise


class Pairs(NamedTuple):
    """Two images of each class, `[T, ways, C, H, W]` each."""

    x: Tensor
    other: Tensor


class DAGAN(ProtoNet):
    """ProtoNet on a support set with `samples` generated images per support image."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        distance: Literal["euclidean", "cosine"],
        scale: Positive,
        samples: Count,
        latent: Count,
        filters: Count,
        penalty: NonNegative,
    ) -> None:
        super().__init__(spec, backbone, distance=distance, scale=scale)
        shape = image_shape(spec.input_shape)
        self.samples, self.latent, self.penalty = samples, latent, penalty
        self.generator = Generator(shape, filters, latent)
        self.discriminator = Discriminator(shape, filters)
        self.weight = nn.Parameter(torch.zeros(()))  # w = sigmoid(weight)
        noise = normal(task_keys(0, 0, 0, samples, torch.device("cpu")), AUGMENT, latent)
        self.register_buffer("noise", noise, persistent=False)  # [samples, latent], for every image in evaluation
        self.noise: Tensor

    # ---- the few-shot method

    def adapt(self, support: Examples) -> Embedded:
        """Augment and embed the support set."""
        return super().adapt(self.augment(support, self.noise))

    def solve(self, support: Examples, x: Tensor) -> Tensor:
        """Augment; then adapt and predict from embeddings of one pass."""
        return super().solve(self.augment(support, self.noise), x)

    def fit(self, z: Tensor, y: Tensor) -> Embedded:
        """Embeddings and weighted one-hot labels; generated images come last, with a smaller weight."""
        _, onehot = super().fit(z, y)
        drawings = z.shape[1] // (1 + self.samples)
        generated = self.weight.sigmoid() / self.samples * onehot[:, drawings:]
        return Embedded(z, torch.cat([onehot[:, :drawings], generated], dim=1))

    def augment(self, support: Examples, noise: Tensor) -> Examples:
        """The support set and its images generated with noise `[samples, latent]`, or `[T, N, samples, latent]`."""
        (x, y), samples = support, self.samples
        noise = noise.expand(*y.shape, samples, -1).flatten(1, 2).to(x.dtype)
        with torch.no_grad():  # the embedding learns from generated images, not the generator from the embedding
            generated = self.generator(x.repeat_interleave(samples, dim=1), noise)
        return Examples(torch.cat([x, generated], dim=1), torch.cat([y, y.repeat_interleave(samples, dim=1)], dim=1))

    # ---- learning

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """The sum of three losses, each with gradients for its own parameters only."""
        support, query = tasks.support, tasks.query
        keys = noise_keys(tasks.keys)
        noise = normal(keys, AUGMENT, support.y.shape[1], self.samples, self.latent)
        prediction = super().solve(self.augment(support, noise), query.x)
        loss = self.objective.loss(prediction, query.y)
        discriminator, generator = self.play(Pairs(self.first(support), self.first(query)), keys)
        metrics = self.metrics(loss, prediction, query.y)
        players = {"discriminator": discriminator.detach(), "generator": generator.detach()}
        return (loss + discriminator + generator).mean(), {**metrics, **players}

    def play(self, real: Pairs, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The losses `[T]` of the discriminator and of the generator."""
        noise = normal(keys, ADVERSARIAL, real.x.shape[1], self.latent).to(real.x.dtype)
        made = self.generator(real.x, noise)
        with torch.enable_grad():
            seen = torch.cat(real, dim=2).requires_grad_()
            believed = self.discriminator(seen)
            (slope,) = torch.autograd.grad(believed.sum(), seen, create_graph=True)
        doubted = self.discriminator(torch.cat([real.x, made.detach()], dim=2))
        penalty = 0.5 * self.penalty * slope.square().flatten(2).sum(-1)
        discriminator = F.softplus(-believed) + F.softplus(doubted) + penalty
        fixed = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        generator = F.softplus(-functional_call(self.discriminator, fixed, (torch.cat([real.x, made], dim=2),)))
        return discriminator.mean(1), generator.mean(1)

    def first(self, part: Examples) -> Tensor:
        """The first example of each class, `[T, ways, C, H, W]`."""
        at = one_hot(part.y, self.episode.outputs, part.x.dtype).argmax(1)  # the first of equal ones
        return part.x.flatten(2).take_along_dim(at.unsqueeze(-1), dim=1).unflatten(2, part.x.shape[2:])

    def generate(self, support: Examples, count: int) -> Tensor:
        """`count` images from the first of each class: `[T, ways, count, *input_shape]`."""
        x = self.first(support)
        tasks, ways = x.shape[:2]
        noise = normal(task_keys(0, 0, 0, tasks, x.device), AUGMENT, ways * count, self.latent).to(x.dtype)
        return self.generator(x.repeat_interleave(count, dim=1), noise).unflatten(1, (ways, count))


class Generator(nn.Module):
    """A U-Net: images `[T, N, C, H, W]` and noise `[T, N, latent]` to images, pixels in [0, 1]."""

    def __init__(self, shape: tuple[int, int, int], filters: int, latent: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.small = (2 * filters, -(-height // 4), -(-width // 4))
        self.down = nn.ModuleList([_conv(channels, filters, 2), _conv(filters, 2 * filters, 2)])
        self.noise = Linear(latent, self.small[0] * self.small[1] * self.small[2])
        self.middle = _conv(4 * filters, 2 * filters)
        self.up = nn.ModuleList([_conv(2 * filters, 4 * filters), _conv(2 * filters, filters)])
        self.out = _conv(filters, 4 * channels)
        sizes = (filters, 2 * filters, 2 * filters, filters, filters)
        self.norms = nn.ModuleList(make_norm("group", n, scale=True, eps=1e-5, statistics="batch") for n in sizes)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Generate images of the shape of x."""
        height, width = x.shape[-2:]
        x = x.transpose(0, 1)
        large = self._after(0, self.down[0](x))
        small = self._after(1, self.down[1](large))
        noise = self.noise(z).unflatten(-1, self.small).transpose(0, 1)
        middle = small + self._after(2, self.middle(torch.cat([small, noise], dim=2)))
        up = self._after(3, F.pixel_shuffle(self.up[0](middle), 2))[..., : large.shape[-2], : large.shape[-1]]
        last = self._after(4, self.up[1](torch.cat([large, up], dim=2)))
        return F.pixel_shuffle(self.out(last), 2)[..., :height, :width].sigmoid().transpose(0, 1)

    def _after(self, layer: int, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norms[layer](x), 0.2)


class Discriminator(nn.Module):
    """Logits `[T, N]` that the second of two images `[T, N, 2 C, H, W]` is real and of the first's class."""

    def __init__(self, shape: tuple[int, int, int], filters: int) -> None:
        super().__init__()
        channels, height, width = shape
        sizes = [2 * channels, filters, 2 * filters, 4 * filters]
        self.convs = nn.ModuleList(_conv(a, b, 2) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(make_norm("layer", n, scale=True, eps=1e-5, statistics="batch") for n in sizes[1:])
        self.score = Linear(sizes[-1] * -(-height // 8) * -(-width // 8), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[T, N]` of image pairs x."""
        x = x.transpose(0, 1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), 0.2)
        return self.score(x.transpose(0, 1).flatten(2)).squeeze(-1)


def _conv(inputs: int, outputs: int, stride: int = 1) -> Conv2d:
    return Conv2d(inputs, outputs, stride=stride, bias=True)
