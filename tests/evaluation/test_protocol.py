"""Two numbers are comparable where their protocol hashes agree, and two runs are one where their identities do."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from program import GLYPHS, SINUSOID

from metabench.config.build import check
from metabench.config.schema import Config
from metabench.data import omniglot
from metabench.data.images.bank import ImageBank
from metabench.data.images.splits import read_split
from metabench.objective import OBJECTIVES
from metabench.runs.run_id import identity
from metabench.training.components import Components
from metabench.utils.console import Display


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_module("metabench.conf", version_base="1.3"):
        return OmegaConf.to_container(compose("config", list(overrides)), resolve=True)


@cache
def card(*overrides: str) -> dict[str, Any]:
    return Components(check(Config, composed(*overrides)), Display()).card


IMAGES = (*GLYPHS, "algo=protonet", "data.rotations=classes_all")
SAME = [
    (SINUSOID, ["seed=1"]),
    (SINUSOID, ["algo=reptile"]),
    (SINUSOID, ["train.steps=7", "train.tasks=2", "validate.every=3"]),
    (SINUSOID, ["optim=sgd", "backbone.hidden=[4,4]"]),
    (SINUSOID, ["data.train.shots=5", "algo.eval_inner_steps=1"]),
    (SINUSOID, ["log.every=1", "checkpoint.every=1", "run_dir=x", "resume=false", "device.threads=1"]),
    (IMAGES, ["algo=matchingnet"]),
    (IMAGES, ["data.train.ways=5", "data.train.shots=2"]),
    (IMAGES, ["backbone.norm=none"]),
]
OTHER = [
    (SINUSOID, ["test.episodes=9"]),
    (SINUSOID, ["data.shots=5"]),
    (SINUSOID, ["data.queries=5"]),
    (SINUSOID, ["data.eval_seed=1"]),
    (SINUSOID, ["data.amplitude=[0.1,4.0]"]),
    (SINUSOID, ["validate.select=last"]),
    (SINUSOID, ["validate.episodes=9"]),
    (IMAGES, ["data.ways=4"]),
    (IMAGES, ["data.shots=2"]),
    (IMAGES, ["data.rotations=none"]),
    (IMAGES, ["data.size=20"]),
    (IMAGES, ["data.bank_seed=1"]),
    (IMAGES, ["data.characters=44"]),
    (IMAGES, ["backbone.statistics=batch"]),  # predicts transductively
]


@pytest.mark.parametrize(("base", "change"), SAME, ids=lambda part: " ".join(part[-2:]))
def test_what_is_compared_does_not_change_the_protocol(base, change):
    assert card(*base, *change)["hash"] == card(*base)["hash"]


@pytest.mark.parametrize(("base", "change"), OTHER, ids=lambda part: " ".join(part[-2:]))
def test_how_it_is_measured_does(base, change):
    assert card(*base, *change)["hash"] != card(*base)["hash"]


def test_another_split_or_preparation_is_another_protocol(monkeypatch):
    names = sorted(name for part in read_split("lake").values() for name in part)
    bank = ImageBank(torch.zeros(len(names), 20, 8, 8, dtype=torch.uint8), names, "digest")
    monkeypatch.setattr(omniglot, "load_omniglot", lambda root, **options: bank)
    blank = ("data=omniglot", "algo=protonet", "data.size=8", "backbone=mlp")
    changes = ["split=lake", "split=maml", "resize=box", "invert=false", "crop=2", "rotations=none"]
    assert len({card(*blank, f"data.{change}")["hash"] for change in changes} | {card(*blank)["hash"]}) == 7
    assert card(*blank, "data.root=/elsewhere", "data.download=false")["hash"] == card(*blank)["hash"]


def test_a_card_names_everything_that_decides_a_number():
    test = card(*IMAGES)["test"]
    assert {"data", "ways", "shots", "queries", "episodes", "metric", "prediction", "selection", "interval"} == {*test}
    assert {"source", "classes", "rotations", "size", "digest", "eval_seed", "bank_seed"} <= {*test["data"]}
    assert (test["prediction"], test["metric"]) == ("inductive", "accuracy")


def test_a_card_says_what_a_checkpoint_was_selected_by():
    streams = (*GLYPHS, "algo=lstm", "data=glyphs_sequence", "data.queries=0", "data.train.queries=0", "data.shots=10")
    best = "best of {} validation tasks{}, never test tasks"
    for case, by in (
        (streams, ", by the mean over instances 2 to 10"),
        ((*streams, "data.shots=2"), ""),  # by one instance, the last, as before there was a mean
        (IMAGES, ""),
        (SINUSOID, ""),
    ):
        assert card(*case, "validate.episodes=7")["test"]["selection"] == best.format(7, by)
    assert card(*streams, "validate.select=last")["test"]["selection"] == "last iterate"


@pytest.mark.parametrize(
    "change",
    [
        ["resume=false"],
        ["run_dir=elsewhere"],
        ["log.every=3", "log.pictures=true", "log.tensorboard=true"],
        ["tracker=[csv,wandb]", "tracker.wandb.mode=offline"],
        ["data=omniglot", "data.root=/elsewhere", "data.download=false"],
    ],
    ids=" ".join,
)
def test_where_a_run_reads_and_reports_is_not_its_identity(change):
    base = [o for o in change if o.startswith("data=")]
    assert identity(composed(*base, *change)) == identity(composed(*base))


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "algo.inner_lr=0.02",
        "train.steps=1",
        "validate.every=1",
        "validate.early_stopping=3",
        "init=run",
        "device=cpu",
        "optim.lr=0.1",
    ],
)
def test_what_a_run_computes_is(change):
    assert identity(composed(change)) != identity(composed())


def test_identity_does_not_depend_on_the_order_of_keys():
    config = composed()
    assert identity(dict(reversed(config.items()))) == identity(config)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_a_validation_that_is_not_a_number_is_never_the_best(objective):
    assert objective.better(0.5, math.nan)
    assert not objective.better(math.nan, 0.5)
    assert not objective.better(math.nan, math.nan)
    assert not objective.better(0.5, 0.5)
