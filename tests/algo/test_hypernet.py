"""Hypernetworks: sets without an order, and generated networks that are plain ones for every task."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from build import Setup, build, small
from torch import Tensor, nn

from metabench.algo.film import film, film_sites
from metabench.algo.sets import SEEDS, SetEncoder
from metabench.errors import ConfigError
from metabench.tasks import Examples

DATA = pytest.mark.parametrize("data", ["sinusoid", "glyphs"])
EMPTY = torch.zeros(8, dtype=torch.float64)
GENERATES = pytest.mark.parametrize("generates", ["weights", "film", "head"])


def hypernet(data: str, *options: str) -> Setup:
    setup = build(*small("hypernet", data), *options, dtype=torch.float64)
    setup.algo.eval()
    return setup


@DATA
@GENERATES
@pytest.mark.parametrize("aggregator", ["mean", "attention", "gru"])
def test_only_a_gru_sees_the_order_of_the_support_set(data, generates, aggregator):
    setup = hypernet(data, f"algo.generates={generates}", f"algo.aggregator={aggregator}")
    (x, y), query = setup.tasks("test")[:2]
    found, expected = (setup.algo.solve(s, query.x) for s in (Examples(x.flip(1), y.flip(1)), Examples(x, y)))
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12) == (aggregator != "gru")


@pytest.mark.parametrize("aggregator", ["mean", "attention"])
def test_a_set_given_twice_over_is_the_same_set(aggregator):
    torch.manual_seed(0)
    encoder, x = SetEncoder(3, 8, 5, aggregator).double(), torch.randn(2, 4, 3).double()
    torch.testing.assert_close(encoder.whole(torch.cat([x, x], dim=1)), encoder.whole(x), rtol=1e-12, atol=1e-12)


def test_attention_pools_by_learned_seeds():
    """Its formula, one set and one seed after another."""
    torch.manual_seed(0)
    encoder = SetEncoder(3, 8, 5, "attention").double()
    x, pool = torch.randn(2, 4, 3).double(), encoder.aggregate
    for one in x:
        e = encoder.element(one)
        values, read = pool.values(e).view(4, SEEDS, 8), []
        for h, seed in enumerate(pool.seeds):
            shares = torch.stack([seed @ pool.keys(row) / math.sqrt(8) for row in e]).softmax(0)
            read.append(sum(share * values[i, h] for i, share in enumerate(shares)))
        torch.testing.assert_close(encoder.whole(one[None])[0], encoder.vector(pool.out(torch.cat(read))))


@pytest.mark.parametrize("aggregator", ["mean", "attention", "gru"])
def test_sets_of_any_size_are_read_as_if_each_were_alone(aggregator):
    torch.manual_seed(0)
    encoder, x = SetEncoder(3, 8, 5, aggregator).double(), torch.randn(2, 6, 3).double()
    sets = torch.tensor([[2, 0, 0, 2, 2, 0], [1, 1, 1, 1, 1, 0]])
    found = encoder(x, F.one_hot(sets, 3).double())
    for task, of in enumerate(sets):
        for one in of.unique():
            torch.testing.assert_close(found[task, one], encoder.whole(x[task, of == one][None])[0])
    assert torch.equal(found[0, 1], encoder.vector(encoder.aggregate.out.bias if aggregator == "attention" else EMPTY))


@pytest.mark.parametrize("generates", ["film", "head"])
def test_a_head_is_read_from_classes_of_different_sizes(generates):
    setup = hypernet("glyphs", f"algo.generates={generates}", "data.shots=3")
    (x, y), query = setup.tasks("test")[:2]
    keep = (y == 0).cumsum(1) * (y == 0) < 2  # one example of class 0, three of the others
    x, y = (part[keep].unflatten(0, (len(part), -1)) for part in (x, y))
    weight = setup.algo.adapt(Examples(x, y)).weight
    other = x.clone()
    other[y != 0] += 0.1
    if generates == "head":
        same = setup.algo.adapt(Examples(other, y)).weight
        torch.testing.assert_close(same[:, 0], weight[:, 0])
        assert (same[:, 1:] != weight[:, 1:]).flatten(1).any(1).all()
    assert setup.algo.solve(Examples(x, y), query.x).shape == (3, query.x.shape[1], 4)


@DATA
def test_generated_weights_make_a_network_of_their_own_for_every_task(data):
    setup = hypernet(data, "algo.generates=weights")
    tasks = setup.tasks("test")
    state = setup.algo.adapt(tasks.support)
    found = setup.algo.predict(state, tasks.query.x)
    assert state.body.keys() == dict(setup.algo.backbone.named_parameters()).keys()
    for task, x in enumerate(tasks.query.x):
        body = {name: w[task] for name, w in state.body.items()}
        z = torch.func.functional_call(setup.algo.backbone, body, (x[None],))[0]
        expected = F.linear(z, state.weight[task], state.bias[task])
        torch.testing.assert_close(found[task], expected, rtol=1e-9, atol=1e-9)
    assert not torch.isclose(found[0], found[1]).any()


@pytest.mark.parametrize(("data", "site"), [("sinusoid", "linears"), ("glyphs", "norms")])
def test_film_scales_and_shifts_what_a_layer_gives(data, site):
    setup = hypernet(data, "algo.generates=film")
    backbone, tasks = setup.algo.backbone, setup.tasks("test")
    names = film_sites(backbone)
    sites = {backbone.get_submodule(name): channels for name, channels in names.items()}
    assert list(sites) == list(getattr(backbone, site))
    rows = torch.randn(3, 2 * sum(sites.values())).double()
    own = {name: p.expand(3, *p.shape) for name, p in backbone.named_parameters()}
    found = torch.func.functional_call(backbone, film(own, names, rows), (tasks.query.x,))
    parts = dict(zip(sites, rows.split([2 * channels for channels in sites.values()], dim=1), strict=True))

    def modulate(module: nn.Module, _: object, out: Tensor) -> Tensor:
        scale, shift = (
            parts[module].unflatten(1, (-1, 2)).unbind(-1)
        )  # [T, C]; a normalisation gives [N, T, C, ...], a map [T, N, C]
        shape = (1, *scale.shape, *[1] * (out.dim() - 3)) if site == "norms" else (len(scale), 1, -1)
        return (1 + scale.view(shape)) * out + shift.view(shape)

    hooks = [module.register_forward_hook(modulate) for module in sites]
    expected = backbone(tasks.query.x)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("aggregator", ["mean", "attention", "gru"])
def test_the_head_of_a_class_knows_no_other_class(aggregator):
    setup = hypernet("glyphs", f"algo.aggregator={aggregator}")
    (x, y), _ = setup.tasks("test")[:2]
    x.requires_grad_()
    setup.algo.adapt(Examples(x, y)).weight[1, 2].square().sum().backward()
    touched = x.grad.flatten(2).abs().sum(-1) > 0
    assert torch.equal(touched[1], y[1] == 2)
    assert not touched[[0, 2]].any()


@pytest.mark.parametrize("generates", ["film", "head"])
def test_training_and_test_may_have_different_ways(generates):
    setup = hypernet("glyphs", f"algo.generates={generates}", "data.train.ways=6")
    assert setup.train(1)[0].isfinite().all()
    tasks = setup.tasks("test")
    assert setup.algo.eval().solve(tasks.support, tasks.query.x).shape[-1] == 4


@pytest.mark.parametrize(
    ("option", "key"),
    [
        (("algo.generates=weights", "data.train.ways=6"), r"data\.train\.ways"),
        (("algo.generates=film", "backbone.norm_scale=false"), r"backbone\.norm_scale"),
    ],
)
def test_what_cannot_be_is_refused(option, key):
    with pytest.raises(ConfigError, match=key):
        build(*small("hypernet", "glyphs"), *option)


def test_permuting_labels_permutes_whole_weights_if_the_layers_that_see_them_are_permuted():
    setup = hypernet("glyphs", "algo.generates=weights")
    algo, order = setup.algo, torch.tensor([1, 2, 0, 3])
    (x, y), query = setup.tasks("test")[:2]
    features, last = algo.backbone.feature_size, algo.read_task.encoder.vector[-1]
    with torch.no_grad():
        expected = algo.solve(Examples(x, y), query.x)
        first = algo.read_task.encoder.element[0].weight
        first[:, features + order] = first[:, features : features + 4].clone()
        algo.head.weight[order], algo.head.bias[order] = algo.head.weight.clone(), algo.head.bias.clone()
        for p in last.parameters():  # ends with the rows of the head's weight and bias
            rows = p[-4 * features - 4 : -4].view(4, features, *p.shape[1:])
            rows[order] = rows.clone()
            p[-4:][order] = p[-4:].clone()
        found = algo.solve(Examples(x, order[y]), query.x)
    torch.testing.assert_close(found[..., order], expected, rtol=1e-9, atol=1e-9)
