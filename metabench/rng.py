"""Random numbers as pure functions of (seed, split, task index): no generator, no state, equal on every device.

A counter-based hash (the finaliser of SplitMix64; Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
generators") in wrapping int64 arithmetic, which every torch device supports.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.errors import UserError


def _signed(value: int) -> int:
    """`value` modulo 2^64 as a signed int64."""
    value %= 1 << 64
    return value - (1 << 64) if value >= 1 << 63 else value


_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX1 = _signed(0xBF58476D1CE4E5B9)
_MIX2 = _signed(0x94D049BB133111EB)
_STREAM = 1 << 40  # counters per stream: far more than any call uses
NOISE = 1 << 16  # first stream for the noise of methods; data use the streams below


def _shift(z: Tensor, by: int) -> Tensor:
    return (z >> by) & ((1 << (64 - by)) - 1)  # logical: torch's >> keeps the sign


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _MIX1
    z = (z ^ _shift(z, 27)) * _MIX2
    return z ^ _shift(z, 31)


def task_keys(seed: int, split: int, index: int, num_tasks: int, device: torch.device) -> Tensor:
    """One int64 key per task, `[T]`, for tasks index .. index + T - 1."""
    return keys_at(seed, split, torch.arange(index, index + num_tasks, device=device))


def keys_at(seed: int, split: int, numbers: Tensor) -> Tensor:
    """The keys of the tasks of those `numbers`, int64."""
    origin = torch.full((), _signed(seed + _GAMMA), device=numbers.device)  # torch.tensor would wait for the device
    key = _mix(_mix(origin) + _signed(split * _GAMMA))
    return _mix(key + _GAMMA * numbers)


def bits(keys: Tensor, stream: int, *shape: int) -> Tensor:
    """64 random bits per key and position: `[T, *shape]` int64. Streams of one key are independent."""
    count = 1
    for size in shape:
        count *= size
    # _GAMMA times counters 1 + stream * _STREAM + i, wrapped here: torch.compile would fold the product beyond int64
    first = _signed((1 + stream * _STREAM) * _GAMMA)
    counters = torch.arange(count, device=keys.device) * _GAMMA + first
    return _mix(keys[:, None] + counters).view(len(keys), *shape)


def uniform(keys: Tensor, stream: int, *shape: int) -> Tensor:
    """Uniform numbers in [0, 1) with 53 bits: `[T, *shape]` float64, exact on every device."""
    return _shift(bits(keys, stream, *shape), 11).to(torch.float64) * 2.0**-53


def gaussian(keys: Tensor, stream: int, *shape: int) -> Tensor:
    """Standard normal numbers `[T, *shape]` in float64."""
    return torch.special.ndtri(uniform(keys, stream, *shape) + 2.0**-54)  # never 0, whose quantile is infinite


def normal(keys: Tensor, stream: int, *shape: int) -> Tensor:
    """Standard normal numbers `[T, *shape]` in float32, for the noise of a method; streams disjoint from data."""
    return gaussian(keys, NOISE + stream, *shape).float()


def noise_keys(keys: Tensor | None) -> Tensor:
    """The keys of tasks, for the noise of a method; raises `UserError` if a user's data source sets none."""
    if keys is None:
        raise UserError("this method samples noise from Tasks.keys, which this data source does not set")
    return keys


def content_keys(x: Tensor) -> Tensor:
    """One int64 key per example of x `[T, N, ...]`: `[T, N]`, for noise that depends on the examples alone.

    The key of a set is the sum of its examples' keys. Values are rounded to multiples of 1/8, so that rounding errors
    of a device do not change the key.
    """
    numbers = (8 * x.flatten(2)).round().long()
    return _mix(_mix(numbers + _GAMMA * torch.arange(1, 1 + numbers.shape[-1], device=x.device)).sum(-1))


def below(keys: Tensor, stream: int, n: Tensor) -> Tensor:
    """A uniform integer of 0..n-1 per key, each with its own n `[T]`: `[T]` int64."""
    return _shift(bits(keys, stream, 1).squeeze(1), 11) % n


def choose(keys: Tensor, stream: int, n: int | Tensor, k: int, *shape: int) -> Tensor:
    """k distinct integers of 0..n-1 in random order, per key and position: `[T, *shape, k]` int64.

    n is a number, or one for each key and position, `[T, *shape]`, none below k.

    The i-th sample is a uniform rank r among the n - i free integers. Of the sorted picks p_0 < p_1 < …, those
    below the answer are exactly those with p_j - j <= r, so the answer is r plus their count: exactly uniform, O(k)
    memory, no rejection and no host synchronisation.
    """
    if isinstance(n, int):
        free = torch.arange(n, n - k, -1, device=keys.device)
    else:
        free = n.unsqueeze(-1) - torch.arange(k, device=keys.device)
    ranks = _shift(bits(keys, stream, *shape, k), 11) % free
    picked = ranks[..., :1]
    chosen = [picked]
    for i in range(1, k):
        rank = ranks[..., i : i + 1]
        pick = rank + (picked - torch.arange(i, device=keys.device) <= rank).sum(-1, keepdim=True)
        chosen.append(pick)
        picked = torch.cat([picked, pick], -1).sort(-1).values
    return torch.cat(chosen, -1)


def shuffle(keys: Tensor, stream: int, n: int) -> Tensor:
    """A random permutation of 0..n-1 per key: `[T, n]` int64."""
    return bits(keys, stream, n).argsort(stable=True)
