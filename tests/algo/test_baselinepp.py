"""Baseline++: cosine heads are torch's weight normalisation on normalised features."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from build import build, small
from references import each
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from metabench.algo.baselinepp import CosineHead
from metabench.errors import ConfigError


def normalised(weight: Tensor, length: Tensor) -> nn.Linear:
    linear = weight_norm(nn.Linear(weight.shape[1], weight.shape[0], bias=False).double())
    with torch.no_grad():
        linear.parametrizations.weight.original0.copy_(length.unsqueeze(1))
        linear.parametrizations.weight.original1.copy_(weight)
    return linear


def trained():
    setup = build(*small("baselinepp", "glyphs"), "algo.inner_lr=0.3", dtype=torch.float64)
    setup.train(2)
    return setup


def test_the_head_is_fitted_as_by_torchs_sgd_on_normalised_weights():
    setup = trained()
    setup.algo.eval()
    tasks = setup.tasks("test")
    drawn = setup.algo.drawn_head(tasks.support, torch.float64)
    with torch.no_grad():
        found = torch.stack(setup.algo.outputs(tasks.support, tasks.query.x))
        features = setup.algo.backbone(tasks.support.x), setup.algo.backbone(tasks.query.x)
    for task, (_, y, _, _) in enumerate(each(tasks)):
        z, query = (F.normalize(part[task], dim=-1) for part in features)
        head = normalised(drawn["weight"][task], drawn["length"][task])
        sgd = torch.optim.SGD(head.parameters(), lr=0.3, momentum=0.9, dampening=0.9, weight_decay=0.001)
        torch.testing.assert_close(2 * head(query).detach(), found[0, task])
        step = 0
        for order in setup.algo.orders:
            for part in order.split(4):
                sgd.zero_grad()
                F.cross_entropy(2 * head(z[part]), y[part]).backward()
                sgd.step()
                step += 1
                torch.testing.assert_close(found[step, task], 2 * head(query).detach(), rtol=1e-9, atol=1e-12)


def test_training_is_a_cosine_softmax_over_all_classes():
    setup = trained()
    tasks = setup.tasks()
    head = normalised(setup.algo.classifier.weight, setup.algo.classifier.length)
    z, y = (torch.cat([a, b], dim=1) for a, b in zip(*tasks[:2], strict=True))
    logits = 10 * head(F.normalize(setup.algo.backbone(z), dim=-1))
    expected = F.cross_entropy(logits.flatten(0, 1), tasks.truth["classes"].gather(1, y).flatten())
    torch.testing.assert_close(setup.algo(tasks)[0], expected)


def test_logits_know_no_length_of_features():
    head, x = CosineHead(5, 3, 10.0), torch.randn(2, 4, 5)
    torch.testing.assert_close(head(7 * x), head(x))
    assert head(x).abs().max() <= 10 * head.length.max()


def test_a_tasks_head_is_a_torch_layer_drawn_for_it_with_its_own_lengths():
    setup = trained()
    drawn = setup.algo.drawn_head(setup.tasks("test").support, torch.float64)
    torch.testing.assert_close(drawn["length"], drawn["weight"].norm(dim=2))
    assert len(drawn["weight"].flatten(1).unique(dim=0)) == len(drawn["weight"])


def test_a_head_from_zero_has_no_direction_and_is_refused():
    with pytest.raises(ConfigError, match="new_head=zero"):
        build(*small("baselinepp", "glyphs"), "algo.new_head=zero")
