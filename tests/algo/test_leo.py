"""LEO: a walk in the latent space that the plain formulas give, one task after another."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from build import build, small
from references import LOSS, each
from torch.distributions import Normal, kl_divergence

from metabench.algo.leo import _std
from metabench.tasks import Examples, Tasks

both = pytest.mark.parametrize("data", ["sinusoid", "glyphs"])


def double(data: str, *overrides: str):
    return build(*small("leo", data, *overrides), dtype=torch.float64)


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


@both
def test_the_walk_is_gradient_descent_on_latents_and_then_on_weights(data):
    setup = double(data, "algo.latent_steps=2", "algo.finetune_steps=2", "algo.latent_lr=0.01", "algo.inner_clip=null")
    model = setup.algo.eval()
    tasks = setup.tasks("test")
    loss = LOSS[setup.source.spec.objective]
    found = torch.stack(model.outputs(tasks.support, tasks.query.x))
    for t, (x, y, query_x, _) in enumerate(each(tasks)):
        x, query_x = (model.embed(part.unsqueeze(0)) for part in (x, query_x))

        def predict(w, x):
            if data == "glyphs":
                return (x @ w.mT)[0]
            parts = dict(model.network.named_parameters())
            names, sizes = list(parts), [p.numel() for p in parts.values()]
            split = dict(zip(names, w[0, 0].split(sizes), strict=True))
            one = {k: v.view(parts[k].shape) for k, v in split.items()}
            return torch.func.functional_call(model.network, one, (x,))[0]

        z = model.encode(x, y.unsqueeze(0))[0].detach().requires_grad_()
        for step in range(3):
            w = model.decode(z, None)
            same(found[step, t], predict(w, query_x))
            if step < 2:
                (g,) = torch.autograd.grad(loss(predict(w, x), y), z)
                z = (z - 0.01 * g).detach().requires_grad_()
        w = w.detach().requires_grad_()
        for step in (3, 4):
            (g,) = torch.autograd.grad(loss(predict(w, x), y), w)
            w = (w - 0.001 * g).detach().requires_grad_()
            same(found[step, t], predict(w, query_x))


def test_latents_are_the_mean_over_all_pairs():
    setup = double("glyphs")
    model = setup.algo.eval()
    tasks = setup.tasks("test")
    z = model.embed(tasks.support.x)
    mean, std = model.encode(z, tasks.support.y)
    for t, y in enumerate(tasks.support.y):
        code = model.encoder(z[t])
        for n in range(4):
            pairs = [torch.cat([a, b]) for a in code[y == n] for b in code]
            related = torch.stack([model.relation(pair) for pair in pairs]).mean(0)
            same(mean[t, n], related[: mean.shape[-1]])
            same(std[t, n], _std(related[mean.shape[-1] :], offset=0.0))


@both
def test_the_loss_has_the_four_penalties(data):
    weights = {"kl": 0.3, "encoder_penalty": 0.2, "weight_penalty": 0.01, "orthogonality": 0.5}
    none = double(data, *(f"algo.{name}=0.0" for name in weights))
    tasks = none.tasks()
    plain = none.algo(tasks)[0]
    model = none.algo
    x = model.embed(tasks.support.x)
    mean, std = model.encode(x, tasks.support.y)
    rows = model.decoder.weight.mT
    correlation = torch.stack([F.cosine_similarity(row.unsqueeze(0), rows) for row in rows])
    parts = [model.encoder, model.relation, model.decoder]
    expected = {
        "kl": kl_divergence(Normal(mean, std), Normal(torch.zeros_like(mean), torch.ones_like(std))).mean(),
        "weight_penalty": 0.5 * sum(p.square().sum() for part in parts for p in part.parameters()),
        "orthogonality": (correlation - torch.eye(len(rows))).square().mean(),
    }
    for name, value in expected.items():
        one = double(data, *(f"algo.{k}={weights[k] if k == name else 0.0}" for k in weights))
        same(one.algo(tasks)[0] - plain, weights[name] * value)
    one = double(data, *(f"algo.{k}={weights[k] if k == 'encoder_penalty' else 0.0}" for k in weights))
    assert one.algo(tasks)[0] > plain


def test_no_step_is_larger_than_the_clip_allows():
    setup = double("sinusoid", "algo.inner_clip=0.01", "algo.latent_lr=0.5")
    model = setup.algo.eval()
    first, *_, last = model.trajectory(setup.tasks("test").support)
    steps = (last.z - first.z).abs()
    assert 0 < steps.max() <= 5 * 0.5 * 0.01 + 1e-12


def test_a_standard_deviation_is_never_zero():
    u = torch.tensor([-5.0, 0.0, 1.0])
    torch.testing.assert_close(_std(u, offset=0.0), torch.tensor([1e-10, 1e-10, torch.e - 1]))
    torch.testing.assert_close(_std(u, offset=0.3)[1], torch.tensor(0.3))


@both
def test_the_order_of_the_support_set_changes_nothing(data):
    setup = double(data)
    model = setup.algo.eval()
    (x, y), query = setup.tasks("test")[:2]
    found = model.outputs(Examples(x.flip(1), y.flip(1)), query.x)
    for a, b in zip(found, model.outputs(Examples(x, y), query.x), strict=True):
        same(a, b)


@both
def test_training_draws_and_evaluation_does_not(data):
    setup = double(data)
    tasks = setup.tasks()
    other = Tasks(*tasks[:2], tasks.truth, tasks.keys + 1)
    assert setup.algo(tasks)[0] != setup.algo(other)[0]
    setup.algo.eval()
    assert torch.equal(setup.algo.evaluate(tasks)["loss"], setup.algo.evaluate(other)["loss"])
    assert len(setup.algo.draws(tasks.support, tasks.query.x, 3)) == 3


@pytest.mark.slow
@both
def test_steps_in_the_latent_space_lower_the_loss_after_training(data):
    setup = build(*small("leo", data, "algo.latent=16", "train.tasks=8", "optim.lr=0.003"))
    setup.train(60)
    setup.algo.eval()
    loss = setup.algo.evaluate(setup.tasks("validation", count=60))["loss"].mean(0)
    assert loss[5] < loss[0]
