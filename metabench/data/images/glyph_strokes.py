"""Glyphs: an Omniglot-like set that the program draws by itself, for machines without the data.

A class is two to four pen strokes. A stroke starts somewhere, or on an earlier stroke, and is a heading that turns from
step to step: not at all (a line), steadily (an arc), to and fro (a wave), once (a corner), late (a hook), or freely. A
drawing repeats the strokes with an unsteady hand - starts, headings, turns and lengths vary - on tilted paper: it is
rotated, scaled, sheared and shifted, with a thicker or thinner pen.

A drawing is a pure function of (seed, class, drawing): asking for more of either changes none. Only uniform numbers are
drawn, since those are what numpy keeps the same between its versions.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray

from metabench.data.images.bank import ImageBank
from metabench.data.images.rasterize import paint

STROKES = 4  # at most
POINTS = 8  # a stroke's control points, its curve passes through each
TURNS = POINTS - 2
_CHUNK = 64  # classes drawn at once, to bound memory


class Plan(NamedTuple):
    """The plan of a class, common to its images; lengths have no unit until it is fitted to the canvas."""

    drawn: ndarray  # [C, S] bool, whether the class has this stroke
    start: ndarray  # [C, S, 2], used where no parent is
    parent: ndarray  # [C, S] int, the earlier stroke that this one starts on; itself if it starts freely
    joint: ndarray  # [C, S] int, the parent's control point that it starts on
    heading: ndarray  # [C, S] radians
    turns: ndarray  # [C, S, TURNS] radians
    step: ndarray  # [C, S] distance between control points
    extent: ndarray  # [C] the larger side of the class's box, in canvas widths


class Hand(NamedTuple):
    """Deviations of images from the plan; every number has mean 0, standard deviation 1, and lies within 3 of them."""

    start: ndarray  # [C, D, S, 2]
    heading: ndarray  # [C, D, S]
    step: ndarray  # [C, D, S]
    bend: ndarray  # [C, D, S], all turns of a stroke together
    turns: ndarray  # [C, D, S, TURNS], each by itself
    paper: ndarray  # [C, D, 7]: rotation, zoom, aspect, shear, shift (2), pen


HAND = STROKES * (5 + TURNS) + 7  # numbers per drawing


def draw_glyphs(*, classes: int, drawings: int = 20, size: int = 28, seed: int) -> ImageBank:
    """`classes` invented characters, `drawings` of each, at `size` x `size` pixels; ink is 255 on 0, with soft edges.

    `seed` is not negative. The digest is that of the images.
    """
    chunks = [range(first, min(first + _CHUNK, classes)) for first in range(0, classes, _CHUNK)]
    images = torch.from_numpy(np.concatenate([_draw(chunk, drawings, size, seed) for chunk in chunks]))
    names = [f"Glyphs/character{number:04d}" for number in range(1, classes + 1)]
    return ImageBank(images, names, hashlib.sha256(images.numpy().data).hexdigest())


def _draw(classes: range, drawings: int, size: int, seed: int) -> ndarray:
    """uint8 [C, D, size, size]."""
    generators = [np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number]))) for number in classes]
    plan = _plan(
        np.stack([generator.random(2) for generator in generators]),
        np.stack([generator.random((STROKES, 10 + TURNS)) for generator in generators]),
    )
    hand = _hand(np.stack([generator.random((drawings, HAND, 3)) for generator in generators]))
    points = _place(plan, hand, _trace(plan, hand))
    radius = size * (0.029 + 0.003 * hand.paper[..., 6])
    return paint((points + 0.5) * size, np.broadcast_to(plan.drawn[:, None], points.shape[:3]), radius, size)


def _hand(uniform: ndarray) -> Hand:
    """From uniform numbers [C, D, HAND, 3]; the sum of three is nearly normal, and bounded."""
    noise = 2 * uniform.sum(-1) - 3
    strokes = noise[..., :-7].reshape(*noise.shape[:2], STROKES, 5 + TURNS)
    start, heading, step, bend, turns = np.split(strokes, [2, 3, 4, 5], axis=-1)
    return Hand(start, heading[..., 0], step[..., 0], bend[..., 0], turns, noise[..., -7:])


def _plan(whole: ndarray, u: ndarray) -> Plan:
    """From uniform numbers [C, 2] and [C, S, 10 + TURNS]."""
    index = np.arange(STROKES)
    count = 2 + (whole[:, :1] > 0.35) + (whole[:, :1] > 0.8)
    joined = (u[..., 0] < 0.6) & (index > 0)
    turns = _turns(u[..., 1], u[..., 2], u[..., 10:])
    curl = np.abs(turns).sum(-1)  # a curly stroke is longer, or it would be a blot
    return Plan(
        drawn=index < count,
        start=1.6 * u[..., 3:5] - 0.8,
        parent=np.where(joined, (u[..., 5] * index).astype(int), index),
        joint=(u[..., 6] * POINTS).astype(int),
        heading=np.pi / 4 * np.floor(8 * u[..., 7]) + 0.5 * (u[..., 8] - 0.5),  # mostly upright, level or diagonal
        turns=turns,
        step=(0.7 + 1.0 * u[..., 9] + 0.3 * curl) / (POINTS - 1),
        extent=0.55 + 0.3 * whole[:, 1],
    )


def _turns(kind: ndarray, amount: ndarray, free: ndarray) -> ndarray:
    """The turns [C, S, TURNS] of lines, arcs, waves, corners, hooks and free curves."""
    k = np.arange(TURNS)
    side = np.sign(amount - 0.5)[..., None]
    much = np.abs(2 * amount - 1)[..., None]  # uniform in [0, 1), independent of the side
    corner = k == 1 + np.floor((TURNS - 2) * free[..., :1])
    profiles = np.stack(
        [
            np.zeros_like(free),
            side * (0.15 + 0.75 * much) * np.ones_like(free),
            side * (0.4 + 0.5 * much) * np.cos(np.pi * k / (TURNS - 1)),
            side * (1.2 + 1.1 * much) * corner,
            side * (0.6 + 0.6 * much) * (k >= TURNS // 2),
            1.6 * (free - 0.5),
        ]
    )
    which = np.digitize(kind, [0.25, 0.45, 0.6, 0.75, 0.9])
    return np.take_along_axis(profiles, which[None, ..., None], axis=0)[0]


def _trace(plan: Plan, hand: Hand) -> ndarray:
    """The control points [C, D, S, POINTS, 2] of each drawing, before the class is fitted to the canvas."""
    turns = plan.turns[:, None] * (1 + 0.12 * hand.bend[..., None]) + 0.08 * hand.turns
    heading = plan.heading[:, None] + 0.12 * hand.heading
    angle = np.concatenate([heading[..., None], heading[..., None] + turns.cumsum(-1)], axis=-1)
    step = plan.step[:, None] * (1 + 0.13 * hand.step)
    moves = step[..., None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    path = np.concatenate([np.zeros_like(moves[..., :1, :]), moves.cumsum(-2)], axis=-2)
    free = plan.start[:, None] + 0.07 * hand.start
    each = np.arange(len(path))
    for stroke in range(STROKES):
        parent = plan.parent[:, stroke]
        joined = path[each, :, parent, plan.joint[:, stroke]] + 0.03 * hand.start[:, :, stroke]
        start = np.where((parent == stroke)[:, None, None], free[:, :, stroke], joined)
        path[:, :, stroke] += start[:, :, None]
    return path


def _place(plan: Plan, hand: Hand, path: ndarray) -> ndarray:
    """`path` on the canvas, which is [-0.5, 0.5] squared: fitted by the class's plan, then as the paper lies."""
    steady = _hand(np.full((len(path), 1, HAND, 3), 0.5))
    low, high = _box(_trace(plan, steady), plan.drawn)
    side = high - low
    longest = side.max(-1, keepdims=True)
    # Half way to a square: flat characters would fill little of the canvas.
    square = np.sqrt(longest * np.maximum(side, 0.3 * longest))
    path = (path - ((low + high) / 2)[:, :, None, None]) * (plan.extent[:, None, None] / square)[:, :, None, None]
    rotation, zoom, aspect, shear = np.moveaxis(hand.paper[..., :4] * (0.10, 0.10, 0.10, 0.12), -1, 0)
    cos, sin = np.cos(rotation), np.sin(rotation)
    wide, tall = 1 + zoom + aspect, 1 + zoom - aspect
    tilt = np.stack([cos * wide, (cos * shear - sin) * tall, sin * wide, (sin * shear + cos) * tall], axis=-1)
    path = np.einsum("cdspj,cdij->cdspi", path, tilt.reshape(*tilt.shape[:2], 2, 2))
    path = path + 0.05 * hand.paper[..., None, None, 4:6]
    low, high = _box(path, plan.drawn)
    room = 0.46
    shrink = np.minimum(1, 2 * room / (high - low).max(-1))[..., None]
    low, high = low * shrink, high * shrink
    shift = np.maximum(-room - low, 0) - np.maximum(high - room, 0)
    return path * shrink[..., None, None] + shift[:, :, None, None]


def _box(path: ndarray, drawn: ndarray) -> tuple[ndarray, ndarray]:
    """The lower and upper corner [C, D, 2] of what is drawn."""
    hidden = ~drawn[:, None, :, None, None]
    low = np.where(hidden, np.inf, path).min((2, 3))
    return low, np.where(hidden, -np.inf, path).max((2, 3))
