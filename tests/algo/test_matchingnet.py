"""Matching networks: attention over the support set."""

from __future__ import annotations

import math

import pytest
import torch
from build import build, small
from references import on_points
from torch import Tensor, nn

from metabench.algo.matchingnet import FullContext, MatchingNet
from metabench.tasks import Examples

# At right angles to each other, and class 1 twice.
SUPPORT = Examples(torch.tensor([[[2, 0, 0], [0, 3, 0], [0, 0, 1]]]).double(), torch.tensor([[0, 1, 1]]))
FCE = pytest.mark.parametrize("fce", ["false", "true"])


def test_probabilities_are_sums_of_softmaxed_cosines():
    algo = on_points(MatchingNet, 2, 3, scale=2.0, fce=False, read_steps=1)
    query = torch.tensor([[[5, 0, 0], [0, 1, 1], [1, 1, 1]]]).double()
    e, f = math.exp(2), math.exp(2 / math.sqrt(2))
    expected = [[e / (e + 2), 2 / (e + 2)], [1 / (1 + 2 * f), 2 * f / (1 + 2 * f)], [1 / 3, 2 / 3]]
    torch.testing.assert_close(algo.solve(SUPPORT, query).exp(), torch.tensor([expected]).double())


@FCE
def test_probabilities_sum_to_one(fce):
    setup = build(*small("matchingnet", "glyphs"), f"algo.fce={fce}", dtype=torch.float64)
    tasks = setup.tasks()
    logits = setup.algo.solve(tasks.support, tasks.query.x)
    torch.testing.assert_close(logits.logsumexp(-1), torch.zeros(logits.shape[:2]).double())


def test_a_sharp_attention_is_the_nearest_neighbour():
    algo = on_points(MatchingNet, 2, 3, scale=1e4, fce=False, read_steps=1)
    query = torch.tensor([[[5, 4, 0], [1, 2, 1], [0, 1, 1.01]]], dtype=torch.float64, requires_grad=True)
    logits = algo.solve(SUPPORT, query)
    torch.testing.assert_close(logits.exp(), torch.tensor([[[1, 0], [0, 1], [0, 1]]]).double())
    logits.sum().backward()
    assert query.grad.isfinite().all()


def test_full_context_is_that_of_the_paper():
    """Appendix A.1 and A.2 by torch's own cells, one support set and one query after another."""
    torch.manual_seed(0)
    context, size = FullContext(5, read_steps=3).double(), 5
    support, queries = torch.randn(2, 7, size).double(), torch.randn(2, 4, size).double()
    both = context.support_lstm
    there, back = nn.LSTM(size, size).double(), nn.LSTM(size, size).double()
    there.load_state_dict({name: p for name, p in both.state_dict().items() if "reverse" not in name})
    back.load_state_dict({n.removesuffix("_reverse"): p for n, p in both.state_dict().items() if "reverse" in n})

    def embedded(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        g = support + there(support)[0] + back(support.flip(0))[0].flip(0)
        h, r, c = query, torch.zeros(size).double(), torch.zeros(2 * size).double()
        for _ in range(3):
            hidden, c = context.query_cell(query, (torch.cat([h, r]), c))
            h = hidden[:size] + query
            attention = torch.stack([h @ row for row in g]).softmax(0)
            r = sum(a * row for a, row in zip(attention, g, strict=True))
        return g, h

    g, f = context(support, queries)
    assert (g.shape, f.shape) == (support.shape, queries.shape)
    for task in range(2):
        for query in range(4):
            expected_g, expected_f = embedded(support[task], queries[task, query])
            torch.testing.assert_close(g[task], expected_g)
            torch.testing.assert_close(f[task, query], expected_f)


@FCE
def test_only_full_context_sees_the_order_of_the_support_set(fce):
    setup = build(*small("matchingnet", "glyphs"), f"algo.fce={fce}", dtype=torch.float64)
    (x, y), query = setup.tasks()[:2]
    found = setup.algo.solve(Examples(x.flip(1), y.flip(1)), query.x)
    assert torch.allclose(found, setup.algo.solve(Examples(x, y), query.x), rtol=1e-10) == (fce == "false")


@FCE
def test_queries_do_not_see_each_other(fce):
    setup = build(*small("matchingnet", "glyphs"), f"algo.fce={fce}", dtype=torch.float64)
    setup.train(1)
    setup.algo.eval()
    support, query = setup.tasks("test")[:2]
    together = setup.algo.solve(support, query.x)
    backwards = setup.algo.solve(support, query.x.flip(1)).flip(1)
    alone = torch.cat([setup.algo.solve(support, x) for x in query.x.split(1, dim=1)], dim=1)
    torch.testing.assert_close(backwards, together)
    torch.testing.assert_close(alone, together)


def test_a_rectified_cosine_counts_opposites_like_right_angles():
    algo = on_points(MatchingNet, 2, 3, scale=2.0, fce=False, read_steps=1, rectify=True)
    query = torch.tensor([[[5, -3, 0]]]).double()
    e = math.exp(2 * 5 / math.sqrt(34))
    torch.testing.assert_close(algo.solve(SUPPORT, query).exp(), torch.tensor([[[e / (e + 2), 2 / (e + 2)]]]).double())


def test_reads_may_be_as_many_as_support_examples():
    torch.manual_seed(0)
    free, seven = FullContext(5, "all"), FullContext(5, 7)
    seven.load_state_dict(free.state_dict())
    support, queries = torch.randn(2, 7, 5), torch.randn(2, 4, 5)
    assert torch.equal(free(support, queries)[1], seven(support, queries)[1])
