"""SNAIL reads each query as the last element of a sequence, and nothing looks ahead."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from build import Setup, build, small
from torch import Tensor

from metabench.algo.snail import SNAIL, Attention, Dense
from metabench.errors import ConfigError
from metabench.tasks import Examples

DATA = pytest.mark.parametrize("data", ["sinusoid", "glyphs"])


def snail(data: str, *options: str) -> Setup:
    setup = build(*small("snail", data), *options, dtype=torch.float64)
    setup.algo.eval()  # so that batch statistics tie no examples together
    return setup


def labels(algo: SNAIL, y: Tensor) -> Tensor:
    return y if y.is_floating_point() else F.one_hot(y, algo.spec.train.outputs).double()


def whole_sequence(algo: SNAIL, s: Tensor) -> Tensor:
    """The output at every element of one sequence `[N + 1, C]`, by torch's own convolution and attention."""
    for block in algo.blocks:
        if isinstance(block, Dense):
            past = torch.zeros_like(block.present.weight) if block.past is None else block.past.weight
            padded = F.pad(s.T[None], (block.dilation, 0))
            kernel = torch.stack([past, block.present.weight], dim=-1)
            a, b = F.conv1d(padded, kernel, block.present.bias, dilation=block.dilation)[0].T.chunk(2, dim=-1)
            new = torch.tanh(a) * torch.sigmoid(b)
        else:
            q, k, v = block.maps(s).split(block.sizes, dim=-1)
            new = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
        s = torch.cat([s, new], dim=-1)
    return algo.head(s)


@DATA
def test_each_query_is_the_last_element_of_a_whole_sequence(data):
    setup = snail(data)
    (x, y), query = setup.tasks("test")[:2]
    found = setup.algo.solve(Examples(x, y), query.x)
    z, z_query = (setup.algo.embedding(setup.algo.backbone(part)) for part in (x, query.x))
    support = torch.cat([z, labels(setup.algo, y)], dim=-1)
    z_query = F.pad(z_query, (0, setup.algo.spec.train.outputs))
    for task in range(3):
        for m in range(query.x.shape[1]):
            sequence = torch.cat([support[task], z_query[task, m, None]])
            expected = whole_sequence(setup.algo, sequence)[-1]
            torch.testing.assert_close(found[task, m], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("block", [Attention(6, 4, 3), Dense(6, 5, 2, 8), Dense(6, 5, 8, 8)], ids=["a", "d2", "d8"])
def test_the_gradient_by_what_comes_later_is_zero(block):
    """And by what a block is to see it is not."""
    torch.manual_seed(0)
    block, support = block.double(), torch.randn(1, 7, 6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(block.read, support).abs().sum((0, 2, 3, 5))  # [element, by element]
    assert not jacobian.triu(1).any()
    back = [0] if isinstance(block, Dense) and block.past is None else [0, 2]
    seen = [t - b for t in (6,) for b in back] if isinstance(block, Dense) else range(7)
    assert [t for t in range(7) if jacobian[6, t] > 0] == sorted(seen)


@DATA
def test_a_later_example_changes_nothing_that_was_read_before(data):
    setup = snail(data)
    (x, y), _ = setup.tasks("test")[:2]
    before = setup.algo.adapt(Examples(x, y))
    x = torch.cat([x[:, :-1], x[:, -1:] + 1], dim=1)
    y = torch.cat([y[:, :-1], y[:, -1:] + 1 if y.is_floating_point() else (y[:, -1:] + 1) % 4], dim=1)
    after = setup.algo.adapt(Examples(x, y))
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a[:, :-1], b[:, :-1])
        assert not torch.isclose(a[:, -1], b[:, -1]).all()


@DATA
def test_a_prediction_depends_on_every_example_and_on_no_other_query_or_task(data):
    setup = snail(data)
    (x, y), query = setup.tasks("test")[:2]
    x, query_x = x.requires_grad_(), query.x.requires_grad_()
    setup.algo.solve(Examples(x, y), query_x)[1, 2].square().sum().backward()
    touched = query_x.grad.flatten(2).abs().sum(-1) > 0
    assert touched.nonzero().tolist() == [[1, 2]]
    touched = x.grad.flatten(2).abs().sum(-1) > 0
    assert touched[1].all()
    assert not touched[[0, 2]].any()


def test_permuting_labels_permutes_predictions_if_every_layer_that_sees_them_is_permuted():
    setup = snail("glyphs")
    (x, y), query = setup.tasks("test")[:2]
    order, algo = torch.tensor([1, 2, 0, 3]), setup.algo
    first = algo.embedding.out_features
    with torch.no_grad():
        expected = algo.solve(Examples(x, y), query.x)
        for layer in (m for part in (algo.blocks, algo.head) for m in part.modules() if hasattr(m, "in_features")):
            layer.weight[:, first + order] = layer.weight[:, first : first + 4].clone()
        for row in algo.head.parameters():
            row[order] = row.clone()
        found = algo.solve(Examples(x, order[y]), query.x)
    torch.testing.assert_close(found[..., order], expected, rtol=1e-10, atol=1e-10)


def test_the_model_is_the_published_one():
    """5-way 1-shot: Attention(64, 32), TC(6, 128), Attention(256, 128), TC(6, 128), Attention(512, 256)."""
    algo = build("algo=snail", "data=glyphs", "data.characters=40").algo
    made = [m.dilation if isinstance(m, Dense) else tuple(m.sizes[1:]) for m in algo.blocks]
    assert made == [(64, 32), 2, 4, 8, (256, 128), 2, 4, 8, (512, 256)]
    assert algo.head.in_features == 64 + 5 + 32 + 3 * 128 + 128 + 3 * 128 + 256
    reach = [m.past is not None for m in algo.blocks if isinstance(m, Dense)]
    assert reach == [True, True, False] * 2  # eight back from the sixth element there is nothing


@pytest.mark.parametrize(
    ("option", "key"), [("data.train.ways=3", "data.train.ways"), ("algo.keys=[4]", "algo.values")]
)
def test_what_cannot_be_is_refused(option, key):
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        build(*small("snail", "glyphs"), option)


def test_attention_is_sharp_where_a_key_fits():
    """A support element that a query's key matches alone gives its value."""
    block = Attention(2, 2, 2).double()
    with torch.no_grad():
        block.maps.bias.zero_()
        block.maps.weight.copy_(torch.cat([100 * torch.eye(2), torch.eye(2), torch.eye(2)]))
    support = torch.tensor([[[5.0, 0.0], [0.0, 5.0]]], dtype=torch.float64)
    found = block.answer(support, torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64))
    torch.testing.assert_close(found, support)
    assert math.isclose(block.read(support)[0, 0, 0].item(), 5.0)  # the first sees itself alone
