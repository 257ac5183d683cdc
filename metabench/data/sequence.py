"""Episodes as streams of drawings, each shown with the label of the one before (Santoro et al., ICML 2016)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.config.types import NonNegative, Section, Share
from metabench.errors import ConfigError
from metabench.rng import choose, uniform
from metabench.tasks import Examples, TaskSpec

CHARACTERS = SYMBOLS = 5  # a string label: five characters, each one of five
_SHAKE, _STRINGS = 8, 9  # streams of random numbers, apart from those of the episodes


class Stream(Section):
    """Settings of an episode that is a sequence."""

    labels: Literal["one_hot", "strings"]
    rotation: NonNegative  # of a training drawing, uniform in ± so many degrees
    translation: Share  # of a training drawing, in both directions uniform in ± this share of its side

    def spec(self, episodes: TaskSpec) -> TaskSpec:
        """The spec of sequences made of such episodes."""
        if self.labels == "one_hot":
            return replace(episodes, setting="sequence")
        for key, episode in (("data", episodes.eval), ("data.train", episodes.train)):
            if episode.outputs > (most := SYMBOLS**CHARACTERS):
                raise ConfigError(f"{key}.ways", episode.outputs, f"at most {most}, the strings that there are")
        train, evaluation = (replace(e, outputs=CHARACTERS * SYMBOLS) for e in (episodes.train, episodes.eval))
        return replace(episodes, objective="strings", train=train, eval=evaluation, setting="sequence")

    def label(self, part: Examples, keys: Tensor, ways: int) -> Examples:
        """The same drawings, labelled as `labels` says: `y [T, L]`, or `[T, L, 5]` of strings."""
        if self.labels == "one_hot":
            return part
        return Examples(part.x, torch.take_along_dim(strings(keys, ways), part.y.unsqueeze(2), dim=1))

    def shake(self, part: Examples, keys: Tensor) -> Examples:
        """Each drawing turned by a small angle and moved, as training data is."""
        if self.rotation == 0 and self.translation == 0:
            return part
        angle, right, down = (2 * uniform(keys, _SHAKE, part.x.shape[1], 3) - 1).float().unbind(-1)
        return Examples(
            moved(part.x, math.radians(self.rotation) * angle, self.translation * right, self.translation * down),
            part.y,
        )


def strings(keys: Tensor, ways: int) -> Tensor:
    """A random string for each class, no two alike in a task: `[T, ways, 5]`."""
    number = choose(keys, _STRINGS, SYMBOLS**CHARACTERS, ways).unsqueeze(-1)
    return number // SYMBOLS ** torch.arange(CHARACTERS, device=keys.device) % SYMBOLS


def moved(
    x: Tensor, angle: Tensor, right: Tensor, down: Tensor, outside: Literal["border", "zeros"] = "border"
) -> Tensor:
    """Drawings `[T, L, C, S, S]` turned clockwise by `angle [T, L]` about their middle, then moved by shares of S.

    Bilinear; what comes in from `outside` is as the nearest edge, or 0.
    """
    cos, sin = angle.cos(), angle.sin()
    right, down = 2 * right, 2 * down  # the side of a drawing has length 2 there
    inverse = torch.stack(
        [cos, sin, -cos * right - sin * down, -sin, cos, sin * right - cos * down], dim=-1
    )  # where a pixel comes from
    images = x.flatten(0, 1)
    grid = F.affine_grid(inverse.view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode=outside, align_corners=False).view(x.shape)
