"""Baseline: at test, torch's own SGD on a new head and fixed features."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from build import build, small
from references import each

from metabench.errors import ConfigError
from metabench.tasks import Examples


@pytest.mark.parametrize(("batch", "start"), [(4, "drawn"), (4, "zero"), (3, "drawn"), (100, "zero")])
def test_the_head_is_fitted_as_by_torchs_sgd(batch, start):
    own = (f"algo.batch={batch}", f"algo.new_head={start}", "algo.inner_lr=0.3")
    setup = build(*small("baseline", "glyphs"), *own, dtype=torch.float64)
    setup.train(2)
    setup.algo.eval()
    tasks = setup.tasks("test")
    drawn = setup.algo.drawn_head(tasks.support, torch.float64)
    with torch.no_grad():
        found = torch.stack(setup.algo.outputs(tasks.support, tasks.query.x))
        features = setup.algo.backbone(tasks.support.x), setup.algo.backbone(tasks.query.x)
    assert len(found) == 1 + 20 * -(-8 // batch)
    for task, (_, y, _, _) in enumerate(each(tasks)):
        z, query = (part[task] for part in features)
        head = torch.nn.Linear(z.shape[1], 4).double()
        head.load_state_dict({name: w[task] if start == "drawn" else 0 * w[task] for name, w in drawn.items()})
        sgd = torch.optim.SGD(head.parameters(), lr=0.3, momentum=0.9, dampening=0.9, weight_decay=0.001)
        torch.testing.assert_close(head(query), found[0, task])
        step = 0
        for order in setup.algo.orders:
            for part in order.split(batch):
                sgd.zero_grad()
                F.cross_entropy(head(z[part]), y[part]).backward()
                sgd.step()
                step += 1
                torch.testing.assert_close(found[step, task], head(query).detach(), rtol=1e-9, atol=1e-12)


def test_the_head_of_a_task_is_drawn_from_its_support_set():
    """Uniformly, within what torch draws a linear layer from; another for each, whatever the order of examples."""
    setup = build(*small("baseline", "glyphs"), dtype=torch.float64)
    support = setup.source.sample("test", 0, 200).support
    weight, bias = setup.algo.drawn_head(support, torch.float64).values()
    bound = torch.nn.Linear(weight.shape[2], 4).weight.shape[1] ** -0.5
    for part in (weight, bias):
        assert 0.98 * bound < part.abs().max() <= bound
        torch.testing.assert_close(part.mean().item(), 0.0, atol=0.05 * bound, rtol=0)
        torch.testing.assert_close(part.var().item(), bound**2 / 3, atol=0, rtol=0.1)
    assert len(weight.flatten(1).unique(dim=0)) == 200
    turned = Examples(*(t.flip(1) for t in support))
    assert torch.equal(setup.algo.drawn_head(turned, torch.float64)["weight"], weight)
    relabelled = setup.algo.drawn_head(Examples(support.x, 3 - support.y), torch.float64)["weight"]
    assert torch.equal(relabelled, weight.flip(1))


def test_training_needs_no_queries():
    """A batch is then a drawing of each of its classes, as many as the support set has."""
    setup = build(*small("baseline", "glyphs"), "data.train.shots=1", "data.train.queries=0", dtype=torch.float64)
    tasks = setup.tasks()
    loss, _ = setup.algo(tasks)
    (x, y), _ = tasks[:2]
    logits = setup.algo.classifier(setup.algo.backbone(x))
    expected = F.cross_entropy(logits.flatten(0, 1), tasks.truth["classes"].gather(1, y).flatten())
    torch.testing.assert_close(loss, expected)
    assert setup.train(2)[-1].isfinite().all()


def test_every_pass_has_all_of_the_support_set_and_no_example_is_the_last_more_often_than_others():
    """With 5 drawings in mini-batches of 4, one a pass is alone in its mini-batch and weighs four times as much."""
    algo = build("algo=baseline", "data=glyphs").algo
    assert all(order.sort().values.equal(torch.arange(5)) for order in algo.orders)
    assert algo.orders.shape == (100, 5)
    assert algo.orders[:, -1].bincount(minlength=5).min() >= 10


def test_steps_are_passes_through_the_support_set():
    """100 epochs: 2 mini-batches of 5 drawings, 7 of 25."""
    assert build("algo=baseline", "data=glyphs").algo.eval_inner_steps == 200
    assert build("algo=baseline", "data=glyphs", "data.shots=5").algo.eval_inner_steps == 700


def test_a_checkpoint_serves_any_number_of_ways_and_the_other_baselines():
    setup = build(*small("baseline", "glyphs"))
    setup.train(2)
    learned = setup.algo.state_dict()
    for algo in ("baseline", "pretrain", "pretrainnn"):
        other = build(*small(algo, "glyphs"), "data.ways=7")
        other.algo.load_state_dict(learned)
        for name, value in other.algo.state_dict().items():
            if "head" not in name:
                assert torch.equal(value, learned[name]), name
        assert not other.algo.network.head.weight.any()
        assert other.algo.network.head.weight.shape[0] == 7


def test_another_network_is_still_refused():
    learned = build(*small("baseline", "glyphs")).algo.state_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        build(*small("baseline", "glyphs"), "backbone.filters=5").algo.load_state_dict(learned)


def test_regression_is_refused():
    with pytest.raises(ConfigError, match="classification method"):
        build("algo=baseline", "data=sinusoid")
