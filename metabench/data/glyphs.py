"""Glyphs: an Omniglot-like set that the program draws by itself, for machines with no network and for quick tests."""

from __future__ import annotations

from typing import Annotated, Any, Unpack

import torch
from pydantic import Field

from metabench.config.types import Seed
from metabench.data.few_shot import Episodes, FewShotImages
from metabench.data.images.glyph_strokes import draw_glyphs
from metabench.data.online import Online
from metabench.data.shift import ImageShift
from metabench.tasks import SplitName

DRAWINGS = 20


class Glyphs(FewShotImages):
    """Few-shot episodes of `characters` drawn characters: the first 60% train, the next 15% validate, the rest test."""

    def __init__(
        self,
        seed: int,
        device: torch.device,
        *,
        characters: Annotated[int, Field(ge=40, le=9_999)],
        size: Annotated[int, Field(ge=16, le=105)],
        bank_seed: Seed,
        online: Online | None = None,
        shift: ImageShift | None = None,
        **episodes: Unpack[Episodes],
    ) -> None:
        self.bank_seed = bank_seed
        names = [f"Glyphs/character{i:04d}" for i in range(1, characters + 1)]
        a, b = round(0.6 * characters), round(0.75 * characters)
        super().__init__(
            seed,
            device,
            size=size,
            online=online,
            shift=shift,
            drawings=DRAWINGS,
            characters={"train": names[:a], "validation": names[a:b], "test": names[b:]},
            read=lambda: draw_glyphs(classes=characters, drawings=DRAWINGS, size=size, seed=bank_seed),
            **episodes,
        )

    def class_names(self, split: SplitName) -> frozenset[str]:
        """See `TaskSource`; another seed draws other characters."""
        return frozenset(f"{name} of bank {self.bank_seed}" for name in super().class_names(split))

    def card(self) -> dict[str, Any]:
        """The seed that the characters are drawn from."""
        return {"source": "glyphs", "bank_seed": self.bank_seed, **super().card()}
