"""Neural processes: contexts of any size and order, a bound made of two normal distributions, calibrated mixtures."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from build import build, small
from scipy import stats
from torch.distributions import Categorical as Categories
from torch.distributions import MixtureSameFamily, kl_divergence
from torch.distributions import Normal as TorchNormal

from metabench.algo.anp import Attention
from metabench.algo.gaussian import Normal, divergence
from metabench.algo.neural_process import Context, Mean
from metabench.algo.np import average
from metabench.backbone.layers import Linear
from metabench.errors import ConfigError, UserError
from metabench.objective import OBJECTIVES, gaussian_nll
from metabench.plots.fits import coverage, fits
from metabench.plots.theme import predictions
from metabench.tasks import Episode, Examples, Tasks, TaskSpec

PROCESSES = ["cnp", "np", "anp"]
every = pytest.mark.parametrize("algo", PROCESSES)
both = pytest.mark.parametrize("data", ["sinusoid", "glyphs"])


def double(algo: str, data: str, *overrides: str):
    return build(*small(algo, data, *overrides), dtype=torch.float64)


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@every
def test_perceptrons_start_xavier_uniform(algo):
    linears = [m for m in build(*small(algo, "sinusoid")).algo.modules() if isinstance(m, Linear)]
    assert len(linears) >= 4
    for linear in linears:
        assert not linear.bias.any()
        bound = (6 / sum(linear.weight.shape)) ** 0.5
        assert 0.7 * bound < linear.weight.abs().max() <= bound


@every
@both
def test_the_order_of_the_support_set_changes_nothing(algo, data):
    setup = double(algo, data)
    setup.algo.eval()
    (x, y), query = setup.tasks("test")[:2]
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        same(setup.algo.solve(Examples(x[:, order], y[:, order]), query.x), setup.algo.solve(Examples(x, y), query.x))


@every
@pytest.mark.parametrize("size", [0, 1])
def test_an_empty_context_and_one_of_one_point_are_predicted_from(algo, size):
    setup = double(algo, "sinusoid")
    (x, y), query = setup.tasks("test")[:2]
    with torch.no_grad():
        found = setup.algo.eval().solve(Examples(x[:, :size], y[:, :size]), query.x)
        other = setup.algo.solve(Examples(x[:, :size], y[:, :size] + 1), query.x)
    assert found.isfinite().all()
    assert torch.equal(found, other) == (size == 0)


@every
def test_what_is_not_of_the_context_has_no_part_in_it(algo):
    setup = double(algo, "sinusoid", "backbone.hidden=[]")
    (x, y), query = setup.tasks("test")[:2]
    context = setup.algo.context(setup.algo.backbone(x), y)
    with torch.no_grad():
        for size in range(6):
            member = (torch.arange(5) < size).double().view(1, 5, 1).expand(3, -1, -1)
            masked = setup.algo.read(setup.algo.represent(context._replace(member=member)), query.x)
            same(masked, setup.algo.eval().solve(Examples(x[:, :size], y[:, :size]), query.x))


@every
def test_training_contexts_have_every_size_and_are_the_task_s_own(algo):
    setup = double(algo, "sinusoid", "algo.min_context=2")
    tasks = setup.tasks(count=2000)
    drawn = setup.algo.drawn(tasks, 5)
    sizes = drawn.sum(1)
    assert stats.chisquare([(sizes == n).sum().item() for n in (2, 3, 4, 5)]).pvalue > 1e-3
    assert torch.equal(drawn, torch.arange(5) < sizes.unsqueeze(1))
    assert torch.equal(setup.algo.drawn(tasks.tasks(7, 9), 5), drawn[7:9])


def test_the_loss_of_a_cnp_is_the_likelihood_of_all_points():
    setup = double("cnp", "sinusoid", "algo.min_context=null")
    tasks = setup.tasks()
    (x, y), (query_x, query_y) = tasks[:2]
    mean, std = setup.algo.solve(Examples(x, y), torch.cat([x, query_x], dim=1)).chunk(2, dim=-1)
    expected = -TorchNormal(mean, std).log_prob(torch.cat([y, query_y], dim=1)).mean()
    same(setup.algo(tasks)[0], expected)
    assert (std > 0.1).all()


@pytest.mark.parametrize("algo", ["np", "anp"])
def test_the_loss_is_minus_the_bound_a_target(algo):
    """By torch.distributions, with the noise that the task's key gives."""
    setup = double(algo, "sinusoid", "algo.min_context=null")
    tasks, model = setup.tasks(), setup.algo
    x, y = (torch.cat(parts, dim=1) for parts in zip(*tasks[:2], strict=True))
    context, targets = (model.context(model.backbone(a), b) for a, b in (tasks.support, (x, y)))
    prior, posterior = (TorchNormal(*model.latent(part)) for part in (context, targets))
    drawn = []
    given = model.given
    model.given = lambda latent, *rest: drawn.append(latent) or given(latent, *rest)
    loss, metrics = model(tasks)
    (latent,) = drawn
    noise = ((latent - posterior.mean) / posterior.stddev).detach()
    assert noise.abs().max() < 5
    assert noise.std() == pytest.approx(1, abs=0.5)
    mean, std = given(latent, model.path.read(model.path(context), targets.z), targets.z).chunk(2, dim=-1)
    nll = -TorchNormal(mean, std).log_prob(y).mean((1, 2))
    expected = nll + kl_divergence(posterior, prior).sum(1) / y.shape[1]
    same(metrics["loss"], expected.detach())
    same(loss, expected.mean())


def test_divergence_is_that_of_torch():
    torch.manual_seed(0)
    q, p = (Normal(torch.randn(4, 3).double(), torch.rand(4, 3).double() + 0.1) for _ in range(2))
    same(divergence(q, p), kl_divergence(TorchNormal(*q), TorchNormal(*p)).sum(1))
    assert not divergence(q, q).any()


def test_likelihood_is_that_of_torch():
    torch.manual_seed(0)
    mean, std, y = torch.randn(2, 5, 3), torch.rand(2, 5, 3) + 0.1, torch.randn(2, 5, 3)
    expected = -TorchNormal(mean, std).log_prob(y).sum(-1).mean(1)
    torch.testing.assert_close(gaussian_nll(torch.cat([mean, std], dim=-1), y), expected)
    torch.testing.assert_close(
        OBJECTIVES["gaussian"].metric(torch.cat([mean, std], dim=-1), y),
        F.mse_loss(mean, y, reduction="none").mean((1, 2)),
    )


def test_an_average_has_the_moments_of_the_mixture():
    torch.manual_seed(0)
    mean, std = torch.randn(6, 2, 3, 1), torch.rand(6, 2, 3, 1) + 0.1
    found = average(torch.cat([mean, std], dim=-1), probabilities=False)
    mixture = MixtureSameFamily(
        Categories(torch.ones(2, 3, 1, 6)), TorchNormal(mean.movedim(0, -1), std.movedim(0, -1))
    )
    torch.testing.assert_close(found, torch.cat([mixture.mean, mixture.stddev], dim=-1))
    logits = torch.randn(6, 2, 3, 4)
    torch.testing.assert_close(average(logits, probabilities=True).softmax(-1), logits.softmax(-1).mean(0))


@pytest.mark.parametrize("algo", ["np", "anp"])
def test_more_draws_approach_a_limit_and_none_is_the_mean(algo):
    few, many, more = (double(algo, "sinusoid", f"algo.samples={n}") for n in (0, 500, 2000))
    tasks = few.tasks("test")
    with torch.no_grad():
        a, b, c = (setup.algo.eval().solve(tasks.support, tasks.query.x) for setup in (few, many, more))
        z = few.algo.represent(few.algo.context(few.algo.backbone(tasks.support.x), tasks.support.y)).z.mean
        r = few.algo.path.read(few.algo.adapt(tasks.support).kept, few.algo.backbone(tasks.query.x))
        same(few.algo.given(z, r, few.algo.backbone(tasks.query.x)), a)
    torch.testing.assert_close(b, c, rtol=0, atol=0.05)
    assert not torch.allclose(a, c, rtol=0, atol=1e-4)


def test_classes_are_pooled_one_by_one():
    spec = TaskSpec((2,), "cross_entropy", Episode(3, 2, 1), Episode(3, 2, 1))
    path = Mean(spec, 2, [4])
    z, y = torch.randn(1, 5, 2), torch.tensor([[2, 0, 2, 0, 0]])
    found = path(Context(z, F.one_hot(y, 3).float(), torch.ones(1, 5, 1)))
    h = path.encoder(z)[0]
    expected = torch.cat([h[[1, 3, 4]].mean(0), torch.zeros(4), h[[0, 2]].mean(0)])
    torch.testing.assert_close(found[0], expected)


def test_attention_is_torch_s_own():
    torch.manual_seed(0)
    path = Attention(TaskSpec((1,), "mse", Episode(1, 5, 3), Episode(1, 5, 3)), 1, [8, 8], 2)
    z, y, queries = torch.randn(2, 5, 1), torch.randn(2, 5, 1), torch.randn(2, 3, 1)
    with torch.no_grad():
        found = path.read(path(Context(z, y, torch.ones(2, 5, 1))), queries)
        names = ("query", "key", "value")
        reference = torch.nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
        reference.in_proj_weight.copy_(torch.cat([getattr(path, name).weight for name in names]))
        reference.out_proj.weight.copy_(path.out.weight)
        values = path.encoder(torch.cat([z, y], dim=-1))
        expected, _ = reference(path.embed(queries), path.embed(z), values)
    torch.testing.assert_close(found, expected)


def test_labels_permute_with_the_decoder_s_inputs_and_outputs():
    """The decoder reads the classes in the order of their labels: another order is other weights."""
    setup = double("cnp", "glyphs")
    model = setup.algo.eval()
    (x, y), query = setup.tasks("test")[:2]
    order = torch.tensor([1, 2, 0, 3])
    with torch.no_grad():
        expected = model.solve(Examples(x, y), query.x)
        blocks = model.decoder.linears[0].weight[:, : model.path.size].unflatten(1, (4, -1))
        blocks[:, order] = blocks.clone()
        for p in (model.decoder.linears[-1].weight, model.decoder.linears[-1].bias):
            p[order] = p.clone()
        same(model.solve(Examples(x, order[y]), query.x)[..., order], expected)


@pytest.mark.slow
@every
def test_training_lowers_the_loss_of_held_out_tasks(algo):
    setup = build(
        *small(algo, "sinusoid", "algo.encoder=[32,32]", "algo.decoder=[32]", "train.tasks=16", "optim.lr=0.003")
    )
    tasks = setup.tasks("validation", count=200)
    before = setup.algo.eval().evaluate(tasks)
    setup.train(300)
    after = setup.algo.eval().evaluate(tasks)
    assert after["loss"].mean() < before["loss"].mean() - 0.5
    assert after["mse"].mean() < 0.95 * before["mse"].mean()


@every
def test_the_picture_has_the_interval_the_draws_and_the_share_of_targets_in_it(algo):
    setup = build(*small(algo, "sinusoid"))
    figure = fits(setup.algo, setup.source)
    tasks = setup.tasks("validation", count=100)
    mean, std = predictions(setup.algo, tasks, tasks.query.x)[-1].chunk(2, dim=-1)
    share = ((tasks.query.y - mean).abs() <= 1.96 * std).float().mean().item()
    assert coverage(setup.algo, setup.source) == pytest.approx(share)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"95% interval ({share:.0%} of targets)" in labels
    assert ("12 draws" in labels) == (algo != "cnp")
    grid = torch.linspace(-5, 5, 200).view(1, -1, 1).expand(6, -1, -1)
    mean, std = predictions(setup.algo, tasks.tasks(0, 6), grid)[-1].chunk(2, dim=-1)
    (band,) = figure.axes[2].collections
    corners = torch.tensor(band.get_paths()[0].vertices)[:, 1]
    assert corners.max().item() == pytest.approx((mean + 1.96 * std)[2].max().item(), rel=1e-5)
    assert corners.min().item() == pytest.approx((mean - 1.96 * std)[2].min().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data=sinusoid", "algo.min_context=11"), "algo.min_context=11: should be at most data.train.shots, 10"),
        (("data=glyphs", "algo.min_context=1"), "algo.min_context=1: should be null"),
        (("data=glyphs", "data.train.ways=7"), "data.train.ways=7: should be data.ways, 5"),
        (("data=sinusoid", "algo.encoder=[]"), "algo.encoder=.*at least 1 item"),
        (("data=sinusoid", "algo.heads=7"), "algo.heads=7: should divide"),
    ],
)
def test_what_cannot_be_is_said(overrides, message):
    with pytest.raises(ConfigError, match=message):
        build("algo=anp", *overrides)


def test_data_without_keys_gives_no_noise():
    setup = build(*small("np", "sinusoid"))
    tasks = setup.tasks()
    with pytest.raises(UserError, match="keys"):
        setup.algo(Tasks(*tasks[:2], tasks.truth))
