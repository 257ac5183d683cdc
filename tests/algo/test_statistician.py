"""The neural statistician: a bound made of torch's own distributions, and classes told apart by a divergence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from build import build, small
from scipy import stats
from torch.distributions import Bernoulli, kl_divergence
from torch.distributions import Normal as TorchNormal

from metabench.algo import statistician
from metabench.algo.gaussian import Normal
from metabench.algo.statistician import divergences
from metabench.backbone.image_decoder import ImageDecoder
from metabench.errors import ConfigError
from metabench.objective import one_hot
from metabench.tasks import Examples


def double(*overrides: str):
    return build(*small("statistician", "glyphs", "algo.context=7", *overrides), dtype=torch.float64)


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_loss_is_minus_the_bound_a_drawing(layers, monkeypatch):
    """Set by set and drawing by drawing, with the values of c and z that the task's key gives."""
    setup = double(f"algo.layers={layers}", "data.queries=2", "data.train.queries=2", "algo.half_life=0")
    model, tasks, drawn = setup.algo, setup.tasks(), []
    model(tasks)  # moves the running statistics
    model.eval()
    plain = statistician.draw
    monkeypatch.setattr(statistician, "draw", lambda *args: drawn.append(plain(*args)) or drawn[-1])
    loss, metrics = model(tasks)
    contexts, *latents = drawn
    (x, y), keys = [torch.cat(parts, dim=1) for parts in zip(*tasks[:2], strict=True)], tasks.keys
    seen = model.part(one_hot(y, 4, x.dtype), keys).squeeze(-1).bool()
    h = model.backbone(x)
    for t in range(3):
        total = torch.zeros(())
        for label in range(4):
            members = y[t] == label
            e = model.statistic.element(h[t : t + 1, members & seen[t]])
            count = torch.tensor([e.shape[1]], dtype=e.dtype)
            posterior = normal(alone(model.statistic.vector, e.mean((0, 1)), count))
            total = total + kl_divergence(posterior, TorchNormal(0, 1)).sum()
            c = contexts[t, label]
            assert ((c - posterior.mean) / posterior.stddev).abs().max() < 5
            for i in members.nonzero().flatten():
                before = c[:0]  # the layer of z before: none for the first
                for layer in range(layers):
                    z = latents[layer][t, i]
                    q = normal(alone(model.inference[layer], h[t, i], c, before))
                    p = normal(alone(model.latent_decoder[layer], c, before))
                    total, before = total + kl_divergence(q, p).sum(), z
                    assert ((z - q.mean) / q.stddev).abs().max() < 5
                logits = alone(model.decoder, c, *(part[t, i] for part in latents))
                pixels = Bernoulli(logits=logits, validate_args=False)
                total = total - pixels.log_prob(x[t, i]).sum()
        same(metrics["loss"][t], (total / x.shape[1]).detach())
    same(loss.detach(), metrics["loss"].mean())


def test_reconstruction_has_the_greater_weight_at_first():
    """R + K without a warm-up; (1 + α) R + K / (1 + α) with α = 1 at first, and half of it after a half-life."""
    plain, warm = double("algo.half_life=0"), double("algo.half_life=3")
    warm.algo.load_state_dict(plain.algo.state_dict())
    tasks, losses = plain.tasks(), []
    for _ in range(4):
        losses.append(warm.algo(tasks)[0])
    assert warm.algo.meta_steps == 4
    both, first = plain.algo(tasks)[0], losses[0]  # R + K, 2 R + K / 2
    reconstruction = (2 * first - both) / 3
    same(losses[3], 1.5 * reconstruction + (both - reconstruction) / 1.5)


def alone(network: torch.nn.Module, *parts: torch.Tensor) -> torch.Tensor:
    return network(torch.cat(parts)[None, None])[0, 0]


def normal(parameters: torch.Tensor) -> TorchNormal:
    mean, log_variance = parameters.chunk(2, dim=-1)
    return TorchNormal(mean, log_variance.exp().sqrt())


def test_the_metric_of_training_moves_no_running_statistics():
    setup = double()
    norm, seen = setup.algo.statistic.vector[0].norm, []
    handle = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    before = norm.running_mean.clone()
    setup.algo(setup.tasks())
    handle.remove()
    queries = setup.tasks().query.y.shape[1]
    assert [len(part) for part in seen] == [4, queries, 4]  # support sets, queries, the bound's sets
    same(norm.running_mean, before.lerp(seen[-1].mean((0, 1)), 0.1))


def test_sample_dropout_keeps_any_number_of_a_set_and_any_of_its_members():
    model, keys = double().algo, double().tasks(count=2000).keys
    labels = torch.tensor([0, 1, 0, 0, 1, 1, 0, 1, 0])  # sets of 5 and of 4
    kept = model.part(one_hot(labels, 2, torch.float64).expand(2000, -1, -1), keys).squeeze(-1)
    assert set(kept.unique().tolist()) == {0, 1}
    for label, size in ((0, 5), (1, 4)):
        part = kept[:, labels == label]
        sizes = part.sum(1)
        share = np.diff(np.log(np.arange(1, size + 2))) / np.log(size + 1)
        assert stats.chisquare([(sizes == n).sum().item() for n in range(1, size + 1)], 2000 * share).pvalue > 1e-3
        torch.testing.assert_close(part.mean(0), (sizes.mean() / size).expand(size), rtol=0, atol=0.04)
    assert torch.equal(model.part(one_hot(labels, 2, torch.float64).expand(1, -1, -1), keys[7:8])[0, :, 0], kept[7])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_divergences_are_torch_s_for_every_pair(dtype, tolerance):
    torch.manual_seed(0)
    q, p = (Normal(torch.randn(2, n, 64, dtype=dtype), 0.1 + torch.rand(2, n, 64, dtype=dtype)) for n in (3, 5))
    found = divergences(q, p)
    each = [TorchNormal(part.mean.unsqueeze(dim), part.std.unsqueeze(dim)) for part, dim in ((q, 1), (p, 2))]
    torch.testing.assert_close(found, kl_divergence(*each).sum(-1), rtol=tolerance, atol=tolerance)


class Exact(torch.nn.Module):
    """The posterior of c ~ N(0, 1) given numbers x ~ N(c, σ²), of which `h` is made."""

    variance = 0.04

    def forward(self, h: torch.Tensor, member: torch.Tensor | None = None) -> Normal:
        member = torch.eye(h.shape[1]).to(h).expand(len(h), -1, -1) if member is None else member
        count = member.sum(1).unsqueeze(-1)
        scale = self.variance + count
        return Normal(member.mT @ h / scale, (self.variance / scale).sqrt().expand(-1, -1, h.shape[-1]))


def test_with_the_exact_posterior_of_a_gaussian_the_class_is_that_of_the_nearest_mean():
    """All posteriors of a class have one variance, so the least divergence is the least distance of their means."""
    setup = double()
    model = setup.algo.eval()
    model.statistic = Exact()
    model.backbone = torch.nn.Identity()
    torch.manual_seed(0)
    centres, labels = torch.randn(200, 4, 2).double(), torch.arange(4).repeat(200, 3)
    x = centres.repeat(1, 3, 1) + 0.2 * torch.randn(200, 12, 2).double()
    support, query = Examples(x[:, :8], labels[:, :8]), Examples(x[:, 8:], labels[:, 8:])  # two shots, one query
    logits = model.solve(support, query.x)
    means = support.x.unflatten(1, (2, 4)).sum(1) / 2.04
    distance = (query.x.unsqueeze(2) / 1.04 - means.unsqueeze(1)).square().sum(-1)
    assert torch.equal(logits.argmax(-1), distance.argmin(-1))
    prior, one, two = TorchNormal(0, 1), 0.04 / 1.04, 0.04 / 2.04
    expected = 0.5 * (2 * two / one - 2 - 2 * torch.tensor(two / one).log() + distance / one)
    torch.testing.assert_close(logits, -expected, rtol=1e-6, atol=1e-6)
    assert 0.8 < model.objective.metric(logits, query.y).mean() < 1
    assert prior.stddev == 1


def test_the_order_of_a_set_does_not_matter_and_other_sets_do_not_either():
    setup = double("data.shots=3")
    model = setup.algo.eval()
    x, y = setup.tasks("test").support
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model.adapt(Examples(x, y))
        for a, b in zip(model.adapt(Examples(x[:, order], y[:, order])), expected, strict=True):
            same(a, b)
        other = torch.where((y == 2)[..., None, None, None], x, 1 - x)
        changed = model.adapt(Examples(other, y))
    for a, b in zip(changed, expected, strict=True):
        same(a[:, 2], b[:, 2])
        assert not torch.isclose(a[:, [0, 1, 3]], b[:, [0, 1, 3]]).any(-1).all()


def test_the_number_of_examples_is_known_to_the_statistic_network():
    setup = double()
    setup.algo.eval()
    h = torch.ones(1, 2, setup.algo.backbone.feature_size).double()
    with torch.no_grad():
        two = setup.algo.statistic(h, torch.ones(1, 2, 1).double())
        one = setup.algo.statistic(h[:, :1])
    assert not torch.isclose(two.mean, one.mean).any()


def test_drawings_of_a_class_depend_on_its_support_set_alone():
    setup = double("data.shots=2")
    model = setup.algo.eval()
    x, y = setup.tasks("test").support
    with torch.no_grad():
        made = model.generate(Examples(x, y), 3)
        other = model.generate(Examples(torch.where((y == 1)[..., None, None, None], x, 1 - x), y), 3)
    assert made.shape == (3, 4, 3, 1, 16, 16)
    assert ((made > 0) & (made < 1)).all()
    same(made[:, 1], other[:, 1])
    assert not torch.isclose(made[:, 0], other[:, 0]).all()
    assert not torch.isclose(made[:, :, 0], made[:, :, 1]).all()


@pytest.mark.slow
def test_training_raises_the_bound_of_held_out_tasks():
    setup = build(*small("statistician", "glyphs", "train.tasks=8", "optim.lr=0.003"))
    tasks = setup.tasks("validation", count=20)
    setup.algo.train()
    before = setup.algo(tasks)[1]["loss"].mean()
    setup.train(60)
    after = setup.algo(tasks)[1]["loss"].mean()
    assert after < 0.9 * before


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 16), (2, 5, 7), (1, 1, 1)])
def test_an_image_decoder_draws_images_of_any_size(shape):
    drawn = ImageDecoder(6, 4, shape)(torch.randn(2, 3, 6))
    assert drawn.shape == (2, 3, *shape)


def test_only_images_are_drawn():
    with pytest.raises(ConfigError, match="should be images"):
        ImageDecoder(6, 4, (5,))
