"""One-shot classification within an alphabet (Lake, Salakhutdinov, Tenenbaum 2015): 20 published runs of 20 ways.

A run shows one drawing each of 20 characters of one evaluation alphabet, all by one drawer, and asks for those
characters as another drawer drew them. `one_shot_runs.txt` lists the drawings; `scripts/make_runs.py` wrote it. Only
the background set is learned from: training and validation episodes are those of Omniglot under the split `lake`.
"""

from __future__ import annotations

import hashlib
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from metabench.config.types import Folder, Seed
from metabench.data.few_shot import Rotations, Shape
from metabench.data.images.ingest import Filter
from metabench.data.images.splits import read_split
from metabench.data.omniglot import Omniglot
from metabench.rng import shuffle, task_keys
from metabench.tasks import SPLITS, SplitName, Tasks

RUNS, WAYS = 20, 20
_CLASSES, _SUPPORT, _QUERY = range(3)  # streams of random numbers


class Pair(NamedTuple):
    """A character in a run: its name, the number (from 1) of the drawing shown, and of the one asked for."""

    character: str
    shown: int
    asked: int


class OmniglotWithinAlphabet(Omniglot):
    """The test tasks are the runs as they are; `rotations` turn training and validation alone."""

    test_tasks = RUNS

    def __init__(
        self,
        seed: int,
        device: torch.device,
        *,
        ways: Literal[20],
        shots: Literal[1],
        queries: Literal[1],
        train: Shape,
        rotations: Rotations,
        size: Annotated[int, Field(ge=8, le=105)],
        resize: Filter,
        invert: bool,
        root: Folder | None,
        download: bool,
        eval_seed: Seed,
    ) -> None:
        super().__init__(
            seed,
            device,
            ways=ways,
            shots=shots,
            queries=queries,
            train=train,
            rotations=rotations,
            stream=None,
            split="lake",
            size=size,
            resize=resize,
            invert=invert,
            root=root,
            download=download,
            eval_seed=eval_seed,
        )

    def class_names(self, split: SplitName) -> frozenset[str]:
        """See `TaskSource`; of the test those of the runs."""
        if split != "test":
            return super().class_names(split)
        return frozenset(pair.character for run in read_runs() for pair in run)

    @cached_property
    def rows(self) -> Tensor:
        """Where the drawings of each run stand, the shown one and the one asked for: `[runs, ways, 2]`."""
        order = {name: i for i, name in enumerate(read_split("lake")["test"])}  # of the test pool
        runs, device = read_runs(), self.device
        chosen = torch.tensor([[order[pair.character] for pair in run] for run in runs], device=device)
        drawing = torch.tensor([[(pair.shown - 1, pair.asked - 1) for pair in run] for run in runs], device=device)
        return (self.drawings.pools["test"][chosen] * self.each).unsqueeze(-1) + drawing

    def sample(self, split: SplitName, index: int, num_tasks: int) -> Tasks:
        """See `TaskSource`; test task i is run i + 1, its characters in random order."""
        if split != "test":
            return super().sample(split, index, num_tasks)
        if index + num_tasks > RUNS:
            raise ValueError(f"there are {RUNS} test tasks, not {index + num_tasks}")
        keys = task_keys(self.seeds[split], SPLITS.index(split), index, num_tasks, self.device)
        order = shuffle(keys, _CLASSES, WAYS)
        rows = self.rows[index : index + num_tasks].gather(1, order.unsqueeze(-1).expand(-1, -1, 2))
        shown, asked = rows.split(1, dim=-1)
        support, query = self._gather(keys, _SUPPORT, shown), self._gather(keys, _QUERY, asked)
        return Tasks(support, query, {"classes": order}, keys)

    def card(self) -> dict[str, Any]:
        """The runs by content."""
        card = super().card()
        classes = {split: count for split, count in card["classes"].items() if split != "test"}
        runs = hashlib.sha256(repr(read_runs()).encode()).hexdigest()[:16]
        return {**card, "source": "omniglot_within_alphabet", "classes": classes, "runs": RUNS, "runs_digest": runs}


@cache
def read_runs() -> list[list[Pair]]:
    """The published runs, in their order."""
    runs: dict[str, list[Pair]] = {}
    text = (files("metabench.data") / "one_shot_runs.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            run, character, shown, asked = line.split(" ")
            runs.setdefault(run, []).append(Pair(character, int(shown), int(asked)))
    return [runs[name] for name in sorted(runs)]
