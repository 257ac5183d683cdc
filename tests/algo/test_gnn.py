"""Graph networks: the order of the support set, the names of classes and other queries have no part in a prediction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from build import build, small

from metabench.algo.gnn import Edges
from metabench.tasks import Examples


def model():
    setup = build(*small("gnn", "glyphs"), dtype=torch.float64)
    setup.algo.eval()
    return setup


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_the_order_of_the_support_set_changes_nothing_and_queries_do_not_meet():
    setup = model()
    (x, y), query = setup.tasks("test")[:2]
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = setup.algo.solve(Examples(x, y), query.x)
        same(setup.algo.solve(Examples(x[:, order], y[:, order]), query.x), found)
        same(setup.algo.solve(Examples(x, y), query.x[:, :1]), found[:, :1])


def test_edges_are_symmetric_scores_over_the_other_nodes():
    torch.manual_seed(0)
    edges, nodes = Edges([5, 7, 6]).double(), torch.randn(2, 3, 4, 5).double()
    found = edges(nodes)
    same(found.sum(-1), torch.ones(2, 3, 4).double())
    assert not found.diagonal(dim1=-2, dim2=-1).any()
    ratio = found / found.mT.clamp_min(1e-300)  # softmax rows of symmetric scores: A_ij / A_ji has rank one
    same(ratio[..., 0, 1] * ratio[..., 1, 2] * ratio[..., 2, 0], torch.ones(2, 3).double())


def test_a_prediction_follows_the_equations_node_by_node():
    setup = model()
    algo, (x, y), query = setup.algo, *setup.tasks("test")[:2]
    with torch.no_grad():
        found, ways = algo.solve(Examples(x, y), query.x), algo.spec.eval.outputs
        z, z_query = algo.backbone(x), algo.backbone(query.x)
        for m in range(2):
            nodes = [torch.cat([z_query[0, m], torch.full((ways,), 1 / ways).double()])]
            nodes += [torch.cat([a, F.one_hot(b, ways).double()]) for a, b in zip(z[0], y[0], strict=True)]
            for i in range(len(algo.maps) + 1):
                edges, new = algo.edges[i], []
                for a in nodes:
                    scores = torch.stack([score(edges, (a - b).abs()) for b in nodes if b is not a]).softmax(0)
                    mean = sum(s * b for s, b in zip(scores, [b for b in nodes if b is not a], strict=True))
                    both = torch.cat([a, mean])
                    if i < len(algo.maps):
                        new.append(torch.cat([a, F.leaky_relu(algo.norms[i](algo.maps[i](both)))]))
                    else:
                        new.append(algo.last(both))
                nodes = new
            same(found[0, m], nodes[0])


def score(edges: Edges, pair: torch.Tensor) -> torch.Tensor:
    for map_, norm in zip(edges.maps, edges.norms, strict=True):
        pair = F.leaky_relu(norm(map_(pair)))
    return edges.score(pair)[0]
