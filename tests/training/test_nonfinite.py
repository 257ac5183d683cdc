"""Predictions that are not finite: counted and named; no result leaves them out, no checkpoint is chosen by them."""

from __future__ import annotations

import json
import math

import pytest
from program import only_run, records, run_metabench, summary

from metabench.algo.base import Algorithm
from metabench.config.compose import compose
from metabench.plots import draw_run
from metabench.runs.run_dir import RunDirectory
from metabench.training.components import Components
from metabench.training.loop import Training
from metabench.training.metatest import meta_test
from metabench.training.metrics import NonFiniteError
from metabench.utils.console import Display
from metabench.utils.files import read_json
from metabench.utils.signals import SignalHandler

COMMON = ("device=cpu", "device.threads=1", "log.pictures=false", "test.episodes=4", "train.tasks=2")
GLYPHS = ("data=glyphs", "data.characters=40", "data.ways=2", "data.train.ways=2", "backbone.filters=4")
DIVERGED = {
    "classification": ("algo=scratch", *GLYPHS, "algo.inner_lr=1e30"),
    "regression": ("algo=scratch", "data=sinusoid", "algo.inner_lr=1e30"),
}


@pytest.mark.parametrize("name", DIVERGED)
def test_a_test_that_is_not_finite_is_not_complete(name, tmp_path):
    for _ in range(2):  # the same command says the same again
        done = run_metabench(*DIVERGED[name], *COMMON, cwd=tmp_path)
        assert done.code == 3, done
        assert done.err.count("\n") == 1
        assert "4 of 4 inductive" in done.err or "4 of 4 transductive" in done.err
        run = only_run(tmp_path)
        assert read_json(run / "status.json")["status"] == "nonfinite"
        assert not (run / "summary.json").exists()
        modes = json.loads((run / "episodes.json").read_text())["modes"]
        assert all(values == [None] * 4 for values in modes.values())
    report = run_metabench("report", "outputs", cwd=tmp_path)
    assert "nonfinite" in report.out + report.err


class Spoiled:
    """Components whose evaluations have NaN where `where(split, mode, call)` says: task and column."""

    def __init__(self, where, monkeypatch, *overrides: str) -> None:
        self.said: list[str] = []
        display = Display()
        monkeypatch.setattr(display, "say", self.said.append)
        self.components = Components(compose(*COMMON, "validate.episodes=4", *overrides), display)
        evaluate, calls = Components.evaluate, []

        def spoiled(own, split, episodes, source=None, **options):
            found = evaluate(own, split, episodes, source, **options)
            calls.append(split)
            for task, column in where(split, options.get("mode"), calls.count(split)):
                found[own.metric][task, column] = math.nan
            return found

        monkeypatch.setattr(Components, "evaluate", spoiled)

    def run(self, path):
        """The directory, the training and the test; that is the fault where there is one."""
        with RunDirectory(path, "id") as directory, SignalHandler() as signals:
            directory.begin("", {})
            training = Training(self.components, directory, signals)
            training.run()
            try:
                return directory, training, meta_test(training)
            except NonFiniteError as fault:
                return directory, training, fault


SINUSOID = ("data=sinusoid", "backbone.hidden=[4]", "train.steps=6", "validate.every=2")


def test_a_validation_with_such_tasks_is_never_preferred(tmp_path, monkeypatch):
    made = Spoiled(lambda split, mode, call: [(1, -1)] * (split == "validation" and call != 2), monkeypatch, *SINUSOID)
    directory, training, test = made.run(tmp_path)
    lines = [line for line in directory.records() if line["split"] == "validation"]
    assert [line.get("nonfinite") for line in lines] == [1, None, 1]
    assert [line["mse"] is None for line in lines] == [True, False, True]
    assert training.best["step"] == 4
    assert len([line for line in made.said if "1 of 4 validation tasks" in line]) == 2
    (tmp_path / "drawn").mkdir()
    draw_run(tmp_path / "drawn", made.components.algo, made.components.source, directory.records(), test, {})
    assert list((tmp_path / "drawn").glob("*.png"))
    assert math.isfinite(test["mean"])


def test_an_early_column_is_counted_and_the_result_stands(tmp_path, monkeypatch):
    made = Spoiled(lambda split, mode, call: [(2, 0), (3, 0)] * (split == "test"), monkeypatch, *SINUSOID)
    _, _, test = made.run(tmp_path)
    assert math.isfinite(test["mean"])
    assert test["per_step"][0]["nonfinite"] == 2
    assert "nonfinite" not in test
    assert any("2 of 4 test tasks have no finite metric: inner steps 0" in line for line in made.said)


def test_another_mode_is_counted_and_the_result_stands(tmp_path, monkeypatch):
    where = lambda split, mode, call: [(2, -1)] * (split == "test" and mode == "inductive")  # noqa: E731
    made = Spoiled(where, monkeypatch, "algo=maml", *GLYPHS, "train.steps=1", "backbone.statistics=batch")
    directory, _, test = made.run(tmp_path)
    assert math.isfinite(test["mean"])
    assert test["modes"]["inductive"]["nonfinite"] == 1
    assert math.isnan(test["modes"]["inductive"]["mean"])
    assert "nonfinite" not in test["modes"]["transductive"]
    assert any("1 of 4 test tasks have no finite metric: inductive" in line for line in made.said)
    assert read_json(directory.path / "episodes.json")["modes"]["inductive"][2] is None


def test_one_task_of_the_result_is_enough(tmp_path, monkeypatch):
    made = Spoiled(lambda split, mode, call: [(2, -1)] * (split == "test"), monkeypatch, *SINUSOID)
    directory, _, fault = made.run(tmp_path)
    assert "1 of 4 inductive" in str(fault)
    assert (fault.exit_code, fault.status) == (3, "nonfinite")
    assert (directory.checkpoints / "best.pt").exists()


@pytest.mark.parametrize("hindsight", [False, True])
def test_online_tasks_and_hindsight(hindsight, tmp_path, monkeypatch):
    overrides = ("data=sinusoid_online", "algo=ftml", "data.online.rounds=2", "train.steps=4", "backbone.hidden=[4]")
    rounds = 2 * compose(*overrides).data["shots"]

    def where(split, mode, call):
        return [(0, -1)] if call == rounds + hindsight else []

    directory, _, fault = Spoiled(where, monkeypatch, *overrides).run(tmp_path)
    assert isinstance(fault, NonFiniteError)
    assert ("in hindsight" in str(fault)) is hindsight
    lines = [line for line in directory.records() if line["split"] == "online"]
    assert lines
    assert (lines[-1]["mse"] is None) is not hindsight


def test_the_algorithms_own_gaussian_and_early_steps():
    """Predictions of a task whose inner steps overflow are NaN at the columns where they do."""
    from build import build, small

    setup = build(*small("maml", "sinusoid"))
    setup.algo.eval()
    outputs = setup.algo.outputs

    def spoiled(support, x):
        found = outputs(support, x)
        found[1][0, 0] = math.inf
        return found

    setup.algo.outputs = spoiled
    found = Algorithm.evaluate(setup.algo, setup.source.sample("test", 0, 3))["mse"]
    assert found.isnan().nonzero().tolist() == [[0, 1]]


def test_a_clean_run_says_nothing_of_it(tmp_path):
    done = run_metabench("algo=maml", *SINUSOID, *COMMON, "validate.episodes=4", cwd=tmp_path)
    assert done.code == 0, done
    run = only_run(tmp_path)
    assert "nonfinite" not in json.dumps([summary(run), records(run)])
