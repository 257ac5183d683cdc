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
