"""The Siamese network: a weighted distance, and a loss in which each kind of pair counts half."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from build import build, small
from references import each

from metabench.tasks import Examples


def probability(algo, a, b):
    """p(same) of two embeddings."""
    h, g = (torch.sigmoid(algo.embedding.weight @ z + algo.embedding.bias) for z in (a, b))
    return torch.sigmoid(algo.alpha @ (h - g).abs() + algo.bias)


def trained():
    setup = build(*small("siamese", "glyphs"), dtype=torch.float64)
    setup.train(3)
    return setup


def test_a_query_goes_to_the_class_of_its_most_probable_pair():
    setup = trained()
    algo, tasks = setup.algo.eval(), setup.tasks("test")
    found = algo.solve(tasks.support, tasks.query.x).sigmoid()
    for (x, y, query_x, _), scores in zip(each(tasks), found, strict=True):
        z, queries = algo.backbone(x[None])[0], algo.backbone(query_x[None])[0]
        for query, score in zip(queries, scores, strict=True):
            pairs = torch.stack([probability(algo, query, one) for one in z])
            expected = torch.stack([pairs[y == way].max() for way in range(4)])
            torch.testing.assert_close(score, expected)


def test_the_loss_is_the_cross_entropy_of_pairs_drawn_evenly_from_both_kinds():
    setup = trained()
    algo, tasks = setup.algo, setup.tasks()
    loss, metrics = algo(tasks)
    z, queries = algo.together(tasks.support, tasks.query.x)
    for t, (_, y, _, query_y) in enumerate(each(tasks)):
        kinds = {True: [], False: []}
        for query, asked in zip(queries[t], query_y, strict=True):
            for one, label in zip(z[t], y, strict=True):
                same = bool(label == asked)
                p = probability(algo, query, one)
                kinds[same].append(F.binary_cross_entropy(p, torch.tensor(float(same)).double()))
        expected = 0.5 * sum(torch.stack(kind).mean() for kind in kinds.values())
        torch.testing.assert_close(metrics["loss"][t], expected.detach())
    torch.testing.assert_close(loss.detach(), metrics["loss"].mean())


def test_two_drawings_are_of_one_class_in_either_order():
    setup = trained()
    a, b = torch.randn(2, 3, 5, setup.algo.backbone.feature_size).double()
    torch.testing.assert_close(setup.algo.same(a, b), setup.algo.same(b, a).mT)
    diagonal = setup.algo.same(a, a).diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(diagonal, setup.algo.bias.expand(3, 5))


def test_an_untrained_network_measures_distances():
    """α is negative, so a drawing is likest itself."""
    setup = build(*small("siamese", "glyphs"), dtype=torch.float64)
    setup.algo.eval()
    (x, y), _ = setup.tasks("test")[:2]
    assert torch.equal(setup.algo.solve(Examples(x, y), x).argmax(-1), y)
