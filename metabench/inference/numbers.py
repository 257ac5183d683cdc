"""A user's numbers as a NumPy array: of a list, an array or a tensor, wherever and however it lies in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metabench.errors import UserError

REAL = "biuf"  # kinds of NumPy's types


def as_array(given: Any, name: str) -> np.ndarray:
    """A copy in C's and the machine's own order; raises `UserError`, which begins with `name`, for no real numbers."""
    try:
        found = np.array(_plain(given))
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"{name}: should be numbers in rows of one length, not {type(given).__name__}") from None
    if found.dtype.kind not in REAL:
        kind = type(given).__name__ if found.dtype == object else found.dtype.name
        raise UserError(f"{name}: should be real numbers, not {kind}")
    return np.array(found, dtype=found.dtype.newbyteorder("="), order="C")


def ordered(given: Iterable[Any]) -> Iterable[Any]:
    """`given` itself; raises `TypeError` for what has no order, in which images and labels could not meet."""
    if isinstance(given, (set, frozenset, dict)):
        raise TypeError(f"a {type(given).__name__} has no order")
    return given


def _plain(given: Any) -> Any:
    if isinstance(given, Tensor):
        given = given.detach().cpu()
        return (given.float() if given.dtype == torch.bfloat16 else given).numpy()
    return [_plain(one) for one in given] if isinstance(given, (list, tuple)) else given
