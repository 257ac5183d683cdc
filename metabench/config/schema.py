"""The schema of a configuration, but for its components, which stay nodes until they are built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from metabench.config.types import (
    LARGEST,
    Count,
    Folder,
    Name,
    Node,
    NonNegative,
    Number,
    Positive,
    Section,
    Seed,
    Whole,
)


class Train(Section):
    """Meta-training."""

    steps: Whole
    tasks: Count  # per meta-step
    schedule: Literal["constant", "linear", "cosine", "halve"]
    halve_every: Count | None  # meta-steps, for schedule=halve
    clip: Positive | None  # largest norm of the meta-gradient
    clip_each: Literal["module"] | None = None  # what has that norm: each part of the algorithm; None: all of it

    @field_validator("halve_every")
    @classmethod
    def _given_to_halve(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is None and info.data.get("schedule") == "halve":
            raise ValueError("should be a number of meta-steps, for train.schedule=halve")
        return value

    @field_validator("clip_each")
    @classmethod
    def _of_a_clip(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("clip") is None:
            raise ValueError("needs train.clip, the norm that each part may have")
        return value


class Validate(Section):
    """Selection of the checkpoint that is tested: on validation tasks only."""

    every: Count  # meta-steps
    episodes: Count
    select: Literal["best", "last"]
    early_stopping: Count | None = None  # validations in a row without a better one, after which training stops

    @field_validator("early_stopping")
    @classmethod
    def _of_the_best(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("select") == "last":
            raise ValueError("needs validate.select=best")
        return value


class Test(Section):
    """The final test."""

    episodes: Annotated[int, Field(ge=2, le=LARGEST)]
    inductive_queries: Count | None = None  # of each class, where queries are predicted one by one; None: all


class Log(Section):
    """Progress: what is shown and written during a run."""

    every: Count  # meta-steps
    pictures: bool
    tensorboard: bool  # the same as tracker=[tensorboard]


class Checkpoint(Section):
    """Checkpoints: how much work a crash may cost."""

    every: Count  # meta-steps


class Device(Section):
    """Where a run computes."""

    type: Literal["auto", "cpu", "cuda", "ddp"]
    index: Whole | None = None  # of the GPU, as device=cuda:1 sets it; null: the first
    precision: Literal["float32", "tf32", "bfloat16"]
    threads: Annotated[int, Field(ge=1, le=1024)] | None  # of the CPU; null leaves torch's choice
    keep_memory: bool  # let the C allocator keep large blocks instead of returning them to the system


DAGGER = "†"
FOOTNOTE = f"{DAGGER} quoted from memory: no public text was found that confirms the value, or its interval"


def mark(verified: object) -> str:
    """A dagger for a value that was `verified` from memory alone."""
    return DAGGER if "memory" in str(verified) else ""


class Published(Section):
    """Published results, in this program's units: accuracies are fractions. `config/published.csv` has the table."""

    value: Number
    ci95: NonNegative | None = None  # half width, over test tasks
    spread: NonNegative | None = None  # standard deviation over training runs, where a paper gives that instead
    metric: Literal["accuracy", "mse"]
    prediction: Literal["transductive", "inductive"] | None = (
        None  # None: the paper does not say, or it does not matter
    )
    row: str  # of the table: the method, as the paper calls it
    column: str
    source: str
    arxiv: str | None = None
    verified: str | None = None  # how the number was checked against the paper
    note: str | None = None  # what the value is of, where that is not the method as it stands: an ensemble
    at: Whole | None = None  # the inner step, or the instance of a class, that the value is of; None: the final one
    also: Sequence[Published] = ()  # other cells that the same run gives

    @property
    def mark(self) -> str:
        """A dagger where the value, or its interval, is from memory and no public text was found that confirms it."""
        return mark(self.verified)


class Config(Section):
    """A composed configuration, checked; the components stay nodes until they are built."""

    seed: Seed
    resume: bool
    run_dir: Folder | None
    name: Name | None = None  # part of the folder of the run, where `run_dir` does not say it whole
    init: Folder | None  # a run directory whose chosen checkpoint to start from
    budget: str  # the name of the lengths that were chosen: full, or one that is shorter
    published: Published | None
    board: str | None = None  # that the run is for
    tests: dict[str, list[str]] | None = None  # tests to make after the main one: overrides by name
    tracker: dict[str, Node] | None = None  # where else the run is shown, by name
    engine: Literal["auto", "eager", "compile", "graph"]  # how a meta-step is computed
    chunk: Count | Literal["auto"]  # tasks held in memory at once
    remat: bool  # compute inner steps again on the way back instead of keeping them
    train: Train
    validation: Validate = Field(alias="validate")
    test: Test
    log: Log
    checkpoint: Checkpoint
    device: Device
    algo: Node
    data: Node
    backbone: Node
    optim: Node

    @field_validator("name")
    @classmethod
    def _of_a_chosen_folder(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("run_dir") is not None:
            raise ValueError("run_dir is the folder as it stands; leave out one of the two")
        return value
