"""Task shift: losses paired by hand, the test that each is set against, and formats that agree."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from made_runs import change, write_run
from program import run_metabench

from metabench.board.pictures import as_element
from metabench.board.shift import HOME, estimate, make_shifts
from metabench.board.shift_formats import cause, sheet
from metabench.board.shift_pictures import figures
from metabench.errors import UserError
from metabench.utils.interval import crossed, half_width

BOARD = ("bench=omniglot", "algo=protonet")
TASKS = np.arange(40)
VALUES = 0.8 + 0.1 * np.sin(TASKS)


def made(path, values, *, overrides=(), **more):
    """A run of the Omniglot board, or a test of it."""
    path = write_run(
        path, *BOARD, *overrides, values=values.tolist(), metric="accuracy", board="omniglot", changes=[], **more
    )
    change(path, "environment", "metabench", to="0.1.0")
    return path


@pytest.fixture
def tested(tmp_path):
    """A run at 80%, rotated 20 points worse, of five shots 10 better, and of these with wrong labels 30 worse."""
    run = made(tmp_path / "protonet", VALUES)
    of = json.loads((run / "summary.json").read_text())["identity"]
    home = {"source": "omniglot", "eval_seed": 0}
    rotated = VALUES[:20] - 0.2 + 0.05 * np.cos(TASKS[:20])
    for name, values, shots, shift in (
        ("rotated", rotated, 1, {"rotate": 45.0}),
        ("shots5", np.minimum(VALUES + 0.1, 1.0), 5, None),
        ("wrong_labels", VALUES - 0.2, 5, {"wrong_labels": 0.4}),
    ):
        data = home if shift is None else {**home, "shift": shift}
        made(
            run / "tests" / name, values, card={"data": data, "shots": shots},
            test_of={"run": of, "name": name, "overrides": []},
        )  # fmt: skip
    (run / "tests/refused.json").write_text(json.dumps({"ways20": "data.train.ways=5: should be 20: a head"}))
    return tmp_path


def test_losses_are_the_paired_differences_over_the_tasks_of_both(tested):
    (shifted,) = make_shifts([tested], None, "inductive")
    found = shifted.losses["protonet"]
    difference = VALUES[:20] - (VALUES[:20] - 0.2 + 0.05 * np.cos(TASKS[:20]))
    assert found["rotated"].loss.mean == pytest.approx(difference.mean())
    assert found["rotated"].loss.ci95 == pytest.approx(half_width(difference))
    assert found["rotated"].loss.tasks == 20
    assert found["shots5"].loss.mean == pytest.approx((VALUES - np.minimum(VALUES + 0.1, 1)).mean())


def test_a_shift_is_set_against_the_test_that_differs_in_it_alone(tested):
    (shifted,) = make_shifts([tested], None, "inductive")
    found = {name: loss.against for name, loss in shifted.losses["protonet"].items()}
    assert found == {"shots5": HOME, "rotated": HOME, "wrong_labels": "shots5"}
    assert shifted.losses["protonet"]["wrong_labels"].loss.mean == pytest.approx(
        (np.minimum(VALUES + 0.1, 1) - VALUES + 0.2).mean()
    )
    assert any("wrong_labels against shots5" in note for note in sheet(shifted).notes)


def test_a_row_is_of_the_seeds_that_have_all_its_tests(tested):
    made(tested / "other", VALUES - 0.1, overrides=("seed=1",))
    (shifted,) = make_shifts([tested], None, "inductive")
    (row,) = shifted.rows
    assert [run.seed for run in row.runs] == [0]
    assert row.cells["5-way 1-shot"].mean == pytest.approx(VALUES.mean())
    assert any("1 row of 1 seed" in note for note in sheet(shifted).notes)


def test_a_test_that_one_seed_did_not_come_through_has_no_loss(tmp_path):
    """The two seeds that came through are no row of their own: all seeds stay, and the reason is said."""
    home = {"source": "omniglot", "eval_seed": 0}
    for seed in range(3):
        given = (f"seed={seed}",)
        run = made(tmp_path / str(seed), VALUES, overrides=given)
        of = json.loads((run / "summary.json").read_text())["identity"]
        tests = {"shots5": {"data": home, "shots": 5}, "rotated": {"data": {**home, "shift": {"rotate": 45.0}}}}
        for name, card in tests.items():
            if (seed, name) != (2, "rotated"):
                test = {"run": of, "names": [name], "overrides": []}
                made(run / "tests" / name, VALUES - 0.1, overrides=given, card=card, test_of=test)
    (run / "tests/refused.json").write_text(json.dumps({"rotated": "2 of 9 are not finite"}))
    (shifted,) = make_shifts([tmp_path], None, "inductive")
    (row,) = shifted.rows
    assert [run.seed for run in row.runs] == [0, 1, 2]
    assert [*shifted.losses["protonet"]] == ["shots5"]
    assert shifted.refused["protonet"] == {"rotated": "2 of 9 are not finite"}


def test_losses_of_three_seeds_have_an_interval_over_seeds_and_tasks_and_those_of_two_have_none():
    values = 0.2 + 0.05 * np.cos(TASKS) + np.array([[0.0], [0.02], [0.1]])
    assert estimate(values).ci95 == pytest.approx(crossed(values).half_width())
    assert estimate(values).ci95 > 2 * half_width(values[0])
    assert (estimate(values[:2]).ci95, estimate(values[:2]).mean) == (None, pytest.approx(values[:2].mean()))


@pytest.mark.slow
def test_every_format_says_the_same(tested):
    found = {}
    for kind in ("md", "csv", "json", "latex", "html"):
        done = run_metabench("leaderboard", "--suite", "shift", str(tested), "--format", kind, cwd=tested)
        assert (done.code, done.err) == (0, ""), kind
        found[kind] = done.out
    lines = list(csv.DictReader(io.StringIO(found["csv"])))
    assert [line["test"] for line in lines] == ["shots5", "wrong_labels", "rotated"]  # the order of the suite
    assert json.loads(found["json"])["suites"][0]["losses"][2]["loss"] == pytest.approx(float(lines[2]["loss"]))
    rotated = f"{100 * float(lines[2]['loss']):.2f}"
    for kind in ("md", "latex", "html"):
        assert rotated in found[kind], kind


def test_the_picture_has_each_loss_once(tested):
    (shifted,) = make_shifts([tested], None, "inductive")
    ((title, figure),) = figures(shifted).items()
    svg = as_element(figure, title)
    for loss in shifted.losses["protonet"].values():
        assert f"{100 * abs(loss.loss.mean):.1f}" in svg


def test_why_a_test_was_not_made_is_said_in_few_words():
    assert cause("algo.eval_inner_steps=1: no such key; valid: a, b") == "the method has no algo.eval_inner_steps"
    assert (
        cause("data.train.ways=5: should be data.ways, 20: a linear head has one size") == "a linear head has one size"
    )
    assert "not finite" in cause("the meta-test gave predictions or errors that are not finite (2 of 9)")


def test_without_such_tests_the_command_that_makes_them_is_said(tmp_path):
    made(tmp_path / "protonet", VALUES)
    with pytest.raises(UserError, match="metabench test RUN suite=shift does it"):
        make_shifts([tmp_path], None, "inductive")
