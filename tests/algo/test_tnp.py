"""Transformer neural processes: sets in, one independent normal distribution a query out, of torch's own layers."""

from __future__ import annotations

import pytest
import torch
from build import build, small
from torch import nn

from metabench.algo.transformer import Layer
from metabench.errors import ConfigError
from metabench.tasks import Examples

both = pytest.mark.parametrize("data", ["sinusoid", "glyphs"])


def model(data: str):
    setup = build(*small("tnp", data), dtype=torch.float64)
    setup.algo.eval()
    return setup


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_layer_is_torchs_layer_normalised_before():
    ours = Layer(8, 2, 12).double()
    theirs = nn.TransformerEncoderLayer(8, 2, 12, dropout=0, batch_first=True, norm_first=True).double()
    attention = theirs.self_attn
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.pair.weight]))
        attention.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.pair.bias]))
    for mine, part in (
        (ours.out, attention.out_proj), (ours.up, theirs.linear1), (ours.down, theirs.linear2),
        (ours.before, theirs.norm1), (ours.after, theirs.norm2),
    ):  # fmt: skip
        part.load_state_dict(mine.state_dict())
    tokens, seen = torch.randn(3, 5, 8).double(), torch.ones(5, 5).double().tril()
    same(ours(tokens, ours.read(tokens), seen), theirs(tokens, src_mask=seen == 0))


def test_heads_divide_the_size():
    with pytest.raises(ConfigError, match=r"algo.heads=3: should divide algo.size, 8"):
        Layer(8, 3, 12)


@both
def test_the_order_of_the_support_set_changes_nothing_and_queries_do_not_meet(data):
    setup = model(data)
    (x, y), query = setup.tasks("test")[:2]
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = setup.algo.solve(Examples(x, y), query.x)
        same(setup.algo.solve(Examples(x[:, order], y[:, order]), query.x), found)
        same(setup.algo.solve(Examples(x, y), query.x[:, :1]), found[:, :1])


def test_what_is_not_of_the_context_has_no_part_in_it():
    setup = model("sinusoid")
    (x, y), query = setup.tasks("test")[:2]
    context = setup.algo.context(setup.algo.backbone(x), y)
    with torch.no_grad():
        for size in range(6):
            member = (torch.arange(5) < size).double().view(1, 5, 1).expand(3, -1, -1)
            masked = setup.algo.read(setup.algo.represent(context._replace(member=member)), query.x)
            same(masked, setup.algo.solve(Examples(x[:, :size], y[:, :size]), query.x))


@both
def test_the_loss_is_that_of_the_points_outside_the_context_and_of_classes_that_of_all(data):
    """By a loop over tasks and points, each predicted from the context alone."""
    setup = model(data)
    setup.algo.train()
    tasks = setup.tasks("train")
    (x, y), query = setup.algo.view(tasks)[:2]
    sizes = [x.shape[1]] * len(x)
    if data == "sinusoid":
        setup.algo.min_context = 2
        sizes = [int(n) for n in setup.algo.drawn(tasks, x.shape[1]).sum(1)]
        assert min(sizes) < x.shape[1]
    z, y = setup.algo.backbone(torch.cat([x, query.x], dim=1)), torch.cat([y, query.y], dim=1)
    expected = []
    for i, size in enumerate(sizes):
        points, values = z[i : i + 1], y[i : i + 1]
        state = setup.algo.represent(setup.algo.context(points[:, :size], values[:, :size]))
        targets = [slice(j, j + 1) for j in range(size if data == "sinusoid" else 0, points.shape[1])]
        losses = [setup.algo.objective.loss(setup.algo.read(state, points[:, j]), values[:, j]) for j in targets]
        expected.append(torch.stack(losses).mean())
    same(setup.algo(tasks)[0], torch.stack(expected).mean())


@pytest.mark.parametrize("algo", ["tnp", "icl"])
def test_a_label_begins_with_the_weight_of_an_image(algo):
    made = build(f"algo={algo}", "data=glyphs", "backbone.filters=64").algo
    labels = made.spec.eval.outputs
    first = next((made.core.given if algo == "icl" else made.path.embed).parameters())
    z, y = torch.randn(1000, first.shape[1] - labels), torch.eye(labels)
    image, label = (part @ weight.T for part, weight in ((z, first[:, :-labels]), (y, first[:, -labels:])))
    assert 0.5 < label.std() / image.std() < 2


@pytest.mark.parametrize("algo", ["tnp", "icl"])
def test_a_number_and_its_value_begin_as_drawn(algo):
    made = build(f"algo={algo}", "data=sinusoid").algo
    first = next((made.core.given if algo == "icl" else made.path.embed).parameters())
    assert 0.5 < first[:, -1].std() / first[:, :-1].std() < 2
