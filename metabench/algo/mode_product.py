"""Mode products: a matrix times one mode of a tensor (Kolda, Bader 2009, "Tensor decompositions", section 2.5).

    (W ×_n M)_{… i …} = Σ_j M_{ij} W_{… j …}        j, i at position n

Of the weights of a layer mode 1 are the outputs (the only one of a bias), mode 2 the inputs, mode 3 the positions of a
convolution's kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mode_product(w: Tensor, matrix: Tensor, mode: int) -> Tensor:
    """w ×_mode matrix for every task; w `[T, d_1, d_2, …]`, matrix `[e, d_mode]`, shared by all tasks."""
    return torch.tensordot(w, matrix, dims=([mode], [1])).movedim(-1, mode)
