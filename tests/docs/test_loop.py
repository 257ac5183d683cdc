"""The loop that README.md and docs/tour.md show is the program's: the same losses, weights and order."""

from __future__ import annotations

from types import SimpleNamespace

import documents
import pytest
import torch
from build import build, small
from paths import ROOT

STEPS, SIZE, EVERY = 6, 3, 2
LOOPS = {
    path: next(block for block in documents.blocks(ROOT / path, "python") if "for step in" in block)
    for path in ("README.md", "docs/tour.md")
}


@pytest.mark.parametrize("path", LOOPS)
def test_the_loop_has_ten_lines(path):
    assert LOOPS[path].count("\n") == 10


@pytest.mark.parametrize("path", LOOPS)
def test_the_loop_is_the_training_of_a_run(path):
    ours, shown = (build(*small("maml", "sinusoid")) for _ in range(2))
    losses, called = [], []
    names = {
        "source": shown.source,
        "algo": shown.algo,
        "optimizer": shown.optimizer,
        "steps": STEPS,
        "size": SIZE,
        "every": EVERY,
        "log": SimpleNamespace(add=lambda metrics: losses.append(metrics["loss"])),
        "validate": lambda: called.append(("validate", len(losses))),
        "meta_test": lambda: called.append(("meta_test", len(losses))),
    }
    exec(LOOPS[path], names)
    assert called == [("validate", 2), ("validate", 4), ("validate", 6), ("meta_test", 6)]
    torch.testing.assert_close(torch.stack(losses), torch.stack(ours.train(STEPS)), rtol=0, atol=0)
    for name, value in ours.algo.state_dict().items():
        torch.testing.assert_close(shown.algo.state_dict()[name], value, rtol=0, atol=0)
