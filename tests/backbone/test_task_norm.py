"""TaskNorm and instance normalisation against the paper's equations, one task and one example after another."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from build import ALGOS, build, class_of, small
from torch import Tensor
from torch.func import functional_call

from metabench.backbone.norm import make_norm
from metabench.backbone.task_norm import TaskNorm, support_first, task_norms
from metabench.errors import ConfigError

T, N, SUPPORT, C = 3, 7, 4, 5


def by_equations(x: Tensor, gamma: Tensor, beta: Tensor, a: Tensor, b: Tensor, layer: bool) -> Tensor:
    """The paper's pooled moments for one task, `x [N, C, H, W]`, whose first examples are the support set."""
    context = x[:SUPPORT]
    alpha = 1 / (1 + torch.exp(-(a * SUPPORT + b)))
    found = torch.empty_like(x)
    for n, example in enumerate(x):
        for c, channel in enumerate(example):
            ours = example if layer else channel
            mu_c, var_c = context[:, c].mean(), context[:, c].var(correction=0)
            mu_a, var_a = ours.mean(), ours.var(correction=0)
            mu = alpha * mu_c + (1 - alpha) * mu_a
            var = alpha * (var_c + (mu_c - mu) ** 2) + (1 - alpha) * (var_a + (mu_a - mu) ** 2)
            found[n, c] = gamma[c] * (channel - mu) / (var + 1e-3).sqrt() + beta[c]
    return found


@pytest.mark.parametrize("layer", [False, True], ids=["I", "L"])
@pytest.mark.parametrize("own", [True, False], ids=["own weights", "shared weights"])
def test_it_is_that_of_the_paper(layer, own):
    torch.manual_seed(0)
    norm = TaskNorm(C, layer=layer, scale=True, eps=1e-3).double()
    x = 1 + 2 * torch.randn(N, T, C, 4, 3).double()
    weights = {k: torch.randn(*((T,) if own else ()), *p.shape).double() for k, p in norm.named_parameters()}
    with support_first(norm, SUPPORT):
        found = functional_call(norm, weights, (x,))
    for t in range(T):
        gamma, beta, a, b = ((w[t] if own else w) for w in (weights[k] for k in ("weight", "bias", "a", "b")))
        torch.testing.assert_close(found[:, t], by_equations(x[:, t], gamma, beta, a, b, layer))


def test_its_ends_are_batch_and_instance_normalisation():
    """α = 1 is batch norm with the support set's statistics, α = 0 instance norm; a is a matter of its size."""
    norm = TaskNorm(C, layer=False, scale=True, eps=1e-3).double()
    x = torch.randn(N, 1, C, 4, 3).double()
    norm.b.data.fill_(1000)
    torch.testing.assert_close(norm(x)[:, 0], F.batch_norm(x[:, 0], None, None, training=True, eps=1e-3))
    norm.b.data.fill_(-1000)
    torch.testing.assert_close(norm(x)[:, 0], F.instance_norm(x[:, 0], eps=1e-3))
    norm.a.data.fill_(1000)
    norm.b.data.fill_(-1000 * (SUPPORT + 0.5))
    with support_first(norm, SUPPORT):
        torch.testing.assert_close(norm(x)[:, 0], F.instance_norm(x[:, 0], eps=1e-3))


def test_instance_normalisation_is_torchs():
    norm = make_norm("instance", C, scale=True, eps=1e-3, statistics="batch").double()
    x = torch.randn(N, T, C, 4, 3).double()
    torch.testing.assert_close(norm(x).flatten(0, 1), F.instance_norm(x.flatten(0, 1), eps=1e-3))


@pytest.mark.parametrize("kind", ["tasknorm", "tasknorm_l"])
@pytest.mark.parametrize("algo", ["maml", "fomaml", "protonet"])
def test_queries_do_not_see_each_other_and_all_parameters_learn(algo, kind):
    setup = build(*small(algo, "glyphs"), f"backbone.norm={kind}", "backbone.halvings=2", dtype=torch.float64)
    assert setup.algo.modes == ("inductive",)
    setup.train(1)
    norms = task_norms(setup.algo)
    assert len(norms) == 4
    assert all(norm.a.grad.abs().item() > 0 for norm in norms)
    setup.algo.eval()
    support, query = setup.tasks("test")[:2]
    together = setup.algo.solve(support, query.x)
    alone = torch.cat([setup.algo.solve(support, x) for x in query.x.split(1, dim=1)], dim=1)
    torch.testing.assert_close(alone, together)
    torch.testing.assert_close(setup.algo.outputs(support, query.x)[-1], together)
    assert all(norm.context is None for norm in norms)


def test_methods_that_embed_queries_alone_are_refused_and_the_others_named():
    able = {"maml", "fomaml", "protonet"}
    assert {algo for algo in ALGOS if class_of(algo).gives_support} == able
    named = r"backbone\.norm=tasknorm: needs (?=.*maml)(?=.*fomaml)(?=.*protonet).* beside their support set, unlike"
    for algo in ("mamlpp", "relationnet", "reptile"):
        with pytest.raises(ConfigError, match=named):
            build(*small(algo, "glyphs"), "backbone.norm=tasknorm")
