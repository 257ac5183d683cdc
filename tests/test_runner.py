"""The order of a run: what is sampled when, and what the test sees."""

from __future__ import annotations

import pytest
from rich.console import Console

from metabench.compose import compose
from metabench.console import Display
from metabench.records import RunDirectory
from metabench.runner import Run
from metabench.stop import Stop

TINY = [
    "device=cpu",
    "train.steps=6",
    "train.tasks=3",
    "validate.every=2",
    "validate.episodes=4",
    "test.episodes=5",
    "log.every=2",
    "checkpoint.every=3",
    "backbone.hidden=[4]",
]


@pytest.fixture
def run(monkeypatch):
    run = Run(compose(*TINY), Display(Console(quiet=True)))
    run.sampled = []
    sample = run.source.sample

    def spy(split, index, count):
        run.sampled.append((split, index, count))
        return sample(split, index, count)

    monkeypatch.setattr(run.source, "sample", spy)
    return run


def test_test_tasks_are_drawn_after_training_and_training_tasks_once_each_in_order(run, tmp_path):
    with RunDirectory(tmp_path, "id") as directory, Stop() as stop:
        directory.begin("", {})
        run.train(directory, stop)
        probe, *drawn = [(index, count) for split, index, count in run.sampled if split == "train"]
        assert probe == (0, 1)  # what one task costs
        assert [i for index, count in drawn for i in range(index, index + count)] == list(range(18))
        assert {split for split, _, _ in run.sampled} == {"train", "validation"}
        run.sampled.clear()
        run.test(directory, stop)
    assert {split for split, _, _ in run.sampled if split != "validation"} == {"test"}


def test_the_test_is_of_the_weights_that_validation_chose(run, tmp_path):
    with RunDirectory(tmp_path, "id") as directory, Stop() as stop:
        directory.begin("", {})
        run.train(directory, stop)
        chosen = directory.best()
        for parameter in run.algo.parameters():
            parameter.data.zero_()
        run.test(directory, stop)
    lines = [line for line in directory.records() if line["split"] == "validation"]
    assert chosen["step"] == min(lines, key=lambda line: line["mse"])["step"]
    for name, value in run.algo.state_dict().items():
        assert value.equal(chosen["algo"][name]), name
