"""The losses of memory networks for one stream, step by step as the papers write them, for `peers.reference`.

A stream has drawings `x [L, 1, S, S]` and labels `y [L]`; each drawing is read with the label of the one before.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from peers.workloads import Workload

Weights = dict[str, Tensor]
EPSILON = 1e-6


def steps(workload: Workload, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """The inputs, one step `[pixels + ways]` after the other."""
    label = x.new_zeros(workload.ways)
    for drawing, number in zip(x, y.tolist(), strict=True):
        yield torch.cat([drawing.flatten(), label])
        label = torch.eye(workload.ways, dtype=x.dtype, device=x.device)[number]


def cell(weights: Weights, given: Tensor, kept: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """h and c of an LSTM (Hochreiter, Schmidhuber 1997) whose forget gates begin with 1 more."""
    gates = weights["given.weight"] @ given + weights["given.bias"] + weights["kept.weight"] @ kept
    enter, forget, value, leave = gates.view(4, -1)
    c = torch.sigmoid(forget + 1) * c + torch.sigmoid(enter) * torch.tanh(value)
    return torch.sigmoid(leave) * torch.tanh(c), c


def loss(weights: Weights, features: list[Tensor], y: Tensor) -> Tensor:
    return F.cross_entropy(torch.stack(features) @ weights["readout.weight"].T + weights["readout.bias"], y)


def lstm(workload: Workload, weights: Weights, x: Tensor, y: Tensor, *_: Tensor) -> Tensor:
    h = c = x.new_zeros(workload.sizes["units"])
    features = []
    for given in steps(workload, x, y):
        h, c = cell(weights, given, h, c)
        features.append(h)
    return loss(weights, features, y)


def cosine(keys: Tensor, rows: Tensor) -> Tensor:
    """`[..., N]` of keys `[..., W]` and rows `[N, W]`; EPSILON keeps an empty row from a division by 0."""
    lengths = [(part.square().sum(-1) + EPSILON).sqrt() for part in (keys, rows)]
    return keys @ rows.T / (lengths[0].unsqueeze(-1) * lengths[1])


def allocation(usage: Tensor) -> Tensor:
    """(1 - u[φ_j]) Π_{i<j} u[φ_i], φ the rows by ascending usage."""
    used, order = (EPSILON + (1 - EPSILON) * usage).sort()
    before = torch.cat([used.new_ones(1), used.cumprod(0)[:-1]])
    return torch.zeros_like(used).scatter(0, order, (1 - used) * before)


def dnc(workload: Workload, weights: Weights, x: Tensor, y: Tensor, *_: Tensor) -> Tensor:
    """Graves et al. 2016; as in the authors' code, the usage takes the write weighting for a constant."""
    units, slots, width, heads = (workload.sizes[name] for name in ("units", "slots", "width", "heads"))
    h = c = x.new_zeros(units)
    read, rows, at = x.new_zeros(heads, width), x.new_zeros(slots, width), x.new_zeros(heads, slots)
    usage = wrote = precedence = x.new_zeros(slots)
    link = x.new_zeros(slots, slots)
    others = 1 - torch.eye(slots, dtype=x.dtype, device=x.device)
    features = []
    for given in steps(workload, x, y):
        h, c = cell(weights, given, torch.cat([h, read.flatten()]), c)
        interface = weights["interface.weight"] @ h + weights["interface.bias"]
        reading, writing = interface.split([heads * (width + 5), 3 * width + 3])
        keys, strengths, free, modes = reading.view(heads, -1).split([width, 1, 1, 3], dim=1)
        key, strength, erase, value, allocate, write = writing.split([width, 1, width, width, 1, 1])

        constant = wrote.detach()
        usage = (usage + constant - usage * constant) * (1 - torch.sigmoid(free) * at).prod(0)
        similar = torch.softmax(F.softplus(strength) * cosine(key, rows), dim=-1)
        share = torch.sigmoid(allocate)
        wrote = torch.sigmoid(write) * (share * allocation(usage) + (1 - share) * similar)
        rows = rows * (1 - torch.outer(wrote, torch.sigmoid(erase))) + torch.outer(wrote, value)
        kept = 1 - wrote.unsqueeze(1) - wrote.unsqueeze(0)
        link = (kept * link + torch.outer(wrote, precedence)) * others
        precedence = (1 - wrote.sum()) * precedence + wrote

        back, content, forward = torch.softmax(modes, dim=1).unsqueeze(-1).unbind(1)
        at = (
            back * (at @ link)
            + forward * (at @ link.T)
            + content * torch.softmax(F.softplus(strengths) * cosine(keys, rows), dim=-1)
        )
        read = at @ rows
        features.append(torch.cat([h, read.flatten()]))
    return loss(weights, features, y)
