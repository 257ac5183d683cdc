"""Episodes for loops of one's own: those that a run sees, in batches of any size."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from program import GLYPHS

from metabench.api import ConfigError, UserError, tasks

GLYPH_DATA = tuple(o for o in GLYPHS if o.startswith("data"))


def test_episodes_are_those_of_the_source_for_any_batch():
    ones, threes = (tasks(*GLYPH_DATA, split="test", count=7, batch=batch) for batch in (1, 3))
    assert (len(ones), len(threes)) == (7, 3)
    batches = list(threes)
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert torch.equal(torch.cat([b.support.x for b in batches]), torch.cat([t.support.x for t in ones]))
    assert torch.equal(ones[5].query.y, batches[1].query.y[2:])
    assert batches[0].support.x.shape == (3, 3, 1, 16, 16)
    assert threes.spec.eval.outputs == 3


def test_training_has_no_end_and_a_test_has_that_of_the_run():
    training = tasks("data=sinusoid", batch=4)
    assert [len(batch) for batch in islice(training, 3)] == [4, 4, 4]
    with pytest.raises(TypeError, match="have no end"):
        len(training)
    assert len(tasks("data=sinusoid", "test.episodes=12", split="test")) == 12
    assert len(tasks("data=sinusoid", split="validation", batch=200)) == 1
    assert len(tasks("data=sinusoid_online", "data.online.rounds=6", split="test")) == 6
    with pytest.raises(IndexError):
        tasks("data=sinusoid", split="test", count=3)[3]


def test_bad_input_is_one_line():
    with pytest.raises(UserError, match="split=val: no such split; valid: test, train, validation"):
        tasks("data=sinusoid", split="val")
    with pytest.raises(ConfigError, match="count=0: should be a whole number"):
        tasks("data=sinusoid", count=0)
    with pytest.raises(UserError, match="data=omniglott: no such data; did you mean omniglot"):
        tasks("data=omniglott")


def test_an_index_is_any_whole_number():
    found = tasks("data=sinusoid", split="test", batch=np.int64(2), count=np.int64(3))
    assert len(found) == 2
    torch.testing.assert_close(found[np.int64(1)].support.x, found[1].support.x)
    for index in (slice(0, 2), "a", 1.0):
        with pytest.raises(TypeError, match="as an integer"):
            found[index]
    with pytest.raises(IndexError):
        tasks("data=sinusoid")[2**63]
