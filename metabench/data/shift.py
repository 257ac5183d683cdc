"""Shifts: test tasks that differ from training in one known way. Training and validation tasks stay as they are.

A shift that changes images, targets or labels leaves the drawing of tasks alone: task i is the home test's task i, so
that what the shift costs is paired over tasks. Its own random numbers come from streams of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from metabench.config.types import Count, NonNegative, Number, Section, Share
from metabench.data.sequence import moved
from metabench.errors import ConfigError
from metabench.objective import one_hot
from metabench.rng import below, choose, gaussian, uniform
from metabench.tasks import Episode, Examples

FINE = 4  # parts of a pixel, for strokes
_SUPPORT_NOISE, _QUERY_NOISE, _WRONG, _OTHER, _COUNTS, _SPARE, _ALPHABET, _MEMBERS = range(16, 24)  # streams

Sort = Literal["one", "new"]


class Shift(Section):
    """A shift; a key without a value changes nothing."""

    @property
    def given(self) -> dict[str, Any]:
        """The keys in force, for the protocol card."""
        return self.model_dump(exclude_none=True)


class ImageShift(Shift):
    """Shifts of test tasks of images; those of the image apply to support and queries, in the order of the keys."""

    stroke: Annotated[float, Field(ge=-2, le=2, multiple_of=1 / FINE)] | None = None  # pixels added on each side
    rotate: Number | None = None  # degrees, counter-clockwise
    resolution: Count | None = None  # pixels of the side that an image is reduced to, and enlarged again
    invert: bool | None = None  # ink and background swapped
    noise: NonNegative | None = None  # standard deviation, added to each pixel
    wrong_labels: Share | None = None  # of the support set; each class keeps a right one
    unbalanced: bool | None = None  # a random number of shots for each class, the same in all
    alphabet: Sort | None = None  # of a task's classes: one for all of them, or new ones, that training has none of

    def check(self, episode: Episode, each: int, size: int) -> None:
        """Raise `ConfigError` where tasks of `each` drawings a class, of side `size`, cannot have the shift."""
        ways, shots, queries = episode.outputs, episode.shots, episode.queries
        if self.unbalanced and shots < 2:
            raise ConfigError("data.shots", shots, "with data.shift.unbalanced=true at least 2")
        if self.unbalanced and each - queries <= shots:
            valid = f"with data.shift.unbalanced=true at most {each - shots - 1}, so that a class can have more"
            raise ConfigError("data.queries", queries, valid)
        if (wrong := self.wrong(ways, shots)) > ways * (shots - 1):
            valid = f"at most {ways * (shots - 1)} of {ways * shots} support labels, so that each class keeps one"
            raise ConfigError("data.shift.wrong_labels", self.wrong_labels, f"{valid}: {wrong} are asked for")
        if self.resolution and self.resolution > size:
            raise ConfigError("data.shift.resolution", self.resolution, f"at most {size}, the side of an image")

    def images(self, x: Tensor, keys: Tensor, *, query: bool, background: float) -> Tensor:
        """`x [T, N, C, S, S]`, shifted; ink differs from `background`, 0 or 1, by up to 1."""
        if self.stroke:
            x = widened(x, self.stroke if background == 0 else -self.stroke)
        if self.rotate:
            x = rotated(x, self.rotate, background)
        if self.resolution:
            x = reduced(x, self.resolution)
        if self.invert:
            x = 1 - x
        if self.noise:
            stream = _QUERY_NOISE if query else _SUPPORT_NOISE
            x = x + self.noise * gaussian(keys, stream, *x.shape[1:]).to(x.dtype)
        return x

    def wrong(self, ways: int, shots: int) -> int:
        """The number of wrong labels in a support set of that size."""
        return round((self.wrong_labels or 0) * ways * shots)

    def labels(self, support: Examples, keys: Tensor, ways: int) -> Examples:
        """The support set with exactly round(share · N) wrong labels `y [T, N]`.

        One example of each class keeps its label, so that every class still has one: without, many methods are not
        defined.
        """
        x, y = support
        count = self.wrong(ways, y.shape[1] // ways)
        if not count:
            return support
        member = one_hot(y, ways, torch.int64)
        first = (member.cumsum(1) * member).sum(-1) == 1  # of its class
        where = uniform(keys, _WRONG, y.shape[1]).masked_fill(first, 1.0).argsort(dim=1, stable=True)[:, :count]
        step = 1 + (uniform(keys, _OTHER, count) * (ways - 1)).long()  # never 0, never the number of classes
        return Examples(x, y.scatter(1, where, (y.gather(1, where) + step) % ways))

    def shots(self, drawing: Tensor, keys: Tensor, shots: int, queries: int, each: int) -> Tensor:
        """Drawings, of its `each`, that a class shows, `[T, ways, each]`: as many in all as `shots` of every class.

        `drawing [T, ways, shots + queries]` are those of the balanced task. Each class keeps one; the others are
        spread over all places that there are, up to 2 shots - 1 of a class, and no query is shown.
        """
        tasks, ways, _ = drawing.shape
        most = min(each - queries, 2 * shots - 1)
        extra = choose(keys, _COUNTS, ways * (most - 1), ways * (shots - 1)) // (most - 1)
        counts = 1 + one_hot(extra, ways, torch.int64).sum(1)  # [T, ways]
        order = uniform(keys, _SPARE, ways, each).scatter(2, drawing, 4.0)  # the other drawings, in random order
        first = torch.arange(shots, device=drawing.device).double().expand(tasks, ways, shots) - shots
        order = order.scatter(2, drawing[..., :shots], first)  # after those of the balanced task
        return order.argsort(-1).argsort(-1) < counts.unsqueeze(-1)


class CurveShift(Shift):
    """Shifts of test tasks that are curves."""

    noise: NonNegative | None = None  # standard deviation, added to support targets
    query_x: list[Number] | None = None  # where queries lie, in place of x_range


def widened(x: Tensor, by: float) -> Tensor:
    """Bright parts of images `[..., S, S]` grown by `by` pixels on every side, or dark ones where it is negative.

    A square of 2 by + 1 pixels; fractions of a pixel are grey.
    """
    reach = round(FINE * abs(by))
    fine = x.flatten(0, -4) if x.ndim > 4 else x
    fine = F.interpolate(fine, scale_factor=FINE, mode="nearest")
    fine = F.max_pool2d(fine if by > 0 else -fine, 2 * reach + 1, stride=1, padding=reach)
    return F.avg_pool2d(fine if by > 0 else -fine, FINE).view(x.shape)


def rotated(x: Tensor, degrees: float, background: float) -> Tensor:
    """Images `[T, N, C, S, S]` turned counter-clockwise about their middle; corners are `background`.

    Bilinear, exact for multiples of 90 degrees.
    """
    quarters, rest = divmod(degrees, 90)
    x = x.rot90(int(quarters) % 4, (-2, -1))
    if not rest:
        return x
    angle, still = x.new_full(x.shape[:2], -math.radians(rest)), x.new_zeros(x.shape[:2])
    return background + moved(x - background, angle, still, still, outside="zeros")


def reduced(x: Tensor, side: int) -> Tensor:
    """Images `[T, N, C, S, S]` averaged to `side` pixels a side and enlarged again, each pixel to a block."""
    small = F.interpolate(x.flatten(0, 1), size=(side, side), mode="area")
    return F.interpolate(small, size=x.shape[-2:], mode="nearest").view(x.shape)


def alphabet(character: str) -> str:
    """The alphabet of 'Alphabet/character01'."""
    return character.partition("/")[0]


def new_alphabets(characters: Sequence[str], trained: Sequence[str]) -> list[str]:
    """The characters whose alphabet has no trained one; raises `ConfigError` where there is none."""
    seen = set(map(alphabet, trained))
    found = [name for name in characters if alphabet(name) not in seen]
    if not found:
        raise ConfigError("data.shift.alphabet", "new", "training has characters of every test alphabet")
    return found


def alphabet_members(characters: Sequence[str], turns: int, ways: int) -> Tensor:
    """The classes of each alphabet that has `ways` or more, at each of `turns`: `[A · turns, turns · C]`, boolean.

    Raises `ConfigError` where no alphabet is so large.
    """
    names = [alphabet(name) for name in characters]
    sizes = {name: names.count(name) for name in sorted(set(names))}
    if max(sizes.values()) < ways:
        raise ConfigError("data.ways", ways, f"with data.shift.alphabet=one at most {max(sizes.values())}")
    one = torch.tensor([[name == of for name in names] for of, size in sizes.items() if size >= ways])
    return torch.block_diag(*(one,) * turns) > 0


def within_alphabet(members: Tensor, keys: Tensor, ways: int) -> Tensor:
    """Distinct classes `[T, ways]`, all of one alphabet, drawn for each task: each alphabet as often."""
    group = below(keys, _ALPHABET, torch.full_like(keys, len(members)))
    place = uniform(keys, _MEMBERS, members.shape[1]).masked_fill(~members[group], 1.0)
    return place.argsort(dim=1, stable=True)[:, :ways]
