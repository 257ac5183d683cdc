"""The published values: exact, sourced, each run by an experiment or left out for a reason, and said as they are."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
from build import composed
from omegaconf import OmegaConf
from paths import CONF

from metabench.config.catalog import description
from metabench.config.compose import compose_plain
from metabench.config.published import published, rows
from metabench.config.schema import Published, mark
from metabench.runs.groups import training_differences

FOLDER = CONF / "experiment"
EXPERIMENTS = {
    path.relative_to(FOLDER).with_suffix("").as_posix(): path
    for data in ("omniglot", "sinusoid", "mini_imagenet")
    for path in sorted((FOLDER / data).glob("*.yaml"))
}
SHARED = {
    name: [override.removeprefix("experiment=") for (override,) in tests.values()]
    for name, path in EXPERIMENTS.items()
    if (tests := OmegaConf.load(path).get("tests"))
}
BY_EXPERIMENT = defaultdict(list)
for row in rows():
    BY_EXPERIMENT[row["experiment"]].append(row)
CHECKED = (
    r"(the paper's text|the authors' (poster|slides)|independent notes that quote the paper"
    r"|the text of a paper that quotes it|the poster of authors that quote it"
    r"|from memory|mean from independent notes that quote the paper, interval from memory)"
)
AUTHORS = r"[A-Z][a-z]+ (et al\.|and [A-Z][a-z]+) 20\d\d"
TABLE = r"(the )?(Omniglot (to EMNIST )?)?table( \d| of results| of the (poster|repository))?"


def test_every_row_is_whole():
    cells = [(row["source"], row["arxiv"], row["row"], row["column"]) for row in rows()]
    assert len(set(cells)) == len(cells) > 300
    for row in rows():
        assert bool(row["experiment"]) != bool(row["without"]), row
        assert float(row["value"]) >= 0
        assert row["metric"] in {"accuracy", "error", "mse"}
        assert row["prediction"] in {"transductive", "inductive", ""}
        assert not (row["ci95"] and row["spread"])
        assert all(re.fullmatch(r"\d+(\.\d+)?", row[name]) for name in ("value", "ci95", "spread") if row[name])
        assert re.fullmatch(rf"{AUTHORS}, {TABLE}( of {AUTHORS})?", row["source"]), row
        assert re.fullmatch(r"\d{4}\.\d{5}(v\d)?|", row["arxiv"])
        assert re.fullmatch(CHECKED, row["verified"]), row


def test_every_experiment_is_of_a_row_or_of_a_curve():
    assert BY_EXPERIMENT.keys() - {""} <= EXPERIMENTS.keys()
    for name in EXPERIMENTS.keys() - BY_EXPERIMENT.keys():
        said = description(EXPERIMENTS[name])
        assert "published as a curve" in said or "its value not at hand" in said


def test_an_experiment_is_given_its_rows():
    without = next(name for name in EXPERIMENTS if name not in BY_EXPERIMENT)
    assert composed(f"experiment={without}").published is None
    given = composed("experiment=omniglot/maml_5w1s").published
    assert given == Published(**published("omniglot/maml_5w1s"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_says_what_its_rows_say(name):
    said = description(EXPERIMENTS[name])
    notes = {row["note"] for row in BY_EXPERIMENT[name]} - {""}
    numbers = re.findall(r"\d+\.\d+", said)
    cells = BY_EXPERIMENT[name]
    expected = {row["value"] for row in cells}
    if len(cells) == 1:
        expected |= {cells[0]["ci95"] or cells[0]["spread"]} - {""}
    assert set(numbers) == expected
    for row in cells:
        assert row["source"] in said
        assert ("from memory" in said) == ("from memory" in row["verified"])
    assert all(note in said for note in notes)


def test_a_value_from_memory_is_marked_and_an_ensemble_said():
    doubtful = [row for row in rows() if "from memory" in row["verified"]]
    assert len(doubtful) == 57  # of means or intervals that no public text was found for
    assert mark("from memory") == mark(doubtful[-1]["verified"]) == "†"
    assert mark("the paper's text") == mark(None) == ""
    assert {row["note"] for row in rows() if row["row"] == "MAML++"} == {"an ensemble of 3 models"}
    assert published("omniglot/mamlpp_20w1s")["note"] == "an ensemble of 3 models"
    assert "note" not in published("omniglot/maml_5w1s")


@pytest.mark.parametrize(
    ("name", "value", "ci95", "prediction"),
    [
        ("omniglot/maml_5w1s", 0.987, 0.004, "transductive"),
        ("omniglot/maml_20w5s", 0.989, 0.002, "transductive"),
        ("omniglot/protonet_20w1s", 0.96, None, "inductive"),
        ("omniglot/snail_20w1s", 0.9764, 0.003, None),
        ("omniglot/siamese_within_alphabet", 0.92, None, "inductive"),
        ("sinusoid/metasgd_train5_test5", 0.9, 0.16, None),
    ],
)
def test_a_run_gets_the_value_in_its_own_units(name, value, ci95, prediction):
    found = composed(f"experiment={name}").published
    assert (found.value, found.ci95, found.prediction) == (value, ci95, prediction)
    assert not found.also


def test_one_run_may_give_several_cells():
    steps = published("sinusoid/maml_k5")
    assert [(one["at"], one["value"]) for one in (steps, *steps["also"])] == [(10, 0.35), (1, 0.67), (5, 0.38)]
    modes = published("omniglot/reptile_5w1s")
    assert [(one["prediction"], one["value"], one["spread"], one["ci95"]) for one in (modes, *modes["also"])] == [
        ("transductive", 0.9768, 0.0004, None),
        ("inductive", 0.9539, 0.0009, None),
    ]
    stream = published("omniglot/mann_5w")
    assert {one["at"]: one["value"] for one in (stream, *stream["also"])} == {
        10: 0.981, 1: 0.364, 2: 0.828, 3: 0.91, 4: 0.926, 5: 0.949
    }  # fmt: skip


@pytest.mark.slow
def test_cells_of_one_training_are_named_where_it_is():
    """Each cell is tested with one training at most, which is the one that it asks for; 40 trainings are saved."""
    names = [*SHARED, *(one for cells in SHARED.values() for one in cells)]
    plain = {name: compose_plain(f"experiment={name}") for name in names}
    for lead, cells in SHARED.items():
        for cell in cells:
            assert training_differences(plain[lead], plain[cell]) == [], (lead, cell)
            assert plain[cell]["train"] == plain[lead]["train"]
            assert plain[cell]["tests"] is None
    served = [cell for cells in SHARED.values() for cell in cells]
    assert len(served) == len(set(served)) >= 40
