"""The contract of a backbone: features of examples, under one set of weights or under one set a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from torch import Tensor, nn

from metabench.backbone.norm import BatchNorm, Statistics


class Backbone(nn.Module, ABC):
    """Maps `[T, N, *input_shape]` to features `[T, N, feature_size]`.

    Built from `metabench.backbone.layers`, whose parameters may be replaced by one copy a task (`[T, *shape]`, through
    `torch.func.functional_call`): the same forward then runs T tasks under T sets of weights in the same few kernels.
    """

    feature_size: int
    map_shape: tuple[int, int, int] | None = None  # of the last feature map, [C, H, W], where there is one

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Features of x."""

    def maps(self, x: Tensor) -> Tensor:
        """The last feature maps of x, `[T, N, *map_shape]`, which `forward` makes features of."""
        raise NotImplementedError(f"{type(self).__name__} has no feature maps")


def batch_norms(module: nn.Module) -> list[BatchNorm]:
    """The batch normalisations in `module`."""
    return [layer for layer in module.modules() if isinstance(layer, BatchNorm)]


def kept_statistics(backbone: Backbone) -> Statistics:
    """The kind of statistics that the backbone's batch normalisations use, for more of them in its algorithm."""
    norms = batch_norms(backbone)
    return norms[0].statistics if norms else "running"


def batch_statistics(module: nn.Module) -> AbstractContextManager[None]:
    """Within it every batch normalisation of a model in `eval()` uses the statistics of its batch; no others move."""
    return _frozen(module, False)


def running_statistics(module: nn.Module) -> AbstractContextManager[None]:
    """Within it every batch normalisation that keeps running statistics uses those, in training too, and moves none."""
    return _frozen(module, True)


@contextmanager
def _frozen(module: nn.Module, value: bool) -> Iterator[None]:
    layers = [layer for layer in batch_norms(module) if layer.running]
    before = [layer.frozen for layer in layers]
    for layer in layers:
        layer.frozen = value
    try:
        yield
    finally:
        for layer, frozen in zip(layers, before, strict=True):
            layer.frozen = frozen
