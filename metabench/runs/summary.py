"""The parts of summary.json that are read, and whether they agree with each other; nothing in it is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

import metabench.config.schema
from metabench.axis import AXES, INNER_STEPS
from metabench.config.build import check
from metabench.config.types import Count, Whole
from metabench.errors import UserError, format_value
from metabench.runs.run_id import digest
from metabench.runs.untrusted import clean
from metabench.utils.files import DamagedError

REQUIRED = {"data", "prediction", "metric", "episodes", "shots"}  # of the test part of a protocol card
OF_MODES = ("prediction", "inductive_queries")  # of it: which mode is first, and how many queries the other is of

Values = dict[str, Any]


HUGE = 1e39  # runs compute in float32, whose largest number is 3.4e38; drawing more overflows
Amount = Annotated[float, Field(ge=0, le=HUGE)]  # or None: JSON has null for NaN and infinities
Prediction = Literal["transductive", "inductive"]


class _Part(BaseModel):
    """A part of summary.json; keys it does not name are left alone, so that later versions can be read."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Estimate(_Part):
    """A mean over test tasks."""

    mean: Amount | None
    ci95: Amount | None
    episodes: Count
    nonfinite: Whole = 0  # tasks whose metric is not finite; there is then no mean


class Point(_Part):
    """The mean after one inner step, or at one instance of a class."""

    step: Whole
    mean: Amount | None
    ci95: Amount | None


class Online(_Part):
    """The rounds of tasks that came one after the other; lists have an entry for each round."""

    threshold: Amount
    examples_of_a_shot: Count
    final: list[Amount | None]
    cumulative_error: list[Amount | None]
    regret: list[Annotated[float, Field(ge=-HUGE, le=HUGE)] | None]
    examples_to_threshold: list[Whole | None]


class Test(_Part):
    """The final test."""

    metric: Literal["accuracy", "mse"]
    prediction: Prediction
    interval: str
    modes: Annotated[dict[str, Estimate], Field(min_length=1)]
    seconds: Amount | None = None  # of predicting all test tasks
    per_step: list[Point] = []  # in the mode of `prediction`
    axis: str = INNER_STEPS.name  # older summaries have no other
    online: Online | None = None


class Protocol(_Part):
    """The protocol card."""

    hash: str
    test: Values
    training: Values


class Trained(_Part):
    """The length of training."""

    steps: Annotated[int, Field(ge=0, le=2**63)]
    seconds: Amount
    peak_memory: Annotated[int, Field(ge=0, le=2**63)] | None = None  # bytes, of the device that trained
    alone: bool | None = None  # False where other processes had a share of the machine; None: not known


class Part(_Part):
    """Where a part of a run that was continued elsewhere ran."""

    git: str | None = None


class Environment(_Part):
    """Where it ran; `earlier` has the parts before that ran elsewhere."""

    command: str
    git: str | None
    earlier: Sequence[Part] = ()
    device: str
    metabench: str | None = None
    ranks: Count = 1
    threads: Count | None = None  # of a CPU, of each rank
    versions: dict[str, str | None]

    @property
    def commits(self) -> str | None:
        """The commits of the program, in order; more than one where a run went on under another."""
        known = dict.fromkeys(git for git in (*(part.git for part in self.earlier), self.git) if git)
        return ", then ".join(known) or None

    @property
    def processors(self) -> int:
        """Cores that it computed on, or GPUs."""
        return self.ranks * (self.threads or 1)


class Published(metabench.config.schema.Published):
    """The value that a paper reports for the cell; keys of later versions are ignored."""

    model_config = ConfigDict(extra="ignore")

    value: Amount
    ci95: Amount | None = None
    spread: Amount | None = None
    also: Sequence[Published] = ()  # what else of the table the same run gives


class Summary(_Part):
    """The parts of summary.json that are read."""

    status: Literal["complete"]
    identity: str
    protocol: Protocol
    test: Test
    train: Trained
    environment: Environment
    experiment: str | None = None
    board: str | None = None
    changes: list[str] = []  # overrides that make it another run than its experiment or board asks for
    tuned: list[str] = []  # values of the algorithm set by overrides, where that leaves the run on its board
    inputs: Values = {}  # beside the configuration: see `runs.inputs`
    test_of: Values | None = None  # the run whose chosen weights were tested, where this is such a test
    budget: str = "full"
    published: Published | None = None


def parse(content: Any) -> Summary:
    """The content of a summary.json; raises `DamagedError` that names the key and what is wrong with it."""
    if not isinstance(content, dict):
        raise DamagedError(f"summary.json: holds {type(content).__name__}, not an object")
    try:
        summary = check(Summary, clean(content))
    except (UserError, ValueError) as fault:
        raise DamagedError(f"summary.json: {fault}") from None
    _agree(summary)
    return summary


def _agree(summary: Summary) -> None:
    """Raise `DamagedError` where two places of a summary that say one thing differ: it was changed by hand."""
    card, test = summary.protocol.test, summary.test
    if digest(card)[:12] != summary.protocol.hash:
        raise DamagedError(
            f"summary.json: protocol.hash={format_value(summary.protocol.hash)}: is not that of its card"
        )
    if missing := REQUIRED - card.keys():
        raise DamagedError(f"summary.json: protocol.test.{min(missing)}: is missing")
    seed = summary.protocol.training.get("seed")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise DamagedError("summary.json: protocol.training.seed: is no seed")
    if test.axis not in AXES:
        raise DamagedError(f"summary.json: test.axis={format_value(test.axis)}: should be {' or '.join(AXES)}")
    _agree_online(test.online)
    same = {"metric": test.metric, "prediction": test.prediction, "interval": test.interval}
    for name, value in same.items():
        if card.get(name) != value:
            raise DamagedError(
                f"summary.json: test.{name}={value}: the protocol card says {format_value(card.get(name))}"
            )
    if test.prediction not in test.modes:
        raise DamagedError(f"summary.json: test.modes: has no {test.prediction}")
    if test.modes[test.prediction].mean is None:
        raise DamagedError(f"summary.json: test.modes.{test.prediction}.mean: is not a finite number")
    for mode, estimate in test.modes.items():
        if estimate.mean is None and not estimate.nonfinite:
            raise DamagedError(f"summary.json: test.modes.{mode}.mean: is not a finite number")
        if estimate.episodes != card["episodes"]:
            episodes = f"test.modes.{mode}.episodes={estimate.episodes}"
            raise DamagedError(f"summary.json: {episodes}: the protocol card says {format_value(card['episodes'])}")
        if test.metric == "accuracy" and (estimate.mean or 0) > 1:
            raise DamagedError(f"summary.json: test.modes.{mode}.mean={estimate.mean}: is no {test.metric}")


def _agree_online(online: Online | None) -> None:
    if online is None:
        return
    lists = (online.final, online.cumulative_error, online.regret, online.examples_to_threshold)
    if len({len(values) for values in lists}) > 1 or not online.final:
        raise DamagedError("summary.json: test.online: its lists should have one entry for each round")
