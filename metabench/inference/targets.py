"""A user's labels or targets as a model has them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metabench.errors import UserError
from metabench.inference.numbers import as_array, ordered

Labels = Sequence[Any] | np.ndarray | Tensor
PLAIN = (str, int, float, bool)


class Classes:
    """The classes of a support set, in order: sorted, or as they come where they cannot be."""

    def __init__(self, labels: Labels) -> None:
        """Find the classes; raises `UserError` for fewer than two, and for labels that cannot be told apart."""
        listed = plain_list(labels)
        try:
            known = dict.fromkeys(listed)
        except TypeError:
            raise UserError("labels: should be one value per image: strings, numbers, …") from None
        try:
            self.names = sorted(known)
        except TypeError:
            self.names = list(known)
        if any(name != name for name in self.names):
            raise UserError("labels: hold nan, which is no class")
        if len(self.names) < 2:
            raise UserError(f"labels: {len(self.names)} class; a support set has at least 2")
        position = {name: i for i, name in enumerate(self.names)}
        self.y = torch.tensor([position[label] for label in listed])  # [N]
        self.counts = torch.bincount(self.y).tolist()

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.names)

    def as_array(self) -> np.ndarray:
        """The names `[ways]`, of their own type where they have one in common that NumPy keeps as they are."""
        kinds = {type(name) for name in self.names}
        if len(kinds) == 1 and kinds <= {*PLAIN} and (array := np.asarray(self.names)).tolist() == self.names:
            return array
        array = np.empty(len(self.names), dtype=object)
        array[:] = self.names
        return array


def plain_list(labels: Labels) -> list[Any]:
    """Labels as a list of Python's own values."""
    if isinstance(labels, str):
        raise UserError(f"{labels}: is one label; give a list with one label per image")
    if isinstance(labels, (np.ndarray, Tensor)):
        if labels.ndim != 1:
            raise UserError(f"labels of shape {list(labels.shape)}: should be [N], one per image")
        return list(labels.tolist())
    try:
        listed = ordered(labels)
        return [label.item() if isinstance(label, (np.generic, Tensor)) else label for label in listed]
    except (TypeError, RuntimeError):  # no sequence; a tensor of several values
        raise UserError(f"labels: should be one value per image, not {type(labels).__name__}") from None


def prepare_targets(given: Any, outputs: int) -> Tensor:
    """Targets `[N, outputs]`, float32, of numbers `[N]` or `[N, outputs]`; raises `UserError` for anything else."""
    y = torch.from_numpy(as_array(given, "targets")).float()
    if y.ndim == 1 and outputs == 1:
        y = y.unsqueeze(1)
    if y.ndim != 2 or y.shape[1] != outputs:
        raise UserError(f"targets of shape {list(y.shape)}: should be [N, {outputs}]")
    if not bool(y.isfinite().all()):
        raise UserError("targets: hold a value that is not finite")
    return y
