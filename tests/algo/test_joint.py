"""Joint training fits the pooled points; the oracle is told more, and nothing else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from build import build, small
from references import Plain

from metabench.algo.pretrain import Pretrain
from metabench.errors import ConfigError
from metabench.tasks import Examples, Tasks


def double(algo: str, *overrides: str):
    return build(*small(algo, "sinusoid"), *overrides, dtype=torch.float64)


def test_joint_training_is_pretraining_that_is_never_fine_tuned():
    setup = double("joint")
    tasks = setup.tasks()
    x, y = (torch.cat([a, b], dim=1).flatten(0, 1) for a, b in zip(*tasks[:2], strict=True))
    torch.testing.assert_close(setup.algo(tasks)[0], F.mse_loss(Plain(setup.algo.network)(x), y))
    assert isinstance(setup.algo, Pretrain)


@pytest.mark.parametrize("algo", ["joint", "oracle"])
def test_the_support_set_changes_no_prediction(algo):
    setup = double(algo)
    tasks = setup.tasks("test")
    other = Tasks(Examples(tasks.support.x + 1, -tasks.support.y), tasks.query, tasks.truth)
    a, b = (setup.algo.eval().evaluate(given)["mse"] for given in (tasks, other))
    assert a.shape == (3, 1)
    assert torch.equal(a, b)


def test_one_function_for_all_tasks():
    setup = double("joint")
    x = torch.linspace(-5, 5, 7).double().view(1, 7, 1).expand(3, -1, -1)
    found = setup.algo.eval().outputs(setup.tasks("test").support, x)[-1]
    torch.testing.assert_close(found, found[:1].expand(3, -1, -1))


def test_the_oracle_is_told_what_it_is_to_know():
    setup = double("oracle", "algo.known=[phase,amplitude]", "backbone.hidden=[]")
    tasks = setup.tasks()
    seen = setup.algo.view(tasks)
    for part, given in zip(seen[:2], tasks[:2], strict=True):
        x, phase, amplitude = part.x.unbind(-1)
        assert torch.equal(x, given.x[..., 0])
        assert (phase == tasks.truth["phase"]).all()
        assert (amplitude == tasks.truth["amplitude"]).all()
    net, (x, _) = setup.algo.network, seen.query
    first, second = net.hidden.linears
    hidden = F.linear(F.relu(F.linear(x, first.weight, first.bias)), second.weight, second.bias).relu()
    expected = F.linear(hidden, net.head.weight, net.head.bias)
    torch.testing.assert_close(setup.algo.solve(seen.support, x), expected)


def test_the_oracle_knows_a_task_that_joint_training_does_not():
    joint, oracle = (
        build(*small(algo, "sinusoid"), "backbone.hidden=[]" if algo == "oracle" else "backbone.hidden=[40,40]",
              "train.tasks=25", "optim.lr=0.01")
        for algo in ("joint", "oracle")
    )  # fmt: skip
    errors = []
    for setup in (joint, oracle):
        setup.train(300)
        errors.append(setup.algo.eval().evaluate(setup.tasks("test", count=300))["mse"].mean())
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("algo=joint", "data=glyphs"), "algo=joint"),
        (("algo=oracle", "data=glyphs"), "algo=oracle"),
        (("algo=oracle", "data=gp_curves"), r"algo.known=.*should be some of length, scale"),
        (("algo=oracle", "data=sinusoid", "algo.known=[]"), "should be some of amplitude, frequency, phase"),
    ],
)
def test_what_cannot_be_is_said(overrides, message):
    with pytest.raises(ConfigError, match=message):
        build(*overrides)
