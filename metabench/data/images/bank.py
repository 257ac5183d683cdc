"""Image sets in memory."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ImageSet(NamedTuple):
    """Images of classes that may have different numbers of them, class after class.

    `images` is uint8 [N, C, H, W]; `names` and `counts` have one entry per class, and the counts add up to N; `digest`
    is the sha256 of the content.
    """

    images: Tensor
    names: list[str]
    counts: list[int]
    digest: str


class ImageBank(NamedTuple):
    """Every drawing of every class, small enough to live whole on the device (Omniglot at 28x28 is 25 MB).

    `images` is uint8 [classes, drawings, H, W]; `names` holds one 'Alphabet/characterNN' per class, sorted; `digest` is
    the sha256 of the content, equal for every copy of the same data.
    """

    images: Tensor
    names: list[str]
    digest: str

    def as_set(self) -> ImageSet:
        """The same images as views [N, 1, H, W]."""
        classes, drawings = self.images.shape[:2]
        return ImageSet(self.images.flatten(0, 1).unsqueeze(1), self.names, [drawings] * classes, self.digest)
