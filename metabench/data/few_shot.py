"""N-way K-shot episodes from a bank of images that lives, as uint8, on the device of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from metabench.config.types import Count, Section, Seed, Ways, Whole
from metabench.data.base import TaskSource
from metabench.data.images.bank import ImageBank, ImageSet
from metabench.data.images.drawings import Drawings
from metabench.data.images.ingest import resized
from metabench.data.images.pictures import flat_picture
from metabench.data.online import Online
from metabench.data.sequence import Stream
from metabench.data.shift import ImageShift, alphabet_members, new_alphabets, within_alphabet
from metabench.errors import ConfigError
from metabench.rng import bits, choose, shuffle, task_keys
from metabench.tasks import SPLITS, Episode, Examples, SplitName, Tasks, TaskSpec

Rotations = Literal["classes_all", "classes_train", "per_task", "none"]
TURNS = 4  # multiples of 90 degrees
_CLASSES, _DRAWINGS, _TURNS, _SUPPORT, _QUERY = range(5)  # streams of random numbers


class Shape(Section):
    """The size of a training episode."""

    ways: Ways
    shots: Count
    queries: Whole
    rotations: Rotations | None = None  # None: those of the source


class Episodes(TypedDict):
    """Size and make of an episode."""

    ways: Ways
    shots: Count
    queries: Whole
    train: Shape
    rotations: Rotations
    stream: Stream | None
    eval_seed: Seed


class FewShotImages(TaskSource):
    """Episodes of `ways` classes, `shots` support and `queries` query drawings of each, never the same drawing twice.

    Labels are the order in which classes were drawn, so every episode permutes them; support and query come in random
    order. `rotations`, by multiples of 90 degrees:

    - classes_all: each rotation of a character is a class of its own, in training and in the test (Snell et al. 2017);
    - classes_train: the same in training only (Nichol et al. 2018);
    - per_task: each class of an episode is turned by a random angle, in every split (Finn et al. 2017);
    - none.

    With `stream` an episode has no queries: its `shots` drawings of each class come as one stream, in random order.
    With `online` validation and test tasks have classes that no other task has; of each support set the first drawing
    of every class comes before the second of any; and training tasks are made of the test tasks' support sets.
    With `shift` test tasks differ from training in one known way (`metabench.data.shift`).
    """

    def __init__(
        self,
        seed: int,
        device: torch.device,
        *,
        ways: int,
        shots: int,
        queries: int,
        train: Shape,
        rotations: Rotations,
        stream: Stream | None = None,
        online: Online | None = None,
        shift: ImageShift | None = None,
        eval_seed: int,
        size: int,
        drawings: int,
        characters: dict[str, list[str]],
        read: Callable[[], ImageBank | ImageSet],
        channels: int = 1,
        background: float = 0.0,
    ) -> None:
        """Check that the splits' `characters` can give such episodes; `read` is called when drawings are asked for.

        Every character has `drawings` images, or more where `read` returns an `ImageSet`.
        """
        self.shift, self.background = shift if shift and shift.given else None, background
        if self.shift is not None and self.shift.alphabet == "new":
            characters = {**characters, "test": new_alphabets(characters["test"], characters["train"])}
        self.seeds = {"train": seed, "validation": eval_seed, "test": eval_seed}
        self.device, self.rotations, self.size, self.each = device, rotations, size, drawings
        self.turned = dict.fromkeys(SPLITS, rotations) | {"train": train.rotations or rotations}
        self.stream, self.online, self.ways = stream, online, ways
        self.classes = {split: len(characters[split]) * self._turns(split) for split in SPLITS}
        evaluation = Episode(ways, shots, queries)
        self.episodes = {
            "train": Episode(train.ways, train.shots, train.queries), "validation": evaluation, "test": evaluation
        }  # fmt: skip
        for split in reversed(SPLITS):  # training last: what it inherits is then named by the key that was set
            self._check(split)
        self.spec = TaskSpec(
            (channels, size, size),
            "cross_entropy",
            self.episodes["train"],
            evaluation,
            num_classes=self.classes["train"],
        )
        if stream is not None:
            self.spec = stream.spec(self.spec)
        if online is not None:
            if self.turned["train"] != rotations:
                valid = f"null or {rotations}: training tasks are made of images that have come"
                raise ConfigError("data.train.rotations", self.turned["train"], valid)
            if stream is not None:
                raise ConfigError("data.online", "given", "null: data.stream makes streams of another kind")
            online.check_classes(self.classes["test"], ways)
            self.spec = replace(online.applied(self.spec), num_classes=self.classes["test"])
        self._characters, self._read = characters, read
        if self.shift is not None:
            if stream is not None or online is not None:
                raise ConfigError("data.shift", "given", "null: it is of tasks with a support set, all of it at once")
            self.shift.check(evaluation, drawings, size)
            if self.shift.alphabet == "one":
                self._alphabets = alphabet_members(characters["test"], self._turns("test"), ways).to(device)

    @cached_property
    def drawings(self) -> Drawings:
        """Images that episodes are sampled from, read when first asked for: the spec of a source needs no data."""
        turned = set(self.turned.values()) != {"none"}
        return Drawings.of(self._read(), self._characters, TURNS if turned else 1, self.device)

    def _turns(self, split: SplitName) -> int:
        """Classes that one character makes in `split`."""
        return classes_of_one(self.turned[split], split)

    def _check(self, split: SplitName) -> None:
        episode, key = self.episodes[split], "data.train" if split == "train" else "data"
        if episode.outputs > self.classes[split]:
            valid = f"at most {self.classes[split]}, the classes of the {split} split"
            raise ConfigError(f"{key}.ways", episode.outputs, valid)
        if self.stream is not None and episode.queries:
            raise ConfigError(f"{key}.queries", episode.queries, "0: in a stream every drawing is a query")
        if self.stream is None and not episode.queries and split != "train":  # of training an algorithm decides
            raise ConfigError(f"{key}.queries", 0, "at least 1")
        if (needed := episode.shots + episode.queries) > self.each:
            valid = f"with {key}.queries={episode.queries} it takes {needed} drawings of a class, which has {self.each}"
            raise ConfigError(f"{key}.shots", episode.shots, valid)

    def class_names(self, split: SplitName) -> frozenset[str]:
        """See `TaskSource`."""
        return frozenset(self._characters[split])

    def _own_classes(self, split: SplitName, index: int, num_tasks: int) -> Tensor:
        """Classes `[T, ways]` that no other task of `split` has, for as many tasks as there are such."""
        key = task_keys(self.seeds[split], len(SPLITS), SPLITS.index(split), 1, self.device)
        order = shuffle(key, _CLASSES, self.classes[split]).squeeze(0)
        tasks = len(order) // self.ways
        at = torch.arange(index, index + num_tasks, device=self.device) % tasks
        return order[: tasks * self.ways].view(tasks, self.ways)[at]

    def sample(self, split: SplitName, index: int, num_tasks: int) -> Tasks:
        """See `TaskSource`: one draw of indices and one gather, rotations included."""
        if split == "train" and self.online is not None:
            return self.buffer.sample(index, num_tasks)
        keys = task_keys(self.seeds[split], SPLITS.index(split), index, num_tasks, self.device)
        pool, episode = self.drawings.pools[split], self.episodes[split]
        ways, shots, queries = episode.outputs, episode.shots, episode.queries
        shift = self.shift if split == "test" else None
        if shift is not None and shift.alphabet == "one":
            classes = within_alphabet(self._alphabets, keys, ways)
        elif self.online is None:
            classes = choose(keys, _CLASSES, self.classes[split], ways)  # [T, ways]
        else:
            classes = self._own_classes(split, index, num_tasks)
        turn, character = classes // len(pool), pool[classes % len(pool)]
        if self.turned[split] == "per_task":
            turn = bits(keys, _TURNS, ways) & (TURNS - 1)
        stored = self.drawings
        each = stored.counts if isinstance(stored.counts, int) else stored.counts[character]
        drawing = choose(keys, _DRAWINGS, each, shots + queries, ways)  # [T, ways, shots + queries]
        first = (turn * stored.turn_stride + stored.starts[character]).unsqueeze(-1)
        rows = first + drawing
        if shift is not None and shift.unbalanced:
            support = self._unbalanced(keys, first, shift.shots(drawing, keys, shots, queries, self.each))
        else:
            support = self._gather(keys, _SUPPORT, rows[..., :shots], by_shot=self.online is not None)
        if self.stream is None:
            query = self._gather(keys, _QUERY, rows[..., shots:])
        else:
            support = self.stream.shake(support, keys) if split == "train" else support
            support = query = self.stream.label(support, keys, ways)
        if shift is not None:
            support, query = (
                part._replace(x=shift.images(part.x, keys, query=part is query, background=self.background))
                for part in (support, query)
            )
            support = shift.labels(support, keys, ways)
        support, query = (
            self._inputs(part, keys, split, stream) for part, stream in ((support, _SUPPORT), (query, _QUERY))
        )
        return Tasks(support, query, {"classes": classes}, keys)

    def _gather(self, keys: Tensor, stream: int, rows: Tensor, *, by_shot: bool = False) -> Examples:
        """The drawings `rows [T, ways, K]`, in random order; `by_shot` one of every class before the next of any."""
        _, ways, each = rows.shape
        if by_shot:
            classes = bits(keys, stream, each, ways).argsort(stable=True)
            order = (classes * each + torch.arange(each, device=rows.device).unsqueeze(1)).flatten(1)
        else:
            order = shuffle(keys, stream, ways * each)
        x = self.drawings.images[rows.flatten(1).gather(1, order)]
        return Examples(x.float().div_(255), order // each)

    def prepare(self, picture: Image) -> Tensor:
        """See `TaskSource`; a picture is resized to a square, whatever its shape."""
        return self._prepared(picture, "bilinear")

    def _prepared(self, picture: Image, resize: str, *, crop: int = 0, invert: bool = False) -> Tensor:
        grey = resized(np.asarray(flat_picture(picture, "L"))[None], self.size, resize, crop)
        return torch.from_numpy(~grey if invert else grey.copy()).float().div_(255)

    def _inputs(self, part: Examples, keys: Tensor, split: SplitName, stream: int) -> Examples:
        """Inputs made of images in 0..1, as they are; a source with augmentation or normalisation overrides this."""
        return part

    def _unbalanced(self, keys: Tensor, first: Tensor, shown: Tensor) -> Examples:
        """The drawings `shown [T, ways, each]`, as many in each task, of the classes that begin at row `first`."""
        every = torch.arange(self.each, device=first.device)
        count = first.shape[1] * self.episodes["test"].shots
        at = (~shown.flatten(1)).long().argsort(dim=1, stable=True)[:, :count]  # a mask would wait for the device
        chosen, labels = (first + every).flatten(1).gather(1, at), at // self.each
        order = shuffle(keys, _SUPPORT, chosen.shape[1])
        x = self.drawings.images[chosen.gather(1, order)]
        return Examples(x.float().div_(255), labels.gather(1, order))

    def card(self) -> dict[str, Any]:
        """Facts common to all few-shot image data."""
        stream = {} if self.stream is None else {"stream": {"ways": self.ways, **self.stream.model_dump()}}
        return {
            **stream,
            **({} if self.online is None else self.online.card()),
            **({} if self.shift is None else {"shift": self.shift.given}),
            "classes": {
                split: len(self._characters[split]) * classes_of_one(self.rotations, split) for split in SPLITS
            },
            "rotations": self.rotations,
            "size": self.size,
            "digest": self.drawings.digest[:16],
            "eval_seed": self.seeds["test"],
        }

    def training_card(self) -> dict[str, Any]:
        """Rotations of training images, and the number of classes they make."""
        return {"rotations": self.turned["train"], "classes": self.classes["train"]}


def classes_of_one(rotations: Rotations, split: SplitName) -> int:
    """Classes that one character makes in `split`."""
    turned = rotations == "classes_all" or (rotations == "classes_train" and split == "train")
    return TURNS if turned else 1
