"""The order of a run: what is sampled when, and what the test sees."""

from __future__ import annotations

import pytest
from rich.console import Console

from metabench.config.compose import compose
from metabench.runs.run_dir import RunDirectory
from metabench.training.components import Components
from metabench.training.loop import Training
from metabench.training.metatest import meta_test
from metabench.utils.console import Display
from metabench.utils.signals import SignalHandler

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


STREAMS = [
    *(o for o in TINY if not o.startswith("backbone")), "algo=lstm", "data=glyphs_sequence", "data.characters=40",
    "data.ways=2", "data.train.ways=2", "data.shots=4", "algo.units=4", "backbone.filters=2",
]  # fmt: skip


@pytest.fixture
def parts(monkeypatch):
    parts = Components(compose(*TINY), Display(Console(quiet=True)))
    parts.sampled = []
    sample = parts.source.sample

    def spy(split, index, count):
        parts.sampled.append((split, index, count))
        return sample(split, index, count)

    monkeypatch.setattr(parts.source, "sample", spy)
    return parts


def test_test_tasks_are_drawn_after_training_and_training_tasks_once_each_in_order(parts, tmp_path):
    with RunDirectory(tmp_path, "id") as directory, SignalHandler() as stop:
        directory.begin("", {})
        training = Training(parts, directory, stop)
        training.run()
        probe, *drawn = [(index, count) for split, index, count in parts.sampled if split == "train"]
        assert probe == (0, 1)  # what one task costs
        assert [i for index, count in drawn for i in range(index, index + count)] == list(range(18))
        assert {split for split, _, _ in parts.sampled} == {"train", "validation"}
        parts.sampled.clear()
        meta_test(training)
    assert {split for split, _, _ in parts.sampled if split != "validation"} == {"test"}


def test_the_test_is_of_the_weights_that_validation_chose(parts, tmp_path):
    with RunDirectory(tmp_path, "id") as directory, SignalHandler() as stop:
        directory.begin("", {})
        training = Training(parts, directory, stop)
        training.run()
        chosen = directory.best(training.best["step"])
        for parameter in parts.algo.parameters():
            parameter.data.zero_()
        meta_test(training)
    lines = [line for line in directory.records() if line["split"] == "validation"]
    assert chosen["step"] == min(lines, key=lambda line: line["mse"])["step"]
    for name, value in parts.algo.state_dict().items():
        assert value.equal(chosen["algo"][name]), name


def test_of_streams_validation_is_the_mean_over_the_second_and_later_instances(tmp_path):
    parts = Components(compose(*STREAMS), Display(Console(quiet=True)))
    with RunDirectory(tmp_path, "id") as directory, SignalHandler() as stop:
        directory.begin("", {})
        training = Training(parts, directory, stop)
        training.run()
    last = [line for line in directory.records() if line["split"] == "validation"][-1]
    figures = parts.evaluate("validation", 4)
    assert figures["accuracy"].shape == (4, 4)
    for name in ("accuracy", "loss"):
        assert last[name] == pytest.approx(figures[name][:, 1:].mean().item())
