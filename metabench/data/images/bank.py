"""An image set in memory."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ImageBank(NamedTuple):
    """Every drawing of every class, small enough to live whole on the device (Omniglot at 28x28 is 25 MB).

    `images` is uint8 [classes, drawings, H, W]; `names` holds one 'Alphabet/characterNN' per class, sorted; `digest` is
    the sha256 of the content, equal for every copy of the same data.
    """

    images: Tensor
    names: list[str]
    digest: str
