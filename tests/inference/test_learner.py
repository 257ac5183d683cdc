"""A trained model on a user's own task: the figures of the test, any labels and sizes, one line where it cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from build import needs_stream, pairs, small
from made_runs import write_run

from metabench.api import Learner, load, tasks
from metabench.errors import UserError

ONE_SIZE = {  # of the number of classes, for what is trained has it
    *("alfa", "anil", "boil", "cavia", "fomaml", "imaml", "leo", "maml", "mamlpp", "metacurvature", "metalstm"),
    *("metasgd", "mmaml", "mtnet", "reptile", "learnedupdate"),
    *("cnp", "np", "anp", "snail", "lstm", "ntm", "mann", "dnc", "hypernet"),
}
CLASSIFIERS = [algo for algo, data in pairs() if data == "glyphs"]


@pytest.fixture
def made(tmp_path):
    """The learner of an untrained run."""

    def make(algo: str, data: str = "glyphs", *overrides: str) -> Learner:
        return load(write_run(tmp_path / algo, *small(algo, data), "train.steps=0", *overrides))

    return make


@pytest.mark.parametrize("algo", CLASSIFIERS)
def test_other_ways_are_predicted_or_refused_in_one_line(algo, made):
    """Three classes with 1, 3 and 2 examples after a training with four: finite chances, or a reason."""
    learner, x = made(algo), torch.rand(6, 1, 16, 16)
    labels = ["b", "c", "c", "a", "a", "c"]
    try:
        labels_found, chances = learner.adapt(x, labels).predict(torch.rand(5, 1, 16, 16))
    except UserError as fault:
        print(algo, fault)
        assert "\n" not in str(fault)
        return
    print(algo, chances[0])
    assert chances.shape == (5, 3)
    assert np.isfinite(chances).all()
