"""Omniglot (Lake, Salakhutdinov, Tenenbaum 2015): 1,623 characters of 50 alphabets, 20 drawings each."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Unpack

import torch
from PIL.Image import Image
from pydantic import Field
from torch import Tensor

from metabench.config.types import Folder
from metabench.data.few_shot import Episodes, FewShotImages
from metabench.data.images import raw
from metabench.data.images.ingest import Filter, load_omniglot
from metabench.data.images.splits import read_split, split_digest
from metabench.data.online import Online
from metabench.data.shift import ImageShift


class Omniglot(FewShotImages):
    """Few-shot episodes of hand-drawn characters, under one of three fixed splits."""

    def __init__(
        self,
        seed: int,
        device: torch.device,
        *,
        split: Literal["vinyals", "lake", "maml"],
        size: Annotated[int, Field(ge=8, le=105)],
        resize: Filter,
        invert: bool,
        crop: Annotated[int, Field(ge=1, le=52)] | None = None,
        root: Folder | None,
        download: bool,
        online: Online | None = None,
        shift: ImageShift | None = None,
        **episodes: Unpack[Episodes],
    ) -> None:
        self.split, self.resize, self.invert, self.crop = split, resize, invert, crop
        super().__init__(
            seed,
            device,
            size=size,
            online=online,
            shift=shift,
            drawings=20,
            background=0.0 if invert else 1.0,
            characters=read_split(split),
            read=lambda: load_omniglot(
                root, size=size, resize=resize, invert=invert, crop=crop or 0, download=download
            ),
            **episodes,
        )

    def prepare(self, picture: Image) -> Tensor:
        """See `TaskSource`; a drawing is dark on light, as Omniglot's files are."""
        return self._prepared(picture, self.resize, crop=self.crop or 0, invert=self.invert)

    def card(self) -> dict[str, Any]:
        """The split by name and content, how images become inputs, and a word where they are not the published ones."""
        return {
            "source": "omniglot",
            **({} if self.drawings.digest == raw.DIGEST else {"published": False}),
            "split": self.split,
            "split_digest": split_digest(self.split)[:16],
            "resize": self.resize,
            "invert": self.invert,
            **({"crop": self.crop} if self.crop else {}),
            **super().card(),
        }
