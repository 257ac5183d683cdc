"""MT-net: a metric T for each layer, and a mask over its outputs, decide what an inner step moves."""

from __future__ import annotations

import pytest
import torch
from build import Setup, build, small
from references import LinearRegression, Named, assert_is_maml, assert_same, unrolled
from scipy.stats import binom
from torch import Tensor

from metabench.algo.mtnet import MTNet

DATA = pytest.mark.parametrize("data", ["sinusoid", "glyphs"])


def warped(data: str, *options: str, spread: float = 0.3) -> Setup:
    """With metrics and probabilities that are not those of the start."""
    setup = build(*small("mtnet", data), "algo.inner_lr=0.2", *options, dtype=torch.float64)
    torch.manual_seed(1)
    with torch.no_grad():
        for p in (*setup.algo.metric, *setup.algo.logits):
            p.add_(spread * torch.randn_like(p))
    return setup


@DATA
@pytest.mark.parametrize("ones", ["no mask", "all ones"])
def test_with_a_mask_of_ones_and_the_identity_it_is_maml(data, ones):
    options = ("algo.inner_lr=0.2", *(["algo.mask=false"] if ones == "no mask" else []))
    setup = build(*small("mtnet", data), *options, dtype=torch.float64)
    with torch.no_grad():
        for logit in setup.algo.logits:
            logit.fill_(1e3)
    assert_is_maml(setup.algo, setup.tasks(), 0.2)


def test_linear_regression_has_its_closed_form():
    """T W moves by -α T M Tᵀ G, with G the gradient of T W, M = diag σ(ζ) in evaluation."""
    problem = LinearRegression(MTNet, mask=True, temperature=1.0, inner_lr=0.1, inner_steps=1, eval_inner_steps=1)
    algo = problem.algo.eval()
    with torch.no_grad():
        metric = algo.metric[0].add_(0.5 * torch.randn(2, 2).double())
        algo.logits[0].copy_(torch.tensor([1.0, -2.0]))
        state = algo.adapt(problem.tasks.support)
        theta = metric @ problem.theta
        m = metric @ torch.diag(algo.logits[0].sigmoid()) @ metric.mT
        expected = theta - 0.1 * m @ problem.gradient(theta, problem.tasks.support)
    found = metric @ torch.cat([state["head.weight"], state["head.bias"].unsqueeze(-1)], dim=-1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_diagonal_metric_is_a_meta_curvature_of_its_square():
    """Without a mask, T diagonal: the steps of T W are Meta-Curvature's with M_o = T², on any network."""
    ours = build(*small("mtnet", "sinusoid"), "algo.mask=false", "algo.inner_lr=0.1", dtype=torch.float64)
    theirs = build(*small("metacurvature", "sinusoid"), "algo.inner_lr=0.1", dtype=torch.float64)
    torch.manual_seed(1)
    owner = ours.algo.layer
    with torch.no_grad():
        scales = [0.5 + torch.rand(len(t)).double() for t in ours.algo.metric]
        for t, scale in zip(ours.algo.metric, scales, strict=True):
            t.copy_(torch.diag(scale))
        named = dict(ours.algo.network.named_parameters())
        for (name, p), curvature in zip(theirs.algo.network.named_parameters(), theirs.algo.curvature, strict=True):
            scale = scales[owner[name]]
            p.copy_(scale.view(-1, *[1] * (p.dim() - 1)) * named[name])
            curvature.factors[0].copy_(torch.diag(scale**2) if p.dim() > 1 else scale**2)
    tasks = ours.tasks()
    for a, b in zip(*(s.algo.outputs(tasks.support, tasks.query.x) for s in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@DATA
def test_the_meta_gradient_is_that_of_a_loop(data):
    setup = warped(data)
    algo = setup.algo

    def read(weights: Named, *_: object) -> Named:
        return {
            name: torch.einsum("ij,j...->i...", algo.metric[algo.layer[name]], w) if name in algo.layer else w
            for name, w in weights.items()
        }

    def step(fast: Named, gradient: Named, number: int, x: Tensor, y: Tensor) -> Named:
        masks = [mask[0] for mask in algo.masks(x[None])]
        return {
            name: w - 0.2 * torch.einsum("i,i...->i...", masks[algo.layer[name]], gradient[name])
            for name, w in fast.items()
        }

    expected = unrolled(algo, setup.tasks(), step, read)
    algo(setup.tasks())[0].backward()
    assert_same(setup.gradients(), expected)


def test_masks_are_sampled_with_their_probability_and_are_a_task_s_own():
    setup = warped("sinusoid", spread=1.0)
    algo, count = setup.algo.train(), 2000
    tasks = setup.tasks(count=count)
    masks = algo.masks(tasks.support.x)
    assert all(((m == 0) | (m == 1)).all() for m in masks)
    for mask, logit in zip(masks, algo.logits, strict=True):
        low, high = binom.interval(1 - 1e-6, count, logit.sigmoid().detach().numpy())
        drawn = mask.detach().sum(0).numpy()
        assert ((low <= drawn) & (drawn <= high)).all()
    again = algo.masks(tasks.support.x[7:8])
    assert all(torch.equal(a[0], m[7]) for a, m in zip(again, masks, strict=True))
    assert len({tuple(row.tolist()) for row in torch.cat(masks, dim=1).detach()[:50]}) > 40


def test_outside_training_a_mask_is_its_probability():
    algo = warped("sinusoid").algo.eval()
    for mask, logit in zip(algo.masks(torch.zeros(2, 5, 1).double()), algo.logits, strict=True):
        torch.testing.assert_close(mask, logit.sigmoid().expand(2, -1))


def test_the_gradient_of_a_mask_is_that_of_the_relaxed_sample():
    """dm/dζ = σ'((ζ + g) / τ) / τ, and g is what a threshold of ζ shows."""
    setup = warped("sinusoid", "algo.temperature=0.5")
    algo, x = setup.algo.train(), setup.tasks().support.x[:1]
    masks = algo.masks(x)
    found = torch.autograd.grad(sum(m.sum() for m in masks), list(algo.logits))
    for layer, (logit, slope) in enumerate(zip(algo.logits, found, strict=True)):
        s = (1 + (1 - 2 * slope).clamp(0, 1).sqrt()) / 2  # s (1 - s) / τ = slope
        g = 0.5 * s.logit()
        with torch.no_grad():
            noise = torch.where(masks[layer][0] > 0, g, -g) - logit
            before = logit.clone()
            logit.copy_(-noise + 1e-3)
            assert (algo.masks(x)[layer] == 1).all()
            logit.copy_(-noise - 1e-3)
            assert (algo.masks(x)[layer] == 0).all()
            logit.copy_(before)


@DATA
def test_a_mask_of_zeros_learns_nothing_of_a_task(data):
    setup = warped(data)
    with torch.no_grad():
        for logit in setup.algo.logits:
            logit.fill_(-1e3)
        tasks = setup.tasks()
        first, *_, last = setup.algo.outputs(tasks.support, tasks.query.x)
    assert torch.equal(first, last)
