"""A trained model on a user's own task: the figures of the test, any labels and sizes, one line where it cannot."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from build import ALGOS, small
from made_runs import write_run
from numpy.testing import assert_allclose

from metabench.api import Learner, UserError, load, tasks

QUICK = ("protonet", "matchingnet", "maml", "baseline", "memorymodule")
ANY_WAYS = {  # nothing of what they train has the number of classes in it
    *("protonet", "matchingnet", "relationnet", "siamese", "pixelnn", "pretrainnn", "memorymodule", "statistician"),
    *("r2d2", "lrd2", "ntk", "protomaml", "leo", "hypernet", "baseline", "baselinepp", "pretrain", "scratch", "dagan"),
}
UNTRAINED = {"scratch", "pixelnn"}  # whose runs have no weights
CLASSIFIERS = [pytest.param(algo, marks=[] if algo in QUICK else [pytest.mark.slow]) for algo in ALGOS]
IMAGES = torch.linspace(0, 1, 11 * 256).view(11, 1, 16, 16).roll(7, -1).sin()


@pytest.fixture
def make(tmp_path):
    """The learner of a run, with weights as training would leave them: for the ways of training."""

    def made(algo: str, data: str = "glyphs", *overrides: str) -> Learner:
        learner = load(write_run(tmp_path / algo, *small(algo, data), "train.steps=0", *overrides))
        model = learner._model
        if algo not in UNTRAINED:
            try:
                model.weights = model.build(model.spec.eval).state_dict()
            except UserError as fault:
                if not re.search("choose|needs curves", str(fault)):
                    raise
                pytest.skip(str(fault))
            model.build.cache_clear()
        return learner

    return made


@pytest.mark.parametrize("algo", CLASSIFIERS)
def test_other_ways_are_predicted_or_refused_in_one_line(algo, make):
    """Three classes after a training with four."""
    learner = make(algo)
    refused = ""
    try:
        learner.adapt(IMAGES[:6], list("bcacab"))
    except UserError as fault:
        refused = str(fault)
    if refused:
        assert re.search(r"was trained with 4 classes and takes 4, not 3 \([^\n]*\)$", refused)
        assert algo not in ANY_WAYS
        return
    labels, chances = learner.predict(IMAGES[6:])
    assert chances.shape == (5, 3)
    assert np.isfinite(chances).all()
    assert_allclose(chances.sum(1), 1)
    assert labels.tolist() == [learner.classes[i] for i in chances.argmax(1)]


@pytest.mark.parametrize("algo", CLASSIFIERS)
def test_classes_may_differ_in_their_number_of_examples(algo, make):
    learner, labels = make(algo), list("bcadbbca")
    if algo in ("baseline", "baselinepp"):
        with pytest.raises(UserError, match=r"needs as many examples of each class; there are 1 to 3$"):
            learner.adapt(IMAGES[:8], labels)
    else:
        assert np.isfinite(learner.adapt(IMAGES[:8], labels).predict(IMAGES[8:]).probabilities).all()


@pytest.mark.parametrize("algo", ["protonet", "maml", "baseline"])
@pytest.mark.parametrize("norm", ["batch", "tasknorm", "instance"])
def test_predictions_are_those_of_the_test(algo, norm, make):
    if algo == "baseline" and norm == "tasknorm":
        pytest.skip("embeds queries alone")
    learner = make(algo, "glyphs", f"backbone.norm={norm}")
    model = learner._model
    for task in (model.source.sample("test", i, 1) for i in range(3)):
        learner.adapt(task.support.x[0], task.support.y[0])
        for mode in learner.algorithm.modes:
            expected = model.build(model.spec.eval).evaluate(task, mode)["accuracy"][0, -1].item()
            assert learner.score(task.query.x[0], task.query.y[0], mode=mode) == pytest.approx(expected)


def test_an_inductive_prediction_does_not_depend_on_its_company(make):
    learner = make("maml").adapt(IMAGES[:4], [3, 1, 0, 2])
    together = learner.predict(IMAGES[4:]).probabilities
    alone = np.concatenate([learner.predict(IMAGES[i : i + 1]).probabilities for i in range(4, 11)])
    assert_allclose(together, alone, rtol=1e-4)
    assert not np.allclose(learner.predict(IMAGES[4:], mode="transductive").probabilities, together, rtol=1e-4)


def test_labels_are_of_any_kind_and_come_back_as_they_were(make):
    learner = make("protonet")
    for labels in (["cat", "dog"], [7, -3], [True, False], np.array([0.5, 2.5]), torch.tensor([4, 9])):
        own = list(labels.tolist() if hasattr(labels, "tolist") else labels)
        found = learner.adapt(IMAGES[:2], labels).predict(IMAGES[:2]).labels
        assert found.tolist() == own
    mixed = [("a", 1), None]  # which have no order
    assert learner.adapt(IMAGES[:2], mixed).predict(IMAGES[:2]).labels.tolist() == mixed


@pytest.mark.parametrize("labels", [[2**63 + 1, -1, 5], ["a\0", "b", "c"], [2**53 + 1, 2**53, 0.5]])
def test_labels_that_numpy_would_change_come_back_as_they_were(labels, make):
    learner = make("protonet").adapt(IMAGES[:3], labels)
    assert learner.predict(IMAGES[:3]).labels.tolist() == labels
    assert learner.score(IMAGES[:3], labels) == 1


def test_curves_are_fitted(make):
    learner = make("maml", "sinusoid")
    fit = learner.adapt([0.0, 1.0, 2.0], [0.0, 0.8, 0.9]).predict([0.5, 1.5])
    assert fit.values.shape == (2,)
    assert fit.std is None
    assert learner.score([0.5, 1.5], fit.values) == 0
    assert learner.adapt(np.zeros((3, 1)), np.zeros((3, 1))).predict(np.zeros((2, 1))).values.shape == (2, 1)


def test_a_neural_process_gives_standard_deviations(make):
    values, std = make("cnp", "sinusoid").adapt([0.0, 1.0], [0.0, 0.8]).predict([0.5, 1.5, 2.5])
    assert values.shape == std.shape == (3,)
    assert (std > 0).all()


@pytest.mark.parametrize(
    ("support", "labels", "said"),
    [
        (IMAGES[:2], ["a", "a"], "labels: 1 class; a support set has at least 2"),
        (IMAGES[:2], ["a", "b", "c"], "2 inputs and 3 labels: should be as many"),
        (IMAGES[:2], [[1], [2]], "labels: should be one value per image"),
        (IMAGES[:2], "ab", "ab: is one label"),
        (IMAGES[:2], np.zeros((2, 1)), r"labels of shape \[2, 1\]: should be \[N\]"),
        (IMAGES[:2] * torch.nan, ["a", "b"], "image 0: holds a value that is not finite"),
        (IMAGES[:2], [0.0, float("nan")], "labels: hold nan, which is no class"),
        (IMAGES[:2], None, "labels: should be one value per image, not NoneType"),
        (IMAGES[:2], list(torch.eye(2)), "labels: should be one value per image, not list"),
        (None, ["a", "b"], "images: should be a list of images, not NoneType"),
        (np.eye(16, dtype=int)[None].repeat(2, 0), ["a", "b"], "image 0: whole numbers are 0 to 255, and 1 is nearly"),
    ],
)
def test_a_bad_support_set_is_one_line(support, labels, said, make):
    with pytest.raises(UserError, match=said) as fault:
        make("protonet").adapt(support, labels)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("labels", [["0", "1"], [0, 2], [0.0, float("nan")], [None, 1]])
def test_a_label_that_is_no_class_is_refused_and_not_counted_as_a_mistake(labels, make):
    learner = make("protonet").adapt(IMAGES[:2], [0, 1])
    with pytest.raises(UserError, match=r"labels: .* is no class of the task: 0, 1"):
        learner.score(IMAGES[2:4], labels)


def test_as_many_targets_as_points_are_scored(make):
    learner = make("maml", "sinusoid").adapt([0.0, 1.0], [0.0, 0.8])
    with pytest.raises(UserError, match="2 inputs and 3 labels: should be as many"):
        learner.score([0.5, 1.5], [0.1, 0.2, 0.3])


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "meta", 0])
def test_a_device_is_named_in_one_line(device, make):
    run = make("protonet")._model.run
    with pytest.raises(UserError, match=f"device={device}: should be cpu, cuda, cuda:N or auto"):
        load(run, device=device)
    with pytest.raises(UserError, match=f"device={device}: should be cpu, cuda, cuda:N or auto"):
        tasks("data=glyphs", device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
def test_a_gpu_that_is_not_there_is_one_line(make):
    with pytest.raises(UserError, match="device=cuda: torch sees no CUDA device here"):
        tasks("data=glyphs", device="cuda")
    assert load(make("protonet")._model.run, device="auto")._model.device.type == "cpu"


def test_what_cannot_be_used_is_one_line(make, tmp_path):
    learner = make("protonet")
    with pytest.raises(UserError, match="there is no task yet: call adapt"):
        learner.predict(IMAGES)
    with pytest.raises(UserError, match="mode=alone: should be inductive or transductive"):
        learner.adapt(IMAGES[:2], [0, 1]).predict(IMAGES, mode="alone")
    with pytest.raises(UserError, match="None: should be a path, not NoneType"):
        load(None)
    with pytest.raises(UserError, match="no such folder; give the directory of a run"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"Oracle is told 'amplitude' of every task"):
        make("oracle", "sinusoid").adapt([0.0, 1.0], [0.0, 1.0])
    with pytest.raises(UserError, match="its tasks are sequences"):
        make("lstm", "glyphs_sequence")


def test_an_untrained_method_starts_as_in_its_run(tmp_path):
    """The random network of the run's seed, whatever was drawn before."""
    runs = [write_run(tmp_path / f"{i}", *small("scratch", "glyphs"), "train.steps=0") for i in range(2)]
    before = torch.get_rng_state()
    found = [load(run).adapt(IMAGES[:4], [0, 1, 2, 3]).predict(IMAGES[4:]).probabilities for run in runs]
    assert_allclose(*found)
    assert torch.equal(torch.get_rng_state(), before)
