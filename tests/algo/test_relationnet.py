"""The relation network: the paper's module by torch's own layers, and maps that a backbone gives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from build import build, small
from references import PlainConv4, each
from torch import Tensor

from metabench.errors import ConfigError
from metabench.tasks import Examples


def plain_maps(net: PlainConv4, halvings: int, x: Tensor) -> Tensor:
    for block, (conv, norm) in enumerate(zip(net.convs, net.norms, strict=True)):
        x = norm(conv(x)).relu()
        x = F.max_pool2d(x, 2) if block < halvings else x
    return x


def test_scores_are_those_of_the_paper_one_pair_after_another():
    """Concatenated maps, one convolution for both; support and query embedded apart, all pairs of a task normalised."""
    setup = build(*small("relationnet", "glyphs"), dtype=torch.float64)
    algo, tasks = setup.algo, setup.tasks()
    net = PlainConv4(algo.backbone).double()
    net.load_state_dict(algo.backbone.state_dict(), strict=False)
    g = algo.relation
    kernel = torch.cat([g.of_class.weight, g.of_query.weight], dim=1)

    def normalised(x: Tensor, norm) -> Tensor:
        return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True).relu()

    found = algo.solve(tasks.support, tasks.query.x)
    for (x, y, query_x, _), logits in zip(each(tasks), found, strict=True):
        maps, asked = plain_maps(net, 2, x), plain_maps(net, 2, query_x)
        classes = [sum(m for m, label in zip(maps, y, strict=True) if label == way) for way in range(4)]
        z = torch.stack([torch.cat([c, q]) for q in asked for c in classes])
        z = F.max_pool2d(normalised(F.conv2d(z, kernel, padding=1), g.norms[0]), 2)
        z = F.max_pool2d(normalised(F.conv2d(z, g.second.weight, padding=1), g.norms[1]), 2)
        z = F.linear(F.linear(z.flatten(1), g.hidden.weight, g.hidden.bias).relu(), g.score.weight, g.score.bias)
        torch.testing.assert_close(logits, z.view(len(asked), 4), rtol=1e-9, atol=1e-9)


def test_the_loss_is_the_squared_error_of_the_score():
    setup = build(*small("relationnet", "glyphs"), dtype=torch.float64)
    tasks = setup.tasks()
    loss, metrics = setup.algo(tasks)
    scores = setup.algo.solve(tasks.support, tasks.query.x).sigmoid()
    expected = F.mse_loss(scores, F.one_hot(tasks.query.y, 4).double())
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(metrics["loss"].mean(), expected)


def test_the_order_of_the_support_set_does_not_matter():
    setup = build(*small("relationnet", "glyphs"), dtype=torch.float64)
    (x, y), query = setup.tasks()[:2]
    found = setup.algo.solve(Examples(x.flip(1), y.flip(1)), query.x)
    torch.testing.assert_close(found, setup.algo.solve(Examples(x, y), query.x), rtol=1e-9, atol=1e-9)


def test_its_normalisation_keeps_running_statistics_where_the_backbone_does():
    for statistics, first in (("running", "inductive"), ("batch", "transductive")):
        setup = build(*small("relationnet", "glyphs"), f"backbone.statistics={statistics}")
        assert setup.algo.modes[0] == first
        assert all(norm.running == (statistics == "running") for norm in setup.algo.relation.norms)


def test_training_and_test_may_have_different_ways():
    setup = build(*small("relationnet", "glyphs"), "data.train.ways=6")
    assert setup.train(1)[0].isfinite().all()
    tasks = setup.tasks("test")
    assert setup.algo.eval().solve(tasks.support, tasks.query.x).shape[-1] == 4


@pytest.mark.parametrize("pool", ["max", "stride"])
@pytest.mark.parametrize("halvings", [1, 2, 4])
def test_maps_are_what_features_are_made_of(pool, halvings):
    backbone = build(
        *small("protonet", "glyphs"), f"backbone.pool={pool}", f"backbone.halvings={halvings}"
    ).algo.backbone
    x = torch.randn(2, 3, 1, 16, 16)
    backbone.eval()
    maps = backbone.maps(x)
    assert maps.shape == (2, 3, *backbone.map_shape) == (2, 3, 4, 16 // 2**halvings, 16 // 2**halvings)
    assert torch.equal(backbone(x), maps.flatten(2))


def test_what_gives_no_maps_or_too_small_ones_is_refused():
    with pytest.raises(ConfigError, match="backbone=MLP: has no feature maps"):
        build("algo=relationnet", "data=glyphs", "backbone=mlp_omniglot")
    with pytest.raises(ConfigError, match=r"gives maps of 1x1; .* needs 4x4 or more: fewer backbone.halvings"):
        build("algo=relationnet", "data=glyphs", "backbone.halvings=4")


def test_a_class_may_be_the_mean_of_its_maps():
    """Chen et al. 2019: a mean of two shots is half their sum."""
    of_sum, of_mean = (
        build(*small("relationnet", "glyphs"), f"algo.of_class={kind}", dtype=torch.float64)
        for kind in ("null", "mean")
    )
    support = of_sum.tasks().support
    torch.testing.assert_close(of_mean.algo.adapt(support), of_sum.algo.adapt(support) / 2)


def test_the_released_start_is_that_of_the_authors_code():
    found = build("algo=relationnet", "data=glyphs", "data.size=28", "algo.init=released", "backbone.init=he").algo
    for convolution in (*found.backbone.convs, found.relation.of_query, found.relation.second):
        assert convolution.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.15)
    assert found.relation.hidden.weight.std().item() == pytest.approx(0.01, rel=0.2)
    assert all((layer.bias == 1).all() for layer in (found.relation.hidden, found.relation.score))
