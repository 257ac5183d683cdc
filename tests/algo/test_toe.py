"""Train on everything: one model, which a support set does not change, and which knows classes by their own numbers."""

from __future__ import annotations

import torch
from build import build, small

from metabench.tasks import Examples, Tasks


def test_a_support_set_changes_nothing():
    setup = build(*small("toe", "sinusoid_online"), dtype=torch.float64)
    tasks = setup.tasks("test")
    with torch.no_grad():
        found = setup.algo.solve(tasks.support, tasks.query.x)
        other = setup.algo.solve(Examples(tasks.support.x + 1, -tasks.support.y), tasks.query.x)
    assert torch.equal(found, other)
    assert torch.equal(found, setup.algo.network(tasks.query.x))


def test_training_is_on_the_numbers_of_classes():
    setup = build(*small("toe", "glyphs_online"), dtype=torch.float64)
    tasks = setup.tasks()
    x = torch.cat([tasks.support.x, tasks.query.x], dim=1)
    y = torch.cat([tasks.support.y, tasks.query.y], dim=1)
    logits = setup.algo.network(x).log_softmax(-1)
    expected = torch.stack(
        [-logits[t, i, tasks.truth["classes"][t, y[t, i]]] for t in range(len(y)) for i in range(y.shape[1])]
    ).mean()
    found, _ = setup.algo(tasks)
    torch.testing.assert_close(found, expected)
    assert logits.shape[-1] == 40  # every class there is


def test_it_chooses_among_the_classes_of_the_task():
    setup = build(*small("toe", "glyphs_online"), dtype=torch.float64)
    setup.algo.eval()
    tasks = setup.tasks("test")
    x, y = tasks.query
    logits = setup.algo.network(x)
    right = 0.0
    for t, classes in enumerate(tasks.truth["classes"]):
        right += (logits[t][:, classes].argmax(-1) == y[t]).double().mean().item() / len(y)
    assert abs(setup.algo.evaluate(tasks)["accuracy"].mean().item() - right) < 1e-12


def test_numbering_the_classes_of_a_task_anew_numbers_its_predictions_anew():
    setup = build(*small("toe", "glyphs_online"), dtype=torch.float64)
    setup.algo.eval()
    tasks = setup.tasks("test")
    order = torch.tensor([1, 2, 0, 3])
    truth = {"classes": tasks.truth["classes"][:, order.argsort()]}
    renamed = Tasks(*(Examples(x, order[y]) for x, y in tasks[:2]), truth, tasks.keys)
    assert torch.equal(setup.algo.evaluate(renamed)["accuracy"], setup.algo.evaluate(tasks)["accuracy"])
