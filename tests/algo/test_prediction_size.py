"""Predictions of another size than the task's are refused: a loss or a metric would take many of them."""

from __future__ import annotations

import pytest
import torch
from build import build, small

from metabench.algo.base import Algorithm
from metabench.errors import ConfigError

WRONG = {
    "a logit too many": lambda p: torch.cat([p, p[..., :1]], dim=-1),
    "a logit too few": lambda p: p[..., 1:],
    "one query": lambda p: p[:, :1],
    "no axis of outputs": lambda p: p[..., 0],
}


@pytest.mark.parametrize(
    ("algo", "data"), [("protonet", "glyphs"), ("maml", "glyphs"), ("maml", "sinusoid"), ("cnp", "sinusoid")]
)
@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_method_that_predicts_another_size_is_told_so(algo, data, change, monkeypatch):
    setup = build(*small(algo, data))
    tasks, model, cls = setup.tasks("test"), setup.algo, type(setup.algo)
    solve, outputs, alone = cls.solve, cls.outputs, cls.predict_alone
    monkeypatch.setattr(cls, "solve", lambda self, support, x: change(solve(self, support, x)))
    monkeypatch.setattr(cls, "outputs", lambda self, support, x: [change(one) for one in outputs(self, support, x)])
    monkeypatch.setattr(cls, "predict_alone", lambda self, support, x: change(alone(self, support, x)))
    said = rf"^algo={algo}: predicts a tensor \[3.*\]; should be \[3, {tasks.query.x.shape[1]}, "
    for mode in model.eval().modes:
        with pytest.raises(ConfigError, match=said):
            model.evaluate(tasks, mode)
    if cls.forward is Algorithm.forward:
        with pytest.raises(ConfigError, match=said):
            model.train()(setup.tasks("train"))
