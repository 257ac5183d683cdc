"""Objectives: a loss to train on and a metric to report, both per task."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import torch
import torch.nn.functional as F
from torch import Tensor


def one_hot(y: Tensor, ways: int, dtype: torch.dtype) -> Tensor:
    """One-hot labels `[..., ways]` of integer labels `[...]`.

    torch.nn.functional.one_hot inspects the labels, which synchronises with the GPU; this does not.
    """
    return (y.unsqueeze(-1) == torch.arange(ways, device=y.device)).to(dtype)


Judge = Callable[[Tensor, Tensor], Tensor]


def of_finite(metric: Judge) -> Judge:
    """`metric`, NaN for each task with a prediction that is not finite: the largest of NaNs would be class 0."""

    @wraps(metric)
    def judge(prediction: Tensor, target: Tensor) -> Tensor:
        strange = ~prediction.isfinite().flatten(1).all(1)
        return metric(prediction, target).masked_fill(strange, math.nan)

    return judge


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy (nats) of logits `[T, M, O]` against labels `[T, M]`: `[T]`."""
    return F.cross_entropy(prediction.flatten(0, 1), target.flatten(), reduction="none").view(target.shape).mean(1)


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of `[T, M, D]` against `[T, M, D]`: `[T]`."""
    return (prediction - target).square().flatten(1).mean(1)


def gaussian_nll(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean negative log-likelihood (nats) of `[T, M, D]` under means and standard deviations `[T, M, 2D]`: `[T]`.

    Averaged over points, summed over dimensions.
    """
    mean, std = prediction.chunk(2, dim=-1)
    density = 0.5 * ((target - mean) / std).square() + std.log() + 0.5 * math.log(2 * math.pi)
    return density.sum(-1).mean(1)


@of_finite
def mean_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the means of `[T, M, 2D]` against `[T, M, D]`: `[T]`."""
    return mse(prediction[..., : target.shape[-1]], target)


def classes(prediction: Tensor) -> Tensor:
    """The class with the largest of logits `[..., O]`: `[...]`; -1 where a logit is not finite."""
    return prediction.argmax(-1).masked_fill(~prediction.isfinite().all(-1), -1)


@of_finite
def accuracy(prediction: Tensor, target: Tensor) -> Tensor:
    """Fraction of queries whose largest logit is the label: `[T]`, in [0, 1]."""
    return (prediction.argmax(-1) == target).to(prediction.dtype).mean(1)


def string_cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy (nats) of strings `[T, M, C]`, with S logits per character, `[T, M, C * S]`: `[T]`."""
    logits = prediction.unflatten(-1, (target.shape[-1], -1)).flatten(0, 2)
    return F.cross_entropy(logits, target.flatten(), reduction="none").view(target.shape).sum(-1).mean(1)


@of_finite
def string_accuracy(prediction: Tensor, target: Tensor) -> Tensor:
    """Fraction of queries with every character right: `[T]`, in [0, 1]."""
    found = prediction.unflatten(-1, (target.shape[-1], -1)).argmax(-1)
    return (found == target).all(-1).to(prediction.dtype).mean(1)


def as_strings(y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
    """One-hot characters `[T, N, C * S]` of strings `[T, N, C]`."""
    return one_hot(y, outputs // y.shape[-1], dtype).flatten(2)


def as_values(y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
    """Regression targets `[T, N, D]`, unchanged but for `dtype`."""
    return y.to(dtype)


@dataclass(frozen=True)
class Objective:
    """A differentiable loss and the metric that papers report, both `[T]`.

    The metric is NaN for a task with a prediction that is not finite.
    """

    loss: Judge
    metric: Judge
    metric_name: str
    higher_is_better: bool
    numbers: int = 1  # that are predicted for each output
    encode: Callable[[Tensor, int, torch.dtype], Tensor] = one_hot
    """Labels or targets as network inputs `[T, N, O]`, from (y, outputs, dtype)."""

    def error(self, value: Tensor) -> Tensor:
        """Distance of metric values from a perfect score: the error rate, or the value itself."""
        return 1 - value if self.higher_is_better else value

    def better(self, a: float, b: float) -> bool:
        """Return True if metric value a is strictly better than b; NaN is worse than anything."""
        if math.isnan(b):
            return not math.isnan(a)
        return a > b if self.higher_is_better else a < b


OBJECTIVES = {
    "cross_entropy": Objective(cross_entropy, accuracy, "accuracy", higher_is_better=True),
    "strings": Objective(string_cross_entropy, string_accuracy, "accuracy", higher_is_better=True, encode=as_strings),
    "mse": Objective(mse, of_finite(mse), "mse", higher_is_better=False, encode=as_values),
    # for methods that predict a mean and a standard deviation
    "gaussian": Objective(gaussian_nll, mean_mse, "mse", higher_is_better=False, numbers=2, encode=as_values),
}
