"""A search: chosen on validation alone, continued after a kill as if nothing had been, refused in one line."""

from __future__ import annotations

import json
import re
import shlex
import signal
from functools import partial
from pathlib import Path
from statistics import median

import pytest
import yaml
from image_sets import THREE_WAY, picture, write
from program import SINUSOID, run_metabench, signal_in, summary

from metabench.errors import UserError
from metabench.sweep.search_space import as_overrides, corners, distribution, parse

optuna = pytest.importorskip("optuna")

SEARCH = ("tune", *SINUSOID, "algo.inner_lr=log(1e-4,1e-1)", "algo.inner_steps=1,2")


def trials(out: str) -> list[list[str]]:
    """The rows of the table at the end."""
    table = out[out.index("\ntrials\n") : out.index("\nbest on validation")]
    return [line.split() for line in table.splitlines()[3:]]


def runs(cwd: Path) -> dict[str, dict]:
    return {path.parent.name: summary(path.parent) for path in cwd.glob("outputs/sinusoid/*/*/summary.json")}


def inverted_test() -> None:
    """A patch: the better a run is on validation, the worse its test."""
    from metabench.training import runner

    tested = runner.meta_test

    def test(training):
        return {**tested(training), "mean": -training.best["value"]}

    runner.meta_test = test


def test_the_best_on_validation_is_chosen_and_its_command_is_that_run(tmp_path):
    done = run_metabench(*SEARCH, "trials=4", cwd=tmp_path, patch=inverted_test)
    assert (done.code, done.err) == (0, "")
    assert "meta-test\n" not in done.out  # no test is shown before the choice
    found = runs(tmp_path)
    assert len(found) == 4
    best = min(found, key=lambda name: found[name]["selected"]["value"])
    assert found[best]["test"]["mean"] == max(run["test"]["mean"] for run in found.values())
    *_, said, command = done.out.splitlines()
    assert said == f"best on validation: trial {int(re.search('trial ([0-9])', said)[1])}, outputs/sinusoid/maml/{best}"
    assert found[best]["environment"]["command"] == command
    again = run_metabench(*shlex.split(command)[1:], cwd=tmp_path)
    assert f"outputs/sinusoid/maml/{best}: finished before" in again.out


def test_trials_of_images_that_have_changed_are_not_compared(tmp_path):
    """Names and numbers of files are as before: the content is what differs."""
    write(tmp_path / "birds")
    own = ("algo=protonet", "data=images", f"data.root={tmp_path}/birds", *THREE_WAY, "data.train.ways=3")
    small = ("backbone.filters=4", *(o for o in SINUSOID if not o.startswith(("data", "algo", "backbone"))))
    search = ("tune", *own, *small, "optim.lr=0.01,0.001")
    assert run_metabench(*search, "trials=1", cwd=tmp_path).code == 0
    assert "1 of 2 trials done" in run_metabench(*search, "trials=2", cwd=tmp_path).out
    for place in sorted((tmp_path / "birds/bird 03").iterdir()):
        picture(20, 0).save(place)
    done = run_metabench(*search, "trials=3", cwd=tmp_path)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "its trials are of other data or code than is there now" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_search_that_ended_early_goes_on_and_ends_as_one_that_did_not(number, tmp_path):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    for cwd in (straight, broken):
        cwd.mkdir()
    expected = run_metabench(*SEARCH, "trials=3", cwd=straight)
    ended = run_metabench(*SEARCH, "trials=3", cwd=broken, patch=partial(signal_in, "train", 33, number))
    assert ended.code == (143 if number == signal.SIGTERM else -9)
    assert len(runs(broken)) == 1
    done = run_metabench(*SEARCH, "trials=3", cwd=broken)
    assert (done.code, done.err) == (0, "")
    assert "1 of 3 trials done" in done.out
    assert done.out.count("continuing at meta-step 1") == 1
    assert trials(done.out) == trials(expected.out)
    assert done.out.splitlines()[-1] == expected.out.splitlines()[-1]

    more = run_metabench(*SEARCH, "trials=4", cwd=broken)
    assert "3 of 4 trials done" in more.out
    assert len(trials(more.out)) == 4


@pytest.mark.slow
def test_trials_side_by_side_are_those_of_one_after_the_other(tmp_path):
    """Of the first rounds, which are drawn at random: later ones are drawn knowing fewer trials."""
    found = {}
    for name, more in {"one": (), "two": ("parallel=2",)}.items():
        (tmp_path / name).mkdir()
        done = run_metabench(*SEARCH, "trials=4", *more, cwd=tmp_path / name)
        assert (done.code, done.err) == (0, "")
        found[name] = trials(done.out), done.out.splitlines()[-2:], runs(tmp_path / name).keys()
    assert found["one"] == found["two"]
    assert "meta-test" not in (folder_of(tmp_path / "two") / "trials/3/job.log").read_text()


def folder_of(cwd: Path) -> Path:
    """The folder of the one search below."""
    (study,) = cwd.glob("outputs/tune/*/study.json")
    return study.parent


@pytest.mark.slow
def test_a_search_side_by_side_that_was_killed_ends_as_one_that_was_not(tmp_path):
    ended = {}
    for name, patch in {"straight": None, "broken": partial(signal_in, "train", 33, signal.SIGTERM)}.items():
        (tmp_path / name).mkdir()
        ended[name] = run_metabench(*SEARCH, "trials=3", "parallel=2", cwd=tmp_path / name, patch=patch)
    again = run_metabench(*SEARCH, "trials=3", "parallel=2", cwd=tmp_path / "broken")
    assert (again.code, again.err) == (0, "")
    assert trials(again.out) == trials(ended["straight"].out)


PRUNED = (
    *("tune", *SINUSOID, "train.steps=40", "algo.inner_lr=log(1e-4,1e-1)", "optim.lr=log(1e-5,1e-1)"),
    *("trials=8", "prune=true"),
)


def validations(run: Path) -> dict[int, float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["mse"] for line in lines if line["split"] == "validation"}


@pytest.mark.slow
@pytest.mark.parametrize("side", [1, 2])
def test_a_trial_behind_the_median_is_given_up_and_never_chosen(side, tmp_path):
    """By hand: its best validation so far against the median, at that meta-step, of trials of earlier rounds."""
    done = run_metabench(*PRUNED, f"parallel={side}", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    rows = trials(done.out)
    of_values = {}
    for path in tmp_path.glob("outputs/sinusoid/maml/*/config.yaml"):
        config = yaml.safe_load(path.read_text())
        of_values[(config["algo"]["inner_lr"], config["optim"]["lr"])] = path.parent
    complete: list[dict[int, float]] = []
    pruned = 0
    for start in range(0, len(rows), side):
        ended = []
        for row in rows[start : start + side]:
            run = of_values[tuple(float(word.partition("=")[2]) for word in row[1:3])]
            found = validations(run)
            given_up = [
                step
                for step in list(found)
                if step < 40
                and len(complete) >= 5
                and min(v for s, v in found.items() if s <= step) > median(other[step] for other in complete)
            ]
            assert (row[3] == "pruned:") == bool(given_up)
            assert (run / "summary.json").exists() != bool(given_up)
            if given_up:
                pruned += 1
                assert list(found) == list(range(10, given_up[0] + 1, 10))  # it stopped there
                assert json.loads((run / "status.json").read_text())["status"] == "stopped"
            else:
                ended.append(found)
        complete += ended
    assert 0 < pruned < len(rows)


@pytest.mark.slow
def test_a_trial_that_was_stopped_in_its_test_is_not_given_up(tmp_path):
    """Its training is over: the last validation is its value and no reason to prune."""
    first = run_metabench(*PRUNED, "study=first", cwd=tmp_path)
    for path in tmp_path.glob("outputs/sinusoid/maml/*/summary.json"):
        path.unlink()
    again = run_metabench(*PRUNED, "study=again", cwd=tmp_path)
    assert trials(again.out) == trials(first.out)


def test_a_trial_that_fails_is_an_outcome(tmp_path):
    done = run_metabench("tune", *SINUSOID, "algo.inner_lr=0.01,1e30", "trials=3", cwd=tmp_path)
    assert done.code == 0
    rows = trials(done.out)
    assert len(rows) == 3
    failed = [row for row in rows if row[1] == "algo.inner_lr=1e+30"]
    assert failed
    assert all("finite" in row for row in failed)
    assert any(row[1] == "algo.inner_lr=0.01" and row[-1] == "best" for row in rows)


def failing_test() -> None:
    """A patch: the better a run is on validation, the likelier its test has no result."""
    from metabench.training import runner
    from metabench.training.metrics import NonFiniteError

    def test(training):
        raise NonFiniteError("the meta-test gave predictions or errors that are not finite")

    runner.meta_test = test


def test_test_tasks_decide_nothing(tmp_path):
    fair = run_metabench(*SEARCH, "trials=3", "study=fair", cwd=tmp_path)
    done = run_metabench(*SEARCH, "trials=3", "study=failing", "resume=false", cwd=tmp_path, patch=failing_test)
    assert (done.code, done.err) == (0, "")
    assert trials(done.out) == trials(fair.out)


def test_a_folder_holds_one_search(tmp_path):
    assert run_metabench(*SEARCH, "trials=1", "study=mine", cwd=tmp_path).code == 0
    assert json.loads((tmp_path / "mine/study.json").read_text())["metric"] == "mse"
    other = run_metabench("tune", *SINUSOID, "optim=adam,sgd", "trials=1", "study=mine", cwd=tmp_path)
    assert (other.code, other.err) == (2, "metabench: study=mine: holds another search; choose another folder\n")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("algo=maml", "nothing is varied; KEY=log(1e-4,1e-1), "),
        ("algo.inner_lr=log(1e-1,1e-4)", "algo.inner_lr=log(1e-1,1e-4): should have a lower end below its upper end"),
        ("algo.inner_lr=log(0,1)", "algo.inner_lr=log(0,1): should have ends above 0"),
        ("algo.inner_lr=log(a,b)", "algo.inner_lr=log(a,b): should be KEY=VALUE"),
        ("algo.inner_lr=lg(1,2)", "algo.inner_lr=lg(1,2): should be KEY=VALUE"),
        ("algo.inner_lr=interval(-1,1)", "algo.inner_lr=-1.0: should be greater than 0"),
        ("algo.inner_step=1,2", "algo.inner_step: no such key; did you mean inner_steps?"),
        ("algo.inner_steps=interval(1,5)", "algo.inner_steps=1.0: should be a whole number"),
        ("algo=maml,mamml", "algo=mamml: no such algo; did you mean maml?"),
        ("algo=maml,protonet", "algo=protonet: classification method"),
        ("data.shots=5,10", "data.shots=5,10: data.shots says what validation measures"),
        ("seed=0,1", "seed=0,1: seed says what validation measures"),
        ("validate.episodes=100,200", "validate.episodes says what validation measures"),
        ("optim.lr=0.1,0.2 optim.lr=0.3,0.4", "optim.lr=0.3,0.4: optim.lr is varied twice"),
        ("optim.lr=0.1,0.2 parallel=0", "parallel=0: should be a whole number, 1 or more"),
        ("optim.lr=0.1,0.2 prune=maybe", "prune=maybe: should be true or false"),
        ("optim.lr=0.1,0.2 trials=0", "trials=0: should be a whole number, 1 or more"),
        ("algo.inner_lr=0.1,0.2 train.steps=0", "nothing is meta-trained"),
        ("--config-dir=nowhere optim.lr=1,2", "--config-dir nowhere: no such folder"),
        ("optim.lr=0.1,0.2 study=/proc/x", "study=/proc/x: cannot be written"),
    ],
)
def test_bad_spaces_are_refused_in_one_line(command, expected, tmp_path):
    done = run_metabench("tune", *command.split(), cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert expected in done.err
    assert list(tmp_path.iterdir()) == []


def test_what_a_space_says():
    fixed, varied = parse(
        ["seed=3", "a=log(1e-4,1)", "b=int(interval(1,5))", "c=x,y", "d=range(1,4)", "data.train.shots=1,2"]
    )
    assert fixed == ["seed=3"]
    found = {key: distribution(override) for key, override in varied.items()}
    assert found == {
        "a": optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
        "b": optuna.distributions.IntDistribution(1, 5),
        "c": optuna.distributions.CategoricalDistribution(["x", "y"]),
        "d": optuna.distributions.CategoricalDistribution(["1", "2", "3"]),
        "data.train.shots": optuna.distributions.CategoricalDistribution(["1", "2"]),
    }
    values = [line.split("=")[1] for corner in corners(varied) for line in corner]
    assert {"0.0001", "1.0", "5", "x", "y", "3"} <= set(values)


def test_a_number_is_run_as_it_is_printed():
    assert as_overrides({"a": 0.00123456, "b": 3, "c": "x", "d": 1e-7 / 3}) == [
        "a=0.001235",
        "b=3",
        "c=x",
        "d=3.333e-08",
    ]


def test_a_key_is_varied_once():
    with pytest.raises(UserError, match="a is varied twice"):
        parse(["a=1,2", "a=2,3"])
