"""An experiment, its budget and its published value: said with the result, and no part of what the run is."""

from __future__ import annotations

import json
import re

import pytest
from build import composed
from program import only_run, run_metabench, summary

from metabench.runs.experiment import cell, with_names
from metabench.runs.run_id import identity

SMALL = ("backbone.hidden=[8]", "log.pictures=false", "device=cpu")
PUBLISHED = (
    "{value: 0.35, metric: mse, row: MAML, column: 10 steps, source: 'Finn et al. 2017, table 2', arxiv: '1703.03400'}"
)
EXPERIMENT = (
    "# @package _global_\n# a cell\ndefaults:\n  - override /data: sinusoid\n\n"
    f"train: {{steps: 70000}}\nbackbone: {{hidden: [8]}}\npublished: {PUBLISHED}\n"
)
CELL = ("--config-dir=conf", "experiment=cell", "log.pictures=false", "device=cpu")


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work/conf/experiment"
    folder.mkdir(parents=True)
    (folder / "cell.yaml").write_text(EXPERIMENT)
    return tmp_path / "work"


def test_a_budget_changes_lengths_alone():
    full = composed("experiment=sinusoid/maml_k10").model_dump()
    for name in ("short", "smoke"):
        cut = composed("experiment=sinusoid/maml_k10", f"budget={name}").model_dump()
        assert cut["budget"] == name
        changed = {
            f"{k}.{part}" for k, v in full.items() if isinstance(v, dict) for part in v if v[part] != cut[k][part]
        }
        lengths = {"train.steps", "validation.every", "validation.episodes", "test.episodes", "log.every"}
        assert {"train.steps", "test.episodes"} <= changed <= lengths | {"checkpoint.every"}
        assert cut["train"]["steps"] < full["train"]["steps"]
        assert cut["test"]["episodes"] < full["test"]["episodes"]


def test_the_same_run_by_plain_overrides_is_the_same_run(work):
    done = run_metabench(*CELL, "budget=smoke", cwd=work)
    assert (done.code, done.err) == (0, "")
    assert "experiment cell, budget smoke: shorter than published runs\n" in done.out
    assert "meta-test of a smoke run\n" in done.out
    assert re.search("published, of the whole: MAML, 10 steps +0.3500 +Finn et al. 2017, table 2", done.out)
    run = only_run(work)
    found = summary(run)
    assert (found["experiment"], found["budget"], found["changes"]) == ("cell", "smoke", [])
    assert (found["published"]["value"], found["published"]["row"]) == (0.35, "MAML")
    lengths = ("train.steps=10", "validate.every=5", "validate.episodes=4", "test.episodes=4")
    again = run_metabench(*SMALL, *lengths, "checkpoint.every=5", cwd=work)
    assert f"{run.relative_to(work)}: finished before" in again.out
    assert summary(run) == found


def test_a_run_by_plain_overrides_becomes_the_experiment_it_is(work):
    lengths = ("train.steps=10", "validate.every=5", "validate.episodes=4", "test.episodes=4")
    assert run_metabench(*SMALL, *lengths, "checkpoint.every=5", cwd=work).code == 0
    before = summary(only_run(work))
    assert (before["experiment"], before["budget"], before["published"]) == (None, "full", None)
    again = run_metabench(*CELL, "budget=smoke", cwd=work)
    assert "finished before" in again.out
    after = summary(only_run(work))
    assert (after["experiment"], after["budget"], after["published"]["value"]) == ("cell", "smoke", 0.35)
    assert after["test"] == before["test"]
    assert json.loads((only_run(work) / "status.json").read_text())["status"] == "complete"


def test_a_changed_experiment_is_not_the_papers(work):
    done = run_metabench(*CELL, "budget=smoke", "data.shots=5", "seed=4", cwd=work)
    assert "experiment cell, changed by data.shots=5, budget smoke" in done.out
    found = summary(only_run(work))
    assert (found["experiment"], found["changes"]) == ("cell", ["data.shots=5"])
    assert re.search("published, of the whole: MAML, 10 steps +0.3500", done.out)


@pytest.mark.parametrize(
    ("override", "changes"),
    [
        *((free, False) for free in ("seed=1", "device=cuda", "device.precision=tf32", "engine=eager", "+log.every=1")),
        *((free, False) for free in ("budget=short", "data.root=x", "hydra/launcher=basic", "hydra.sweep.dir=x")),
        *((other, True) for other in ("train.steps=9", "data=glyphs", "data.rotations=none", "test.episodes=9")),
        *((other, True) for other in ("algo.inner_lr=1", "~train.clip", "init=x", "optim=sgd", "validate.select=best")),
    ],
)
def test_what_makes_it_another_run(override, changes):
    assert bool(cell(composed(), "sinusoid/maml_k10", ["experiment=sinusoid/maml_k10", override])["changes"]) == changes


def test_what_a_run_is_called_is_not_part_of_it():
    plain = {"data": {}, "seed": 0, "budget": "full", "published": None}
    assert identity(plain) == identity({**plain, "budget": "short", "published": {"value": 1.0}})
    assert identity(plain) != identity({**plain, "seed": 1})


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("budget=smok", "budget=smok: no such budget; did you mean smoke? valid: full, short, smoke"),
        ("budget=null", "budget=null: no such budget; valid: full, short, smoke"),
        ("published={value:1}", "published.metric: is missing; a value is needed"),
        (
            "published={value:1,metric:mse,row:a,column:b,source:c,valu:1}",
            "published.valu=1: no such key; did you mean value? valid: also, arxiv, ",
        ),
        ("published=0.3", "published=0.3: is a group of keys: value, ci95"),
    ],
)
def test_bad_names_are_refused_in_one_line(override, expected, tmp_path):
    done = run_metabench(override, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"metabench: {expected}")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(("kind", "name"), [("board", "sinusoid"), ("experiment", "sinusoid/maml_k10")])
def test_a_run_that_repeated_a_value_is_that_of_the_command_without_it(kind, name):
    """The values decide what a run is, and not whether a command line said them."""
    bare = {"experiment": None, "board": None, "budget": "full", "published": None, kind: name}
    repeated, clean = bare | {"changes": ["data.shots=10"]}, bare | {"changes": []}
    assert with_names(repeated | {"status": "complete"}, clean) == clean | {"status": "complete"}
    assert with_names(clean, repeated) == clean
    assert with_names(repeated, clean | {kind: None}) == repeated  # asked for as something else


PLAIN = {"experiment": None, "board": None, "budget": "full", "changes": [], "published": None}
NAMED, BOARD = {"experiment": "sinusoid/maml_k10", "published": {"value": 0.3}}, {"board": "sinusoid"}


@pytest.mark.parametrize(
    ("held", "asked", "expected"),
    [
        (PLAIN, PLAIN | BOARD, PLAIN | BOARD),
        (PLAIN, PLAIN | NAMED, PLAIN | NAMED),
        (PLAIN | NAMED, PLAIN | BOARD, PLAIN | NAMED | BOARD),
        (PLAIN | BOARD, PLAIN | NAMED, PLAIN | NAMED | BOARD),
        (PLAIN | NAMED | BOARD, PLAIN | BOARD, PLAIN | NAMED | BOARD),
        (PLAIN | BOARD, PLAIN | BOARD | {"changes": ["train.steps=9"]}, PLAIN | BOARD),
        (PLAIN | NAMED | {"changes": ["train.steps=9"]}, PLAIN | BOARD, PLAIN | BOARD),
        (PLAIN | BOARD | {"tuned": ["algo.inner_lr=1"]}, PLAIN | NAMED, PLAIN | BOARD | NAMED),
    ],
)
def test_a_run_has_every_name_by_which_it_was_asked_for(held, asked, expected):
    found = with_names(held | {"status": "complete"}, asked)
    assert found == expected | {"status": "complete"} | ({"tuned": held["tuned"]} if "tuned" in held else {})


def test_a_run_by_plain_overrides_joins_the_board_with_its_tests(tmp_path):
    lengths = ("train.steps=10", "validate.every=5", "validate.episodes=4", "test.episodes=4", "checkpoint.every=5")
    plain = (
        "data=sinusoid",
        "algo=oracle",
        "device=cpu",
        "device.threads=1",
        "log.every=5",
        "log.pictures=false",
        *lengths,
    )
    assert run_metabench(*plain, cwd=tmp_path).code == 0
    done = run_metabench("bench=sinusoid", *plain[1:], cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "finished before" in done.out
    found = [json.loads(path.read_text()) for path in tmp_path.rglob("summary.json")]
    assert [one["board"] for one in found] == 3 * ["sinusoid"]  # itself, and its tests of five and twenty points
