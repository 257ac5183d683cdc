"""Early stopping: training ends after so many validations without a better one, wherever it was interrupted."""

from __future__ import annotations

import signal
from functools import partial

import pytest
from identical import identical
from program import ODD, SINUSOID, only_run, records, run_metabench, signal_in, summary

from metabench.utils.files import load_tensors

# The learning rate is so large that the first validation stays the best.
STOPS = (*SINUSOID, *ODD, "optim.lr=0.3", "train.steps=200", "validate.early_stopping=2")
AT = 39  # the third validation


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight") / "work"
    folder.mkdir()
    done = run_metabench(*STOPS, cwd=folder)
    assert (done.code, done.err) == (0, "")
    return only_run(folder), done.out


def test_training_ends_and_the_summary_and_the_card_say_so(straight):
    run, out = straight
    found = summary(run)
    assert [line["step"] for line in records(run) if line["split"] == "validation"] == [13, 26, 39]
    assert [line["step"] for line in records(run) if line["split"] == "train"][-1] == AT  # no metric is lost
    assert (found["status"], found["selected"]["step"]) == ("complete", 13)
    assert (found["train"]["steps"], found["train"]["stopped_early"]) == (AT, True)
    assert found["protocol"]["training"]["meta_steps"] == 200
    assert found["protocol"]["training"]["early_stopping"] == "after 2 validations without a better one"
    assert f"stopped early at meta-step {AT} of 200: 2 validations without a better one" in out
    assert load_tensors(run / "checkpoints/last.pt")["step"] == AT


@pytest.mark.parametrize(("split", "call"), [("train", 30), ("validation", 3)])
def test_a_stopped_run_stops_where_the_whole_one_did(split, call, straight, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    done = run_metabench(*STOPS, cwd=work, patch=partial(signal_in, split, call, signal.SIGTERM))
    assert done.code == 143
    assert run_metabench(*STOPS, cwd=work).code == 0
    identical(only_run(work), straight[0])


def test_a_run_that_improves_goes_on_to_its_end(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    assert run_metabench(*SINUSOID, "validate.early_stopping=3", cwd=work).code == 0
    found = summary(only_run(work))
    assert (found["train"]["steps"], found["train"]["stopped_early"]) == (20, False)
