"""DAGAN: three players, each with the gradient of its own loss; prototypes with what is generated in them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from build import build, small

from metabench.algo.dagan import AUGMENT, Pairs
from metabench.algo.embedder import Embedder
from metabench.algo.protonet import ProtoNet
from metabench.rng import normal
from metabench.tasks import Examples


def double(*overrides: str):
    return build(*small("dagan", "glyphs", "algo.latent=3", *overrides), dtype=torch.float64)


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def part_of(model: torch.nn.Module, name: str) -> dict[str, torch.Tensor]:
    return dict(getattr(model, name).named_parameters(prefix=name))


def test_each_player_s_gradient_is_that_of_its_own_loss_alone():
    """The three losses, one after the other, by plain autograd for its own player's parameters."""
    setup = double()
    model, tasks = setup.algo, setup.tasks()
    model(tasks)[0].backward()
    support, query, keys = tasks.support, tasks.query, tasks.keys
    real = Pairs(model.first(support), model.first(query))
    made = model.generator(real.x, normal(keys, 1, 4, 3).double())
    pair, fake = torch.cat(real, dim=2).requires_grad_(), torch.cat([real.x, made], dim=2)
    players = {name: part_of(model, name) for name in ("generator", "discriminator", "backbone")}
    said, believed = model.discriminator(pair), model.discriminator(fake)
    slopes = torch.stack([
        torch.autograd.grad(said[t, n], pair, create_graph=True)[0][t, n] for t in range(3) for n in range(4)
    ])  # fmt: skip
    truth, lie = torch.ones_like(said), torch.zeros_like(said)
    loss = F.binary_cross_entropy_with_logits
    losses = {
        "generator": loss(believed, truth),
        "discriminator": loss(said, truth) + loss(believed, lie) + 5 * slopes.square().sum() / 12,
    }
    noise = normal(keys, AUGMENT, support.y.shape[1], model.samples, 3)
    with torch.no_grad():
        augmented = model.augment(support, noise)
    losses["backbone"] = F.cross_entropy(Embedder.solve(model, augmented, query.x).flatten(0, 1), query.y.flatten())
    players["backbone"]["weight"] = model.weight
    assert sum(map(len, players.values())) == len(dict(model.named_parameters()))
    for name, own in players.items():
        found = torch.autograd.grad(losses[name], list(own.values()), retain_graph=True)
        for parameter, expected in zip(own.values(), found, strict=True):
            same(parameter.grad, expected)


def test_a_prototype_is_the_weighted_mean_of_drawings_and_of_what_is_made_of_them():
    setup = double("algo.samples=3")
    model = setup.algo.eval()
    model.weight.data.fill_(0.7)
    (x, y), query = setup.tasks("test")[:2]
    w = torch.tensor(0.7).double().sigmoid()
    with torch.no_grad():
        found = model.solve(Examples(x, y), query.x)
        for t in range(3):
            prototypes = []
            for label in range(4):
                own = x[t, y[t] == label]
                made = [model.generator(one[None, None], z[None, None].double())[0] for one in own for z in model.noise]
                total = model.backbone(own[None])[0].sum(0) + w / 3 * model.backbone(torch.cat(made)[None])[0].sum(0)
                prototypes.append(total / (len(own) * (1 + w)))
            distance = torch.cdist(model.backbone(query.x[t : t + 1])[0], torch.stack(prototypes)).square()
            same(found[t], -distance)


def test_without_weight_for_what_is_made_it_is_its_base_method():
    setup, base = double(), build(*small("protonet", "glyphs"), dtype=torch.float64)
    setup.algo.backbone.load_state_dict(base.algo.backbone.state_dict())
    assert isinstance(setup.algo, ProtoNet)
    tasks = setup.tasks("test")
    setup.algo.weight.data.fill_(-80.0)
    for model in (setup.algo, base.algo):
        model.eval()
    with torch.no_grad():
        same(setup.algo.solve(*part(tasks)), base.algo.solve(*part(tasks)))
        setup.algo.weight.data.fill_(0.0)
        assert not torch.isclose(setup.algo.solve(*part(tasks)), base.algo.solve(*part(tasks))).any()


def part(tasks):
    return tasks.support, tasks.query.x


def test_what_is_made_of_a_drawing_depends_on_it_alone_and_has_its_label():
    setup = double()
    model, (x, y) = setup.algo.eval(), setup.tasks("test").support
    other = x.clone()
    other[:, 5] = 1 - other[:, 5]
    augmented, changed = (model.augment(Examples(part, y), model.noise) for part in (x, other))
    assert augmented.y.tolist() == torch.cat([y, y.repeat_interleave(3, dim=1)], dim=1).tolist()
    differs = (augmented.x != changed.x).flatten(2).any(-1).all(0).nonzero().flatten().tolist()
    assert differs == [5, *range(8 + 15, 8 + 18)]
    made = augmented.x[:, 8:].unflatten(1, (8, 3))
    assert not torch.isclose(made[:, :, 0], made[:, :, 1]).all()  # other noise, another drawing
    assert ((made > 0) & (made < 1)).all()


def test_pairs_are_of_one_class():
    setup = double("data.train.queries=2")
    support, query = setup.tasks()[:2]
    for found, (x, y) in ((setup.algo.first(support), support), (setup.algo.first(query), query)):
        for t in range(3):
            expected = torch.stack([x[t, (y[t] == label).nonzero()[0, 0]] for label in range(4)])
            same(found[t], expected)


@pytest.mark.parametrize("size", [17, 28])
def test_images_of_any_size_are_drawn_and_judged(size):
    setup = double(f"data.size={size}", "backbone.pool=stride")
    made = setup.algo.generate(setup.tasks("test").support, 2)
    assert made.shape == (3, 4, 2, 1, size, size)


@pytest.mark.slow
def test_the_discriminator_learns_what_is_made():
    """It alone is trained, against a generator that stands still: its loss falls well below that of not knowing."""
    setup = build(*small("dagan", "glyphs", "algo.penalty=0.1"))
    model = setup.algo
    optimizer = torch.optim.Adam(model.discriminator.parameters(), lr=0.01)
    for i in range(40):
        optimizer.zero_grad()
        loss, metrics = model(setup.tasks(index=8 * i, count=8))
        loss.backward()
        optimizer.step()
    assert metrics["discriminator"].mean() < 0.5 < 2 * torch.tensor(2.0).log()


def test_images_are_made_of_the_first_of_each_class_however_many_it_has():
    model = double().algo
    (x, _), _ = double().tasks("test")[:2]
    x = x[:, :4]
    first = model.first(
        Examples(torch.cat([x, x + 1, x[:, :1]], dim=1), torch.tensor([[2, 0, 3, 1, 2, 2, 0, 2, 2]] * 3))
    )
    assert torch.equal(first, x[:, [1, 3, 0, 2]])
