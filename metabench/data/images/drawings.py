"""The drawings of a source, on its device, and where those of each character stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from metabench.data.images.bank import ImageBank, ImageSet
from metabench.tasks import SPLITS, SplitName


class Drawings(NamedTuple):
    """The drawings of all characters, in each of their turns."""

    images: Tensor  # uint8 [turns * images of all characters, C, size, size]
    pools: dict[SplitName, Tensor]  # the characters of each split
    starts: Tensor  # [characters], the first image of each
    counts: int | Tensor  # images of a character, or of each [characters] where they differ
    turn_stride: int  # images from one turn to the next
    digest: str

    @classmethod
    def of(
        cls, bank: ImageBank | ImageSet, characters: Mapping[str, Sequence[str]], turns: int, device: torch.device
    ) -> Drawings:
        """The drawings of a bank, in so many turns by 90 degrees, with the names of each split's `characters`."""
        bank = bank.as_set() if isinstance(bank, ImageBank) else bank
        position = {name: i for i, name in enumerate(bank.names)}
        pools = {split: torch.tensor([position[name] for name in characters[split]], device=device) for split in SPLITS}
        images = bank.images.to(device)
        if turns > 1:
            images = torch.cat([images.rot90(turn, (-2, -1)) for turn in range(turns)])
        counts = torch.tensor(bank.counts, device=device)
        even = len(set(bank.counts)) == 1
        return cls(
            images, pools, counts.cumsum(0) - counts, bank.counts[0] if even else counts, len(bank.images), bank.digest
        )
