"""What a test is, `data=` alone decides: any two plain runs on one data set can be compared."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from build import ALGOS, composed
from data_tasks import FIRST
from paths import CONF

from metabench.config.budgets import meta_steps
from metabench.config.compose import compose_plain
from metabench.errors import UserError
from metabench.training.components import Components
from metabench.utils.console import Display

BENCHES = sorted(path.stem for path in (CONF / "bench").glob("*.yaml"))
QUICK = ("regression", "sinusoid")


def slow_but(choices: Iterable[str]) -> list[Any]:
    """Choices of which one is among the quick tests."""
    return [pytest.param(one, marks=[] if one in QUICK else pytest.mark.slow) for one in choices]


def of_the_test(overrides: tuple[str, ...]) -> dict[str, Any]:
    """All of a configuration that says how a model is tested and chosen."""
    plain = compose_plain(*overrides)
    data = {key: value for key, value in plain["data"].items() if key not in ("train", "online")}
    validation = {key: value for key, value in plain["validate"].items() if key != "every"}
    return {"data": data, "validate": validation, "test": plain["test"]}


@pytest.mark.slow
@pytest.mark.parametrize("task", slow_but(FIRST))
def test_every_method_is_tested_alike(task):
    data = FIRST[task]
    with ProcessPoolExecutor() as pool:
        parts = list(pool.map(of_the_test, [(f"data={data}", f"algo={algo}") for algo in ALGOS], chunksize=4))
    for algo, part in zip(ALGOS, parts, strict=True):
        assert part == parts[0], algo


@pytest.mark.slow
@pytest.mark.parametrize("data", ["sinusoid", "glyphs"])
def test_the_test_part_of_the_card_is_the_same_but_for_how_a_model_predicts(data):
    cards = {}
    for algo in ALGOS:
        try:
            run = Components(composed(f"algo={algo}", f"data={data}"), Display())
        except UserError:  # it cannot read such tasks
            continue
        cards[algo] = {key: value for key, value in run.card["test"].items() if key != "prediction"}
    assert len(cards) > 20
    for algo, card in cards.items():
        assert card == cards["maml"], algo


@pytest.mark.slow
@pytest.mark.parametrize("bench", slow_but(BENCHES))
def test_a_board_gives_every_method_one_budget(bench):
    budget = {"omniglot": 500_000, "sinusoid": 5_000_000}[bench]
    for algo in ALGOS:
        plain = compose_plain(f"bench={bench}", f"algo={algo}")
        train, tasks = plain["data"]["train"], plain["train"]["tasks"]
        examples = tasks * train.get("ways", 1) * (train["shots"] + train["queries"])
        assert abs(plain["train"]["steps"] * examples - budget) <= examples / 2, algo
        assert plain["board"] == bench
        assert set(plain["tests"]) == {"omniglot": {"5w5s", "20w1s", "20w5s"}, "sinusoid": {"k5", "k20"}}[bench]


def test_a_budget_is_at_least_one_meta_step():
    assert meta_steps(500_000, 32, 5, 1, 1) == 1562
    assert meta_steps(10, 25, 1, 10, 10) == 1
