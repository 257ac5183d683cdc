"""`test.inductive_queries`: the first queries of each class, predicted one by one, and a card that says so."""

from __future__ import annotations

import json

import pytest
import torch
from build import build, small
from made_runs import change, write_run
from program import GLYPHS, only_run, run_metabench

from metabench.board.leaderboard import make_boards
from metabench.config.compose import compose
from metabench.errors import ConfigError, UserError
from metabench.report.compare import versus
from metabench.tasks import Examples, Tasks
from metabench.training.components import Components
from metabench.training.retest import with_overrides
from metabench.utils.console import Display

CLASSES = ("maml", "glyphs", "data.queries=3")
CURVES = ("maml", "sinusoid", "backbone.norm=batch", "data.queries=6")


def first(query: Examples, count: int, classes: bool) -> Examples:
    """The first `count` of each class, or of all, by a loop over queries."""
    kept = []
    for labels in query.y:
        seen: dict[int, int] = {}
        places = []
        for i, label in enumerate(labels.tolist() if classes else [0] * len(labels)):
            seen[label] = seen.get(label, 0) + 1
            if seen[label] <= count:
                places.append(i)
        kept.append(places)
    return Examples(*(torch.stack([part[i, at] for i, at in enumerate(kept)]) for part in query))


@pytest.mark.parametrize("case", [CLASSES, CURVES], ids=lambda case: case[1])
@pytest.mark.parametrize("count", [1, 2])
def test_the_first_of_each_class_are_predicted_alone(case, count):
    setup = build(*small(*case), dtype=torch.float64)
    setup.algo.eval()
    tasks = setup.tasks("test")
    fewer = Tasks(tasks.support, first(tasks.query, count, case is CLASSES), tasks.truth, tasks.keys)
    found = setup.algo.evaluate(tasks, "inductive", alone=count)
    expected = setup.algo.evaluate(fewer, "inductive")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    plain, given = (setup.algo.evaluate(tasks, "transductive", alone=n)["loss"] for n in (None, count))
    assert torch.equal(plain, given)


@pytest.mark.parametrize("case", [CLASSES, CURVES], ids=lambda case: case[1])
def test_all_of_them_are_what_no_number_gives(case):
    setup = build(*small(*case), dtype=torch.float64)
    setup.algo.eval()
    tasks = setup.tasks("test")
    whole = setup.algo.evaluate(tasks, "inductive")
    for name, value in setup.algo.evaluate(tasks, "inductive", alone=setup.source.spec.eval.queries).items():
        torch.testing.assert_close(value, whole[name])


def test_the_card_has_it_where_it_decides_a_number_and_there_alone():
    def card(*overrides: str) -> dict:
        return Components(compose(*GLYPHS, "device=cpu", *overrides), Display()).card["test"]

    batch, some = ("algo=maml", "backbone.statistics=batch", "data.queries=3"), "test.inductive_queries={}".format
    assert card(*batch, some(2))["inductive_queries"] == 2
    for given in ([*batch], [*batch, some(3)], ["algo=protonet", "data.queries=3", some(2)]):
        assert "inductive_queries" not in card(*given)
    with pytest.raises(ConfigError, match=r"test.inductive_queries=4: at most 3, data.queries"):
        card(*batch, some(4))


def test_a_run_of_before_the_key_can_be_tested_with_it():
    before = {"data": {}, "algo": {}, "log": {}, "test": {"episodes": 9}}
    assert with_overrides(before, ["test.inductive_queries=1"])["test"] == {"episodes": 9, "inductive_queries": 1}


@pytest.mark.slow
def test_the_program_says_it_beside_the_result(tmp_path):
    given = (*GLYPHS, "algo=maml", "backbone.statistics=batch", "data.queries=2", "test.inductive_queries=1")
    done = run_metabench(*given, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    (line,) = (line for line in done.out.splitlines() if line.startswith("inductive "))
    assert line.rstrip().endswith("8, 1 query of each class")
    run = only_run(tmp_path)
    summary, values = (json.loads((run / name).read_text()) for name in ("summary.json", "episodes.json"))
    values = values["modes"]
    assert summary["protocol"]["test"]["inductive_queries"] == 1
    ways = summary["protocol"]["test"]["ways"]
    right = {mode: [value * ways for value in each] for mode, each in values.items()}
    assert right["inductive"] == pytest.approx([round(n) for n in right["inductive"]])
    assert right["transductive"] != pytest.approx([round(n) for n in right["transductive"]])


def test_only_the_other_mode_is_compared_with_a_run_of_all_queries(tmp_path):
    modes = ("transductive", "inductive")
    a = write_run(tmp_path / "a", modes=modes)
    b = write_run(tmp_path / "b", modes=modes, card={"inductive_queries": 1})
    assert versus(a, b, "transductive")
    for mode in ("inductive", None):
        with pytest.raises(UserError, match=r"not tested in the same way: inductive_queries \(null and 1\)"):
            versus(a, b, mode)


def test_a_board_sets_both_beside_each_other_and_says_so(tmp_path):
    for algo, card in (("maml", {"inductive_queries": 1}), ("anil", {}), ("cavia", {})):
        given = ("bench=sinusoid", f"algo={algo}")
        run = write_run(tmp_path / algo, *given, board="sinusoid", changes=[])
        identity = json.loads((run / "summary.json").read_text())["identity"]
        of = {"run": identity, "name": "k5", "overrides": ["data.shots=5"]}
        test = write_run(
            run / "tests" / "k5", *given, "data.shots=5", board="sinusoid", changes=[], test_of=of, card=card
        )
        for path in (run, test):
            change(path, "environment", "metabench", to="0.1.0")
    (board,) = make_boards([tmp_path], None, "inductive")
    assert not board.left_out
    assert all("K=5" in row.cells for row in board.rows)
    assert any("inductive results of further tests are of 1 of the queries" in line for line in board.notes)
