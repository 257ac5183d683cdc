"""TaskNorm: normalise with a task's support set (Bronskill, Gordon, Requeima, Nowozin, Turner, ICML 2020, 2003.03284).

    μ_c, σ²_c    mean and variance per channel over the support set D, for support and queries alike
    μ_a, σ²_a    those of the example itself: per channel (TaskNorm-I), or over all channels (TaskNorm-L)
    α = sigmoid(a |D| + b),   a and b learned, 0 at first
    μ  = α μ_c + (1 - α) μ_a
    σ² = α (σ²_c + (μ_c - μ)²) + (1 - α) (σ²_a + (μ_a - μ)²)
    y  = γ (x - μ) / √(σ² + ε) + β

No query is in the moments of another one, so predictions are inductive. Variances are biased, as in the paper (its code
divides by n - 1).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from metabench.backbone.norm import Norm, held


class TaskNorm(Norm):
    """TaskNorm-I of `[N, T, C, ...]`, or TaskNorm-L with `layer=True`.

    The first `context` examples of a batch are the support set; all of them where it is None.
    """

    def __init__(self, channels: int, *, layer: bool, scale: bool, eps: float) -> None:
        super().__init__(channels, scale=scale, eps=eps)
        self.layer = layer
        self.a, self.b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.context: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x `[N, T, C, ...]`, per task."""
        tasks, space = x.shape[1], tuple(range(3, x.dim()))
        support = x[: self.context]
        shape = (1, tasks, -1, *[1] * len(space))
        alpha = torch.sigmoid(self.a * len(support) + self.b).expand(tasks, 1).reshape(1, tasks, *[1] * (x.dim() - 2))
        of_context = torch.var_mean(support, dim=(0, *space), keepdim=True, correction=0)
        of_example = torch.var_mean(x, dim=(2, *space) if self.layer else space, keepdim=True, correction=0)
        mean = alpha * of_context[1] + (1 - alpha) * of_example[1]
        var = alpha * (of_context[0] + (of_context[1] - mean).square())
        var = var + (1 - alpha) * (of_example[0] + (of_example[1] - mean).square())
        weight, bias = (p.view(shape) for p in self._per_channel(tasks))
        return torch.addcmul(bias, (x - mean) * torch.rsqrt(var + self.eps), weight)


def task_norms(module: nn.Module) -> list[TaskNorm]:
    """All TaskNorm layers in `module`."""
    return [layer for layer in module.modules() if isinstance(layer, TaskNorm)]


def support_first(module: nn.Module, size: int) -> AbstractContextManager[None]:
    """Within the context, the first `size` examples of every batch are the support set to TaskNorm."""
    return held(task_norms(module), "context", size)
