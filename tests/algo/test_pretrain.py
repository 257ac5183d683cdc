"""Joint training knows the true classes, and a task's new head starts from nothing."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from build import build, small
from references import Plain, each

from metabench.tasks import Examples, Tasks


def test_regression_minimises_the_pooled_squared_error():
    setup = build(*small("pretrain", "sinusoid"), dtype=torch.float64)
    tasks = setup.tasks()
    x, y = (torch.cat([a, b], dim=1).flatten(0, 1) for a, b in zip(*tasks[:2], strict=True))
    expected = F.mse_loss(Plain(setup.algo.network)(x), y)
    torch.testing.assert_close(setup.algo(tasks)[0], expected)


def test_classification_is_over_all_training_classes():
    setup = build(*small("pretrain", "glyphs"), "data.rotations=classes_all", dtype=torch.float64)
    tasks, classifier = setup.tasks(), setup.algo.classifier
    assert classifier.weight.shape == (4 * 24, setup.algo.backbone.feature_size)
    loss, metrics = setup.algo(tasks)
    backbone = Plain(setup.algo.network).backbone
    expected = []
    for classes, (x, y, query_x, query_y) in zip(tasks.truth["classes"], each(tasks), strict=True):
        logits = F.linear(backbone(torch.cat([x, query_x])), classifier.weight, classifier.bias)
        expected.append(F.cross_entropy(logits, classes[torch.cat([y, query_y])]))
    torch.testing.assert_close(metrics["loss"], torch.stack(expected).detach())
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_the_class_ids_are_the_same_in_every_task():
    """Labels of a task are 0, 1, …; ids name the character, whatever the task."""
    setup = build(*small("pretrain", "glyphs"), dtype=torch.float64)
    tasks = setup.tasks()
    order = torch.tensor([2, 0, 3, 1])  # the same drawings under other labels
    (x, y), (query_x, query_y), truth, _ = tasks
    classes = torch.empty_like(truth["classes"])
    classes[:, order] = truth["classes"]
    renamed = Tasks(Examples(x, order[y]), Examples(query_x, order[query_y]), {"classes": classes})
    torch.testing.assert_close(setup.algo(renamed)[0], setup.algo(tasks)[0], rtol=1e-12, atol=0)


@pytest.mark.parametrize("finetune", ["head", "all"])
def test_a_new_head_starts_at_chance(finetune):
    setup = build(*small("pretrain", "glyphs"), f"algo.finetune={finetune}", dtype=torch.float64)
    setup.train(2)
    setup.algo.eval()
    tasks = setup.tasks("test")
    metrics = setup.algo.evaluate(tasks)
    assert (metrics["accuracy"][:, 0] == 1 / 4).all()
    torch.testing.assert_close(metrics["loss"][:, 0], torch.full((3,), math.log(4)).double())
    assert not setup.algo.outputs(tasks.support, tasks.query.x)[0].any()
    assert metrics["loss"][:, -1].mean() < math.log(4)


@pytest.mark.parametrize("finetune", ["head", "all"])
def test_fine_tuning_is_plain_sgd_on_what_it_names(finetune):
    setup = build(
        *small("pretrain", "glyphs"), f"algo.finetune={finetune}", "algo.inner_lr=0.3", "algo.adapt_norm=true",
        dtype=torch.float64,
    )  # fmt: skip
    setup.train(2)
    setup.algo.eval()
    tasks = setup.tasks("test")
    found = torch.stack(setup.algo.outputs(tasks.support, tasks.query.x)).detach()
    for task, (x, y, query_x, _) in enumerate(each(tasks)):
        net = Plain(setup.algo.network).requires_grad_().eval()  # on the running statistics of training
        sgd = torch.optim.SGD((net if finetune == "all" else net.head).parameters(), lr=0.3)
        for predictions in found[:, task]:
            torch.testing.assert_close(net(query_x).detach(), predictions, rtol=1e-9, atol=1e-9)
            net.zero_grad()
            F.cross_entropy(net(x), y).backward()
            sgd.step()


def test_training_episodes_may_have_other_ways():
    setup = build(*small("pretrain", "glyphs"), "data.train.ways=10")
    setup.train(1)
    assert setup.algo.network.head.weight.shape[0] == 4
