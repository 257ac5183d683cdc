"""A user's own algorithm and data, in a package beside their work, are used like the program's."""

from __future__ import annotations

import pytest
import yaml
from program import SINUSOID, only_run, run_fresh, run_metabench, summary
from user import write_package


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    write_package(folder)
    return folder


def test_own_algorithm_and_data_run_to_the_end(work):
    done = run_metabench("--config-dir=conf", "algo=shrinking", "data=lines", *SINUSOID, cwd=work)
    assert (done.code, done.err) == (0, "")
    run = only_run(work)
    assert run.parent == work / "outputs/lines/shrinking"
    found = summary(run)
    assert found["status"] == "complete"
    assert found["protocol"]["test"]["data"] == {"name": "Lines", "source": "lines", "steepest": 2.0, "eval_seed": 0}
    assert yaml.safe_load((run / "config.yaml").read_text())["algo"]["shrink"] == 0.5


def test_own_experiment_sets_both(work):
    done = run_metabench("--config-dir=conf", "experiment=mine/first", *SINUSOID, cwd=work)
    assert done.code == 0
    config = yaml.safe_load((only_run(work) / "config.yaml").read_text())
    assert (config["algo"]["_target_"], config["data"]["_target_"]) == ("mine.algo.Shrinking", "mine.data.Lines")
    assert (config["algo"]["shrink"], config["seed"]) == (0.25, 3)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("algo.shrink=1.5", "algo.shrink=1.5: should be less than or equal to 1"),
        ("algo.shrink=half", "algo.shrink=half: should be a number"),
        ("~algo.shrink", "algo.shrink: is missing; a value is needed"),
        ("algo.shrnk=1", "algo.shrnk: no such key; did you mean shrink? valid: "),
        ("data.steepest=0", "data.steepest=0: should be greater than 0"),
        ("algo._target_=mine.algo.Nothing", "algo._target_=mine.algo.Nothing: cannot be imported: "),
        ("algo._target_=mine.data.Lines", "should name a subclass of metabench.algo.base.Algorithm"),
        ("algo=shrinkin", "algo=shrinkin: no such algo; did you mean shrinking? valid: alfa, anil, "),
    ],
)
def test_own_constructors_are_the_schema(override, expected, work):
    done = run_metabench("--config-dir=conf", "algo=shrinking", "data=lines", override, cwd=work)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"metabench: {expected}") or expected in done.err
    assert done.err.count("\n") == 1
    assert not (work / "outputs").exists()


def test_own_package_that_cannot_be_imported_is_said(work):
    (work / "mine/algo.py").write_text("import nothing_of_that_name\n")
    done = run_metabench("--config-dir=conf", "algo=shrinking", cwd=work)
    expected = "algo._target_=mine.algo.Shrinking: cannot be imported: No module named 'nothing_of_that_name'"
    assert (done.code, done.err) == (2, f"metabench: {expected}\n")


@pytest.mark.parametrize("command", [["ls"], ["ls", "algo"], ["--help"]], ids=" ".join)
def test_own_configs_are_listed(command, work):
    shown = run_fresh("metabench", *command, "--config-dir", "conf", cwd=work).out
    assert "shrinking" in shown
    assert "protonet" in shown
    assert "MAML with a shrunk step" in shown or command == ["--help"]
