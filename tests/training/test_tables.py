"""The result table of a run: published values beside its own, and those from memory marked."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from metabench.config.published import published
from metabench.training.tables import card_lines, result_table

CARD: dict[str, Any] = {
    "hash": "abc",
    "test": {
        "data": {"name": "Omniglot"},
        "ways": 5,
        "shots": 1,
        "queries": 15,
        "episodes": 1000,
        "metric": "accuracy",
        "prediction": "inductive",
        "selection": "best of 200 validation tasks, never test tasks",
    },
    "training": {
        "ways": 5,
        "shots": 1,
        "queries": 1,
        "meta_steps": 60000,
        "tasks_per_step": 32,
        "learning_rate": 0.001,
        "parameters": 111936,
        "seed": 0,
    },
}


def shown(experiment: str) -> str:
    ours = {"mean": 0.9, "ci95": 0.01, "episodes": 600}
    test: dict[str, Any] = {"metric": "accuracy", "modes": {"inductive": ours}, "per_step": [{"step": 0, **ours}]}
    stream = io.StringIO()
    Console(file=stream, width=200).print(
        result_table({"protocol": CARD, "test": test, "published": published(experiment)})
    )
    return stream.getvalue()


def test_a_card_is_four_lines_with_what_the_command_chose():
    command = ["--full", "algo=maml", "data=omniglot", "data.shots=5"]
    first, second, third, last = card_lines(CARD, command)
    assert first == "protocol abc: Omniglot, 5-way 1-shot, 15 queries, 1,000 test tasks, accuracy, inductive"
    assert "best of 200 validation tasks" in second
    assert "60,000 meta-steps of 32 tasks, 5-way 1-shot, 1 query, learning rate 0.001, 111,936 parameters" in third
    assert last == "chosen: algo=maml data=omniglot data.shots=5"


@pytest.mark.parametrize(
    ("steps", "init", "expected"),
    [
        (0, None, "training: none, 111,936 parameters, seed 0"),
        (0, 3125, "training: none, from checkpoint c1ec of 3,125 meta-steps, 111,936 parameters, seed 0"),
        (
            *(9, 3125),
            "training: 9 meta-steps of 32 tasks, 5-way 1-shot, 1 query, learning rate 0.001, "
            "from checkpoint c1ec of 3,125 meta-steps, 111,936 parameters, seed 0",
        ),
    ],
)
def test_a_card_says_what_a_run_began_with(steps, init, expected):
    named = {"digest": "c1ec", "meta_steps": init} if init else None
    training = CARD["training"] | {"meta_steps": steps, "init": named}
    assert card_lines(CARD | {"training": training}, [])[2] == expected


def test_a_checkpoint_need_not_say_its_meta_step():
    training = CARD["training"] | {"meta_steps": 0, "init": {"digest": "c1ec", "meta_steps": None}}
    assert "from checkpoint c1ec, 111,936 parameters" in card_lines(CARD | {"training": training}, [])[2]


@pytest.mark.parametrize(("experiment", "mark"), [("omniglot/cnp_5w1s", "†"), ("omniglot/maml_5w1s", "")])
def test_a_value_from_memory_has_a_dagger_and_a_footnote(experiment, mark):
    said = shown(experiment)
    value = "95.30%" if mark else "98.70 ± 0.40%"
    assert f"{value}{mark} " in said
    assert ("† quoted from memory" in said) == bool(mark)


def test_an_ensemble_is_said_beside_its_value():
    assert "Antoniou et al. 2019, table 1; an ensemble of 3 models" in shown("omniglot/mamlpp_20w1s")
