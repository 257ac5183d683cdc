"""The copy task (Graves et al. 2014, section 4.1): binary vectors, an end mark, then the vectors again from memory.

`python tests/helpers/copying.py` trains NTM, DNC and LSTM on lengths of 1 to 6 and prints the share of wrong bits at
up to 12.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.dnc import Computer
from metabench.algo.lstm import PlainCore
from metabench.algo.ntm import TuringMachine
from metabench.algo.recurrent import Core


def sequences(batch: int, length: int, bits: int) -> tuple[Tensor, Tensor]:
    """Inputs `[batch, 2 * length + 1, bits + 1]`, the last number the end mark, and the vectors to be given back."""
    vectors = torch.randint(2, (batch, length, bits)).float()
    z = torch.zeros(batch, 2 * length + 1, bits + 1)
    z[:, :length, :bits] = vectors
    z[:, length, bits] = 1
    return z, vectors


class Copier(nn.Module):
    def __init__(self, core: Core, bits: int) -> None:
        super().__init__()
        self.core, self.readout, self.bits = core, nn.Linear(core.features, bits), bits

    def loss(self, batch: int, length: int) -> Tensor:
        """Bits lost for each bit asked: 1 for a coin."""
        z, vectors = sequences(batch, length, self.bits)
        logits = self.readout(self.core(z)[1][:, length + 1 :])
        return F.binary_cross_entropy_with_logits(logits, vectors) / torch.tensor(2.0).log()

    def errors(self, batch: int, length: int) -> float:
        """Share of bits that are wrong: a half for a coin."""
        z, vectors = sequences(batch, length, self.bits)
        with torch.no_grad():
            logits = self.readout(self.core(z)[1][:, length + 1 :])
        return ((logits > 0) != (vectors > 0.5)).float().mean().item()


def train(copier: Copier, steps: int, longest: int, *, lr: float, batch: int = 16, clip: float = 10.0) -> list[float]:
    """The losses of `steps` steps on lengths of 1 to `longest`."""
    optimizer, losses = torch.optim.Adam(copier.parameters(), lr), []
    for _ in range(steps):
        length = int(torch.randint(1, longest + 1, ()))
        loss = copier.loss(batch, length)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(copier.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    torch.set_num_threads(1)
    sizes = {"units": 48, "slots": 16, "width": 10, "heads": 1}
    cores = {
        "ntm": lambda: TuringMachine(5, **sizes, shift=1, start="sharp"),
        "dnc": lambda: Computer(5, **sizes, usage_gradient=False, start="sharp"),
        "lstm": lambda: PlainCore(5, units=100),
    }
    for name, make in cores.items():
        torch.manual_seed(0)
        copier = Copier(make(), bits=4)
        for steps in range(500, 3001, 500):
            losses = train(copier, 500, 6, lr=3e-3)
            wrong = ", ".join(f"{copier.errors(200, length):.4f} at {length}" for length in (3, 6, 9, 12))
            print(f"{name} {steps} steps, loss {sum(losses[-100:]) / 100:.4f} bits; wrong: {wrong}", flush=True)
