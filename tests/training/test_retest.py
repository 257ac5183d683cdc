"""`metabench test`: the chosen weights of a finished run on other tasks, below the run, and refused in one line."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from build import make_source
from made_runs import write_run
from program import GLYPHS, SINUSOID, only_run, run_metabench, summary

from metabench.config.build import component
from metabench.config.compose import compose, compose_plain
from metabench.data.base import TaskSource
from metabench.errors import ConfigError, UserError
from metabench.evaluation.evaluate import evaluate
from metabench.inference.model import Model
from metabench.report.expected import conform
from metabench.runs.groups import training_differences, with_training
from metabench.runs.reader import RunReader
from metabench.training.retest import with_overrides
from metabench.training.suite import load_suite
from metabench.training.unseen import check_unseen, trainings

SMOKE = ("device=cpu", "device.threads=1", "engine=eager", "log.pictures=false")
PROTONET = (*GLYPHS, "algo=protonet")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a trained ProtoNet."""
    cwd = tmp_path_factory.mktemp("work")
    assert run_metabench(*PROTONET, cwd=cwd).code == 0
    return cwd


def made(cwd) -> list:
    return sorted(only_run(cwd).glob("tests/*/summary.json"))


def files(folder) -> dict[str, int]:
    """When each file below was last written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_same_test_again_gives_the_same_accuracies(finished):
    run = only_run(finished)
    done = run_metabench("test", str(run), cwd=finished)
    assert (done.code, done.err) == (0, "")
    (path,) = made(finished)
    found, before = json.loads(path.read_text()), summary(run)
    assert found["test"]["modes"] == before["test"]["modes"]
    assert found["protocol"]["hash"] == before["protocol"]["hash"]
    assert (path.parent / "episodes.json").read_bytes() == (run / "episodes.json").read_bytes()
    assert found["protocol"]["training"]["init"]["meta_steps"] == before["selected"]["step"]
    assert found["test_of"] == {"run": before["identity"], "names": [], "overrides": []}


def test_other_ways_shots_and_data(finished):
    run = only_run(finished)
    before = made(finished)
    for overrides in (["data.ways=4"], ["data.ways=4", "data.shots=2", "test.episodes=5"], ["data.bank_seed=1"]):
        done = run_metabench("test", str(run), *overrides, cwd=finished)
        assert (done.code, done.err) == (0, ""), overrides
        assert "finished before" in run_metabench("test", str(run), *overrides, cwd=finished).out
    found = [json.loads(path.read_text()) for path in made(finished) if path not in before]
    assert len(found) == 3
    assert {one["protocol"]["test"]["ways"] for one in found} == {3, 4}
    assert summary(run)["protocol"]["test"]["ways"] == 3  # of the run itself nothing changed


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.steps=5"], "train.steps=5: a test cannot set it; "),
        (["seed=1"], "seed=1: a test cannot set it"),
        (["data.wys=4"], "data.wys=4: no such key; did you mean ways?"),
        (["data.ways=400"], "data.ways=400: at most "),
        (["data.ways=3,4"], "data.ways=3,4: several values; one test has one"),
        (["algo=anil"], "algo=anil: a test keeps it; it may set its keys, algo.KEY=VALUE"),
        (["data=sinusoid"], "data=sinusoid: the model was trained on tasks of classes, which this data has not"),
        (["data=omniglt"], "data=omniglt: no such data; did you mean omniglot?"),
        (["suite=none"], "suite=none: no such suite; "),
        (["experiment=omniglot/protnet_5w1s"], "experiment=omniglot/protnet_5w1s: no such experiment; did you mean"),
        (["experiment=omniglot/protonet_5w1s"], "experiment=omniglot/protonet_5w1s: is trained otherwise than "),
        (["algo.distance=far"], "algo.distance=far: should be "),
        (["backbone.filters=5"], "backbone.filters=5: a test cannot set it"),
        (["data.shift.rotat=45"], "data.shift.rotat=45: no such key; did you mean rotate?"),
    ],
)
def test_bad_input_is_one_line(overrides, said, finished):
    before = made(finished)
    done = run_metabench("test", str(only_run(finished)), *overrides, cwd=finished)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"metabench: {said}"), done.err
    assert done.err.count("\n") == 1
    assert made(finished) == before


def test_what_is_no_finished_run_is_refused(tmp_path):
    (tmp_path / "work").mkdir()
    for run in ("nowhere", "."):
        done = run_metabench("test", run, cwd=tmp_path / "work")
        assert (done.code, done.err.count("\n")) == (2, 1)


@pytest.mark.parametrize("algo", ["baselinepp", pytest.param("pretrainnn", marks=pytest.mark.slow), "memorymodule"])
def test_data_of_another_number_of_training_classes(algo, tmp_path):
    """A classifier of training classes stays as it was trained; the model loaded from Python predicts the same."""
    (tmp_path / "work").mkdir()
    assert run_metabench(*GLYPHS, f"algo={algo}", "data.rotations=none", cwd=tmp_path / "work").code == 0
    run = only_run(tmp_path / "work")
    for others in ("data.characters=44", "data.rotations=classes_all"):
        done = run_metabench("test", str(run), others, cwd=tmp_path / "work")
        assert (done.code, done.err) == (0, "")
        (path,) = (path for path in made(tmp_path / "work") if others in path.read_text())
        model = Model(run, torch.device("cpu"))
        source = make_source(compose(*GLYPHS, f"algo={algo}", "data.rotations=none", others))
        episode = source.spec.eval
        found = evaluate(model.build(episode), source, "test", 8, batch=4)["accuracy"]
        assert json.loads(path.read_text())["test"]["mean"] == pytest.approx(found[:, -1].double().mean().item())


def test_a_suite_skips_what_a_head_of_fixed_size_cannot_do(tmp_path):
    cwd = tmp_path / "work"
    (cwd / "my/suite").mkdir(parents=True)
    (cwd / "my/suite/wide.yaml").write_text(
        "# @package _global_\n# more ways and shots\ntests: {ways: [data.ways=4], shots: [data.shots=2]}\n"
    )
    done = run_metabench("--config-dir=my", *GLYPHS, "algo=maml", "suite=wide", cwd=cwd)
    assert (done.code, done.err) == (0, "")
    assert "skipped: data.train.ways=3: should be data.ways, 4" in done.out
    (path,) = made(cwd)
    assert json.loads(path.read_text())["test_of"]["names"] == ["shots"]
    again = run_metabench("test", str(only_run(cwd)), "suite=wide", "--config-dir=my", cwd=cwd)
    assert (again.code, again.err, "finished before" in again.out) == (0, "", True)


def test_a_suite_of_shifts_is_that_of_the_data_of_the_run(finished):
    run = only_run(finished)
    before = set(made(finished))
    done = run_metabench("test", str(run), "suite=shift", "test.episodes=3", cwd=finished)
    assert (done.code, done.err) == (0, "")
    found = {
        one["test_of"]["names"][0]: one
        for path in made(finished)
        if path not in before
        for one in [json.loads(path.read_text())]
    }
    home = summary(run)["protocol"]["test"]
    assert found["rotated"]["protocol"]["test"] == {
        **home, "episodes": 3, "data": {**home["data"], "shift": {"rotate": 45.0}}
    }  # fmt: skip
    assert len({one["protocol"]["hash"] for one in found.values()}) == len(found) >= 11
    refused = json.loads((run / "tests/refused.json").read_text())
    assert "at most" in refused["ways50"]  # of so few characters
    assert set(refused) == {"ways50", *({"omniglot"} - found.keys())}  # where Omniglot is not at hand


def test_a_suite_skips_what_is_of_other_methods_and_refuses_what_is_of_none(tmp_path):
    cwd = tmp_path / "work"
    (cwd / "my/suite").mkdir(parents=True)
    tests = {"steps": "{a: [data.shots=2], b: [algo.eval_inner_steps=5]}", "typo": "{a: [algo.eval_inner_stepz=5]}"}
    for name, text in tests.items():
        (cwd / f"my/suite/{name}.yaml").write_text(f"# @package _global_\n# a suite\ntests: {text}\n")
    done = run_metabench("--config-dir=my", *SINUSOID, "algo=r2d2", "suite=steps", cwd=cwd)
    assert (done.code, done.err) == (0, "")
    assert "skipped: algo.eval_inner_steps=5: no such key" in done.out
    (path,) = made(cwd)
    assert json.loads(path.read_text())["test_of"]["names"] == ["a"]
    run = str(only_run(cwd))
    again = run_metabench("test", run, "suite=steps", "--config-dir=my", cwd=cwd)
    assert (again.code, again.err, "skipped: " in again.out) == (0, "", True)
    for wrong in (("suite=typo",), ("suite=steps", "algo.eval_inner_steps=3")):
        done = run_metabench("test", run, *wrong, "--config-dir=my", cwd=cwd)
        assert (done.code, done.err.count("\n"), "no such key" in done.err) == (2, 1, True)


def test_a_suite_goes_on_after_a_test_that_is_not_finite(tmp_path):
    cwd = tmp_path / "work"
    (cwd / "my/suite").mkdir(parents=True)
    tests = "{a: [algo.inner_lr=1e38, algo.eval_inner_steps=9], b: [data.shots=2]}"
    (cwd / "my/suite/steps.yaml").write_text(f"# @package _global_\n# a suite\ntests: {tests}\n")
    done = run_metabench("--config-dir=my", *SINUSOID, "algo=maml", "suite=steps", cwd=cwd)
    assert (done.code, done.err) == (0, "")
    (path,) = made(cwd)
    assert json.loads(path.read_text())["test_of"]["names"] == ["b"]
    for _ in range(2):
        assert "not finite" in json.loads((only_run(cwd) / "tests/refused.json").read_text())["a"]
        again = run_metabench("test", str(only_run(cwd)), "suite=steps", "--config-dir=my", cwd=cwd)
        assert (again.code, again.err) == (0, "")


def test_a_test_made_by_hand_is_that_of_a_suite_too(finished, tmp_path):
    """The name by which a suite, or two, call a test is not part of what it is."""
    run, before = only_run(finished), {*made(finished)}
    (tmp_path / "suite").mkdir()
    for suite, name in (("one", "few"), ("two", "small")):
        text = f"# @package _global_\n# a suite\ntests: {{{name}: [data.shots=3]}}\n"
        (tmp_path / f"suite/{suite}.yaml").write_text(text)
    for asked in ("data.shots=3", "suite=one", "suite=two", "suite=one"):
        done = run_metabench("test", str(run), asked, f"--config-dir={tmp_path}", cwd=finished)
        assert (done.code, done.err) == (0, "")
    (path,) = {*made(finished)} - before
    found = json.loads(path.read_text())["test_of"]
    assert (found["names"], found["overrides"]) == (["few", "small"], ["data.shots=3"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tests: 3", "tests=3: suite=mine should have a mapping of names to lists of KEY=VALUE"),
        ("tests: {a: 5}", "tests.a=5: suite=mine should have a mapping"),
        ("tests: {a: [data.shots=2], b: [data.shotz=2]}", "data.shotz=2: no such key; did you mean shots?"),
        ("tests: {a: [data.shots=two]}", "data.shots=two: should be a whole number"),
        ("tests: {a: [data.shots=2", "while parsing a flow"),
    ],
)
def test_a_faulty_suite_is_one_line_and_not_a_list_of_skipped_tests(text, said, finished, tmp_path):
    run, before = only_run(finished), files(finished)
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite/mine.yaml").write_text(f"# @package _global_\n{text}\n")
    done = run_metabench("test", str(run), "suite=mine", f"--config-dir={tmp_path}", cwd=finished)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert said in done.err
    assert files(finished) == before


@pytest.mark.parametrize(
    "overrides",
    [
        *("suite=shift data.shotz=3", "suite=shift data.shots=x", "suite=shift device.threads=0"),
        *("data=5", "device=5", "tracker=5", "tracker=[5]", "data=omniglott"),
    ],
)
def test_a_mistake_in_a_test_is_one_line_before_any_work(overrides, finished):
    run, before = only_run(finished), files(finished)
    done = run_metabench("test", str(run), *overrides.split(), cwd=finished)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert files(finished) == before


def test_a_run_whose_checkpoint_is_gone_has_no_skipped_tests(finished, tmp_path):
    shutil.copytree(only_run(finished), tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    done = run_metabench("test", str(tmp_path / "run"), "suite=shift", cwd=finished)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "holds no checkpoint to test" in done.err


def test_a_run_of_a_version_without_shifts_can_be_tested_under_them():
    config = compose_plain("data=glyphs", "algo=protonet")
    del config["data"]["shift"]
    assert with_overrides(config, ["data.shift.rotate=45"])["data"]["shift"]["rotate"] == 45
    assert "shift" not in config["data"]


def test_a_suite_says_which_data_it_has_tests_for(tmp_path):
    run = RunReader(write_run(tmp_path / "run", "data=gp_curves", "algo=cnp", card={"data": {"source": "gp_curves"}}))
    with pytest.raises(ConfigError, match="suite=shift: has no tests for a model trained on gp_curves; it has: glyphs"):
        load_suite("shift", run)


def test_a_test_of_classes_that_were_trained_on_is_refused(tmp_path):
    run = write_run(tmp_path / "run", "data=omniglot", "algo=protonet", metric="accuracy")
    trained = RunReader(run).config
    for overrides, count in ((["data.split=lake"], "236 of the 659"), (["data=omniglot_within_alphabet"], " of the ")):
        asked = component(with_overrides(trained, overrides)["data"], TaskSource, "data")
        with pytest.raises(UserError, match=f"trained on .*{count}"):
            check_unseen(trainings(trained), asked)


def test_a_baseline_without_weights_is_tested_too(tmp_path):
    (tmp_path / "work").mkdir()
    assert run_metabench(*SINUSOID, "algo=scratch", cwd=tmp_path / "work").code == 0
    run = only_run(tmp_path / "work")
    done = run_metabench("test", str(run), "data.shots=4", cwd=tmp_path / "work")
    assert (done.code, done.err) == (0, "")


def test_a_model_that_has_changed_under_its_path_is_not_taken_for_the_one_before(tmp_path):
    """A run of no meta-steps has no weights of its own: they are those of the run that it begins with."""
    cwd = tmp_path / "work"
    cwd.mkdir()
    trained = (*GLYPHS, "algo=protonet", "run_dir=first")
    assert run_metabench(*trained, cwd=cwd).code == 0
    begun = (*GLYPHS, "algo=protonet", "train.steps=0", "init=first", "run_dir=second")
    assert run_metabench(*begun, cwd=cwd).code == 0
    assert run_metabench("test", "second", "data.shots=3", cwd=cwd).code == 0
    shutil.rmtree(cwd / "first")
    assert run_metabench(*trained, "optim.lr=0.01", cwd=cwd).code == 0
    done = run_metabench("test", "second", "data.shots=2", cwd=cwd)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "second: the model in first has changed since this run: its digest was " in done.err
    with contextlib.chdir(cwd), pytest.raises(UserError, match="first has changed since this run"):
        Model(Path("second"), torch.device("cpu"))


def test_a_data_set_is_taken_as_a_whole_but_for_training_tasks():
    train = {"ways": 60, "shots": 1, "queries": 5}
    config = {"data": {"ways": 5, "train": train}, "log": {}, "algo": {}, "test": {"episodes": 3}}
    found = with_overrides(config, ["data=glyphs", "data.ways=20", "test.episodes=7"])
    assert found["data"]["_target_"] == "metabench.data.glyphs.Glyphs"
    assert found["data"]["train"] == train
    assert (found["data"]["ways"], found["test"]["episodes"], config["test"]["episodes"]) == (20, 7, 3)
    with pytest.raises(ConfigError):
        with_overrides(config, ["test.episode=7"])
    with pytest.raises(UserError):
        with_overrides(config, ["+test.more=7"])


def test_cells_that_share_a_training_are_tests_of_it(tmp_path):
    """One training of a budget gives the cells of its experiment's `tests`, each judged as the cell that it is."""
    (tmp_path / "work").mkdir()
    done = run_metabench(*SMOKE, "budget=smoke", "experiment=sinusoid/maml_k10", cwd=tmp_path / "work")
    assert (done.code, done.err) == (0, "")
    found = [json.loads(path.read_text()) for path in made(tmp_path / "work")]
    assert {one["experiment"] for one in found} == {"sinusoid/maml_k5", "sinusoid/maml_k20"}
    (five,) = (one for one in found if one["experiment"] == "sinusoid/maml_k5")
    assert (five["protocol"]["test"]["shots"], five["changes"], five["budget"]) == (5, [], "smoke")
    assert five["published"]["value"] == 0.35
    asked = compose_plain("experiment=sinusoid/maml_k5", "budget=smoke")
    (run,) = (path.parent for path in made(tmp_path / "work") if "sinusoid/maml_k5" in path.read_text())
    assert conform(with_training(RunReader(run)), asked) is None


def test_what_is_of_the_training_and_what_of_the_test():
    config = compose_plain("experiment=omniglot/protonet_5w1s")
    assert training_differences(config, compose_plain("experiment=omniglot/protonet_20w1s")) == []
    (said,) = training_differences(config, compose_plain("experiment=omniglot/protonet_20w5s"))
    assert said == "data.train.shots 1 for 5"
