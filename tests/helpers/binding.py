"""Streams of vectors, in which only who binds a vector to its label does better than who counts labels.

`python tests/helpers/binding.py` tells what counting gives, and what each memory method has learned as it goes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.addressing import Start
from metabench.algo.dnc import Computer
from metabench.algo.lstm import PlainCore
from metabench.algo.mann import LeastRecentlyUsed
from metabench.algo.ntm import TuringMachine
from metabench.algo.recurrent import Core

WAYS, SHOTS, SIZE = 3, 4, 8


def streams(count: int) -> tuple[Tensor, Tensor]:
    """Vectors `[count, WAYS * SHOTS, SIZE]`, one of its own for each class of a stream, and labels in random order."""
    y = torch.rand(count, WAYS * SHOTS).argsort(1) % WAYS
    return torch.randn(count, WAYS, SIZE).gather(1, y.unsqueeze(2).expand(-1, -1, SIZE)), y


def at_each_instance(right: Tensor, y: Tensor) -> list[float]:
    """The share that is right `[T, M]` at the first instance of a class, the second, …"""
    instance = (y.unsqueeze(2) == y.unsqueeze(1)).tril(-1).sum(2)
    return [right[instance == k].double().mean().item() for k in range(SHOTS)]


def counted(count: int) -> list[float]:
    """What is right who sees labels alone: the label of which most are still to come, each of those as often."""
    _, y = streams(count)
    labels = F.one_hot(y, WAYS)
    left = SHOTS - (labels.cumsum(1) - labels)
    return at_each_instance((left + 0.5 * torch.rand(left.shape)).argmax(-1) == y, y)


class Binder(nn.Module):
    def __init__(self, core: Core) -> None:
        super().__init__()
        self.core, self.readout = core, nn.Linear(core.features, WAYS)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Logits of every step, which sees its vector and the label of the step before."""
        before = F.pad(F.one_hot(y, WAYS).float()[:, :-1], (0, 0, 1, 0))
        return self.readout(self.core(torch.cat([x, before], dim=-1))[1])

    def accuracy(self, count: int) -> list[float]:
        x, y = streams(count)
        with torch.no_grad():
            return at_each_instance(self(x, y).argmax(-1) == y, y)


def train(binder: Binder, steps: int, *, lr: float = 1e-2, batch: int = 16, clip: float = 10.0) -> None:
    optimizer = torch.optim.Adam(binder.parameters(), lr)
    for _ in range(steps):
        x, y = streams(batch)
        loss = F.cross_entropy(binder(x, y).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(binder.parameters(), clip)
        optimizer.step()


def make(name: str, start: Start = "sharp") -> Binder:
    """A small network of the method, `start` where it has one."""
    inputs, sizes = SIZE + WAYS, {"units": 32, "slots": 16, "width": 12, "heads": 1}
    if name == "lstm":
        return Binder(PlainCore(inputs, units=32))
    if name == "mann":
        return Binder(LeastRecentlyUsed(inputs, **sizes, decay=0.95, scale=10.0, start=start))
    if name == "ntm":
        return Binder(TuringMachine(inputs, **sizes, shift=1, start=start))
    return Binder(Computer(inputs, **sizes, usage_gradient=False, start=start))


def learned(name: str, steps: int, start: Start = "sharp") -> float:
    """What a network that was trained from `start` has above counting: accuracy over the second and later instances."""
    torch.manual_seed(0)
    binder = make(name, start)
    train(binder, steps)
    found, counting = binder.accuracy(1000), counted(1000)
    return sum(a - b for a, b in zip(found[1:], counting[1:], strict=True)) / (SHOTS - 1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("counting", [round(share, 3) for share in counted(20_000)])
    for name in ("lstm", "mann", "ntm", "dnc"):
        for start in (None,) if name == "lstm" else (None, "sharp"):
            torch.manual_seed(0)
            binder = make(name, start)
            for steps in (200, 400, 600):
                train(binder, 200)
                print(name, start or "", steps, [round(share, 3) for share in binder.accuracy(1000)], flush=True)
