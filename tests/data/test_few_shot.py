"""Episodes of drawings: who is in them, how they are turned, and what their labels mean.

Every drawing of the bank here says in its first row who it is: a mark in the corner, its character, its number.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from build import CPU
from scipy import stats
from torch import Tensor

from metabench.data.few_shot import FewShotImages, Shape
from metabench.data.images.bank import ImageBank
from metabench.errors import ConfigError
from metabench.tasks import SPLITS, Examples, Tasks

DRAWINGS, SIZE = 20, 6
NAMES = [f"Alphabet/character{i:02d}" for i in range(40)]
CHARACTERS = {"train": NAMES[:24], "validation": NAMES[24:30], "test": NAMES[30:]}
ROTATIONS = ("classes_all", "classes_train", "per_task", "none")
rotated = pytest.mark.parametrize("rotations", ROTATIONS)


class Shown(NamedTuple):
    """What pictures `[T, N]` show."""

    character: Tensor
    drawing: Tensor
    turn: Tensor


def bank() -> ImageBank:
    images = torch.zeros(len(NAMES), DRAWINGS, SIZE, SIZE, dtype=torch.uint8)
    images[..., 0, 0] = 255
    images[..., 0, 1] = torch.arange(len(NAMES))[:, None]
    images[..., 0, 2] = torch.arange(DRAWINGS)
    return ImageBank(images, NAMES, "0" * 64)


def make(ways=5, shots=2, queries=3, train=None, rotations="none", seed=0, eval_seed=0) -> FewShotImages:
    return FewShotImages(
        seed,
        CPU,
        ways=ways,
        shots=shots,
        queries=queries,
        train=Shape(**(train or {"ways": ways, "shots": shots, "queries": queries})),
        rotations=rotations,
        eval_seed=eval_seed,
        size=SIZE,
        drawings=DRAWINGS,
        characters=CHARACTERS,
        read=bank,
    )


def seen(part: Examples) -> Shown:
    pixels = (part.x.squeeze(2) * 255).round().long()
    turns = torch.stack([pixels.rot90(-turn, (-2, -1))[..., 0, :3] for turn in range(4)], dim=2)
    turn = (turns[..., 0] == 255).long().argmax(-1)
    row = turns.take_along_dim(turn[..., None, None], 2).squeeze(2)
    assert (row[..., 0] == 255).all()
    return Shown(row[..., 1], row[..., 2], turn)


def both(tasks: Tasks) -> tuple[Shown, Tensor]:
    """What support and query show, and their labels."""
    together = Examples(*(torch.cat(parts, dim=1) for parts in zip(tasks.support, tasks.query, strict=True)))
    return seen(together), together.y


@rotated
@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_balanced_and_name_the_true_class(split, rotations):
    source = make(rotations=rotations)
    tasks = source.sample(split, 0, 30)
    for part, each in ((tasks.support, 2), (tasks.query, 3)):
        assert part.x.shape == (30, 5 * each, 1, SIZE, SIZE)
        assert (torch.nn.functional.one_hot(part.y, 5).sum(1) == each).all()
    shown, labels = both(tasks)
    classes = tasks.truth["classes"].gather(1, labels)
    characters = len(CHARACTERS[split])
    assert torch.equal(shown.character - NAMES.index(CHARACTERS[split][0]), classes % characters)
    for label in range(5):
        turns = shown.turn[labels == label].view(30, -1)
        assert (turns == turns[:, :1]).all(), "one class, one angle"
    if rotations != "per_task":
        assert torch.equal(shown.turn, classes // characters)
    assert classes.max() < source.classes[split]


@rotated
def test_no_drawing_comes_twice_in_a_task(rotations):
    shown, _ = both(make(rotations=rotations).sample("train", 0, 200))
    who = (shown.character * DRAWINGS + shown.drawing) * 4 + shown.turn
    assert (who.sort(1).values.diff(dim=1) > 0).all()


@pytest.mark.parametrize("rotations", ["per_task", "none"])
def test_no_character_has_two_labels_unless_turned_copies_are_classes(rotations):
    shown, labels = both(make(rotations=rotations).sample("train", 0, 200))
    same = shown.character[:, :, None] == shown.character[:, None]
    assert torch.equal(same, labels[:, :, None] == labels[:, None])


@rotated
def test_only_what_the_mode_says_is_turned_and_all_angles_come_equally(rotations):
    source = make(rotations=rotations)
    for split in SPLITS:
        turned = rotations in {"classes_all", "per_task"} or (rotations == "classes_train" and split == "train")
        one_per_task = seen(source.sample(split, 0, 1000).query).turn[:, 0]
        if turned:
            assert evenly(one_per_task, 4)
        else:
            assert not one_per_task.any()
        as_classes = rotations == "classes_all" or (rotations == "classes_train" and split == "train")
        assert source.classes[split] == len(CHARACTERS[split]) * (4 if as_classes else 1)
    assert source.spec.num_classes == source.classes["train"]


def evenly(values: Tensor, kinds: int) -> bool:
    return stats.chisquare(values.bincount(minlength=kinds)).pvalue > 1e-3


def test_every_class_every_drawing_and_every_order_is_equally_likely():
    tasks = make(rotations="classes_all").sample("test", 0, 3000)
    assert evenly(tasks.truth["classes"][:, 0], 40)
    assert evenly(seen(tasks.query).drawing[:, 0], DRAWINGS)
    for part in tasks[:2]:
        assert evenly(part.y[:, 0], 5)


def test_classes_of_a_task_are_turned_independently():
    """One angle for a whole task would be another, easier protocol."""
    support = make(rotations="per_task", ways=2, shots=1).sample("test", 0, 3000).support
    turn = seen(support).turn.gather(1, support.y.argsort(1))
    assert evenly(4 * turn[:, 0] + turn[:, 1], 16)


def test_support_and_query_are_ordered_independently():
    tasks = make(shots=2, queries=2).sample("test", 0, 3000)
    assert evenly(5 * tasks.support.y[:, 0] + tasks.query.y[:, 0], 25)


def test_splits_share_no_character():
    source = make(rotations="per_task")
    found = [set(both(source.sample(split, 0, 300))[0].character.flatten().tolist()) for split in SPLITS]
    assert [len(characters) for characters in found] == [len(CHARACTERS[split]) for split in SPLITS]
    assert not found[0] & found[1] | found[0] & found[2] | found[1] & found[2]


def test_seeds_change_training_tasks_only():
    a, b, c = make(), make(seed=1), make(eval_seed=1)
    for split in SPLITS:
        x, y, z = (source.sample(split, 0, 3).support.x for source in (a, b, c))
        assert torch.equal(x, y) == (split != "train")
        assert torch.equal(x, z) == (split == "train")


def test_any_batches_give_the_same_tasks():
    source = make(rotations="per_task")
    whole = source.sample("test", 0, 10)
    pieces = [source.sample("test", start, stop - start) for start, stop in ((0, 1), (1, 7), (7, 10))]
    for part in (0, 1):
        for i in (0, 1):
            assert torch.equal(whole[part][i], torch.cat([piece[part][i] for piece in pieces]))


def test_a_training_task_may_be_a_support_set_alone():
    (x, y), query = make(train={"ways": 6, "shots": 1, "queries": 0}).sample("train", 0, 3)[:2]
    assert (x.shape[:2], query.x.shape[:2], query.y.shape) == ((3, 6), (3, 0), (3, 0))
    assert torch.equal(y.sort(1).values, torch.arange(6).expand(3, 6))


def test_training_may_have_episodes_of_its_own():
    source = make(train={"ways": 20, "shots": 1, "queries": 4})
    train, test = source.sample("train", 0, 2), source.sample("test", 0, 2)
    assert (train.support.y.shape, train.query.y.shape) == ((2, 20), (2, 80))
    assert (test.support.y.shape, test.query.y.shape) == ((2, 10), (2, 15))
    assert (source.spec.train.outputs, source.spec.eval.outputs) == (20, 5)


@pytest.mark.parametrize(
    ("key", "sizes"),
    [
        ("data.ways", {"ways": 7}),  # 6 characters validate
        ("data.train.ways", {"train": {"ways": 25, "shots": 1, "queries": 1}}),
        ("data.shots", {"shots": 11, "queries": 10}),
        ("data.train.shots", {"train": {"ways": 2, "shots": 1, "queries": 20}}),
    ],
)
def test_an_episode_that_the_data_cannot_give_is_refused_by_key(key, sizes):
    with pytest.raises(ConfigError) as fault:
        make(**sizes)
    assert fault.value.key == key


def test_turned_copies_allow_more_ways():
    assert make(ways=24, rotations="classes_all").sample("validation", 0, 1).truth["classes"].unique().numel() == 24
