"""The backbone interface: features of examples, under shared weights or one set of weights per task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from torch import Tensor, nn

from metabench.backbone.alone import Alone
from metabench.backbone.layers import HeadInit
from metabench.backbone.norm import BatchNorm, Statistics, held


class Backbone(nn.Module, ABC):
    """A network from `[T, N, *input_shape]` to features `[T, N, feature_size]`.

    Built from `metabench.backbone.layers`, whose parameters may be replaced by one copy per task (`[T, *shape]`,
    through `torch.func.functional_call`): the same forward then runs T tasks under T sets of weights.

    `class Mine(Backbone, rowwise=True)` says that its own `forward` reads each example by itself but for batch norms;
    see `metabench.backbone.alone`. A subclass says it again.
    """

    rowwise: ClassVar[bool] = False

    feature_size: int
    map_shape: tuple[int, int, int] | None = None  # [C, H, W] of the last feature map, if there is one
    head_init: HeadInit = None  # initial weights of a linear head on the features, as `Linear` has them

    def __init_subclass__(cls, *, rowwise: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.rowwise = rowwise

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Features `[T, N, feature_size]` of x `[T, N, *input_shape]`."""

    def maps(self, x: Tensor) -> Tensor:
        """The last feature maps of x, `[T, N, *map_shape]`, from which `forward` computes the features."""
        raise NotImplementedError(f"{type(self).__name__} has no feature maps")


def batch_norms(module: nn.Module) -> list[BatchNorm]:
    """All batch-normalisation layers in `module`."""
    return [layer for layer in module.modules() if isinstance(layer, BatchNorm)]


def kept_statistics(backbone: Backbone) -> Statistics:
    """The batch statistics that the backbone uses, for further batch normalisation in its algorithm."""
    norms = batch_norms(backbone)
    return norms[0].statistics if norms else "running"


def batch_statistics(module: nn.Module) -> AbstractContextManager[None]:
    """Within the context, batch norm in an `eval()` model uses batch statistics and updates no running ones."""
    return _frozen(module, False)


def running_statistics(module: nn.Module) -> AbstractContextManager[None]:
    """Within the context, batch norm with running statistics uses them, in training too, and does not update them."""
    return _frozen(module, True)


def queries_alone(module: nn.Module, support: int, queries: int) -> AbstractContextManager[None]:
    """Within the context, batch statistics of `support` examples and then `queries` are of each query with the support.

    The last `queries` rows of what comes out are the queries; see `metabench.backbone.alone`.
    """
    return held([layer for layer in batch_norms(module) if not layer.frozen], "alone", Alone(support, queries))


def _frozen(module: nn.Module, value: bool) -> AbstractContextManager[None]:
    return held([layer for layer in batch_norms(module) if layer.running], "frozen", value)
