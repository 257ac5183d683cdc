"""Conditionally shifted neurons: errors of the support set, kept under keys, shift the neurons that see a query."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from build import Setup, build, small
from references import PlainConv4, PlainMLP, assert_same, each
from torch import Tensor, nn

from metabench.algo.csn import CSN
from metabench.backbone.base import Backbone
from metabench.errors import ConfigError
from metabench.tasks import Examples

DATA = pytest.mark.parametrize("data", ["sinusoid", "glyphs"])


def shifted(data: str, *options: str) -> Setup:
    """In evaluation, with no batch statistics, and with a memory function whose shifts are large and of both signs."""
    norm = [] if data == "sinusoid" else ["backbone.norm=group"]
    setup = build(*small("csn", data), *norm, *options, dtype=torch.float64)
    torch.manual_seed(1)
    with torch.no_grad():
        for p in setup.algo.value.parameters():
            p.copy_(torch.randn_like(p))
    setup.algo.eval()
    return setup


class Reference:
    """The paper's equations for one task, one example and one neuron at a time, in torch's own layers."""

    def __init__(self, algo: CSN) -> None:
        self.algo = algo
        self.net, self.twin = (plain(backbone) for backbone in (algo.backbone, algo.key[0]))

    def run(self, x: Tensor, shifts: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """a_T of one example, and σ' of each hidden layer."""
        h, slopes = x.unsqueeze(0), []
        for layer, (linear, norm) in enumerate(blocks(self.net)):
            h = F.relu(norm(linear(h)))
            if shifts is not None:  # before pooling, as a shift of a channel commutes with a maximum
                h = torch.stack([h[:, c] + F.relu(b) for c, b in enumerate(shifts[layer])], dim=1)
            h = F.max_pool2d(h, 2) if h.dim() == 4 and h.shape[-1] > 1 else h
            slopes.append((h[0].flatten(1) if h.dim() == 4 else h[0].unsqueeze(-1)).sign().mean(-1))
        return self.algo.head(h.flatten(1))[0], slopes

    def key(self, x: Tensor) -> Tensor:
        return self.algo.key[1](self.twin(x.unsqueeze(0)))[0]

    def predict(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Predictions `[M, O]` of queries `[M, ...]`."""
        keys, memory = [self.key(one) for one in x], []
        for one, target in zip(x, y, strict=True):
            a, slopes = self.run(one, None)
            error = a - target
            if target.dtype == torch.int64:
                error = a.softmax(0) - F.one_hot(target, len(a))
            values = [torch.stack([self.algo.value(s * error)[0] for s in slope]) for slope in slopes]
            alone = [error * (torch.arange(len(a)) == o) for o in range(len(a))]
            memory.append([*values, torch.stack([self.algo.value(only)[0] for only in alone])])
        found = []
        for one in query:
            cosines = torch.stack([F.cosine_similarity(self.key(one), key, dim=0) for key in keys])
            alpha = (self.algo.scale * cosines).softmax(0)
            *hidden, last = (
                sum(w * v for w, v in zip(alpha, layer, strict=True)) for layer in zip(*memory, strict=True)
            )
            found.append(self.run(one, hidden)[0] + last)
        return torch.stack(found)


def plain(backbone: Backbone) -> nn.Module:
    net = (PlainConv4 if hasattr(backbone, "convs") else PlainMLP)(backbone).double()
    for ours, theirs in zip(backbone.parameters(), net.parameters(), strict=True):
        theirs.data = ours.data
    return net


def blocks(net: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    if hasattr(net, "convs"):
        return list(zip(net.convs, net.norms, strict=True))
    return [(linear, nn.Identity()) for linear in net.linears]


@DATA
def test_predictions_and_gradients_are_those_of_a_loop(data):
    setup = shifted(data)
    algo, tasks = setup.algo, setup.tasks()
    reference = Reference(algo)
    predictions = torch.stack([reference.predict(x, y, query) for x, y, query, _ in each(tasks)])
    found = algo.solve(tasks.support, tasks.query.x)
    torch.testing.assert_close(found, predictions, rtol=1e-10, atol=1e-10)

    algo.objective.loss(predictions, tasks.query.y).mean().backward()
    expected = setup.gradients()
    for name, net in (("backbone", reference.net), ("key.0", reference.twin)):
        pairs = zip(algo.get_submodule(name).named_parameters(), net.parameters(), strict=True)
        expected |= {f"{name}.{key}": p.grad.clone() for (key, _), p in pairs}
    algo.zero_grad()
    algo(tasks)[0].backward()
    assert_same(setup.gradients(), expected)


@DATA
@pytest.mark.parametrize("bias", [True, False])
def test_without_errors_nothing_is_retrieved_but_a_constant(data, bias):
    """g(0), whatever the support set is; and 0 if the memory function has no biases."""
    setup = shifted(data)
    algo, tasks = setup.algo, setup.tasks()
    algo._error = lambda a, y: torch.zeros_like(a)
    with torch.no_grad():
        if not bias:
            for layer in algo.value[::2]:
                layer.bias.zero_()
        constant = algo.value(torch.zeros(1, algo.spec.eval.outputs).double()).squeeze()
        found = algo.solve(tasks.support, tasks.query.x)
        expected = algo._network(tasks.query.x, lambda h: h + constant.relu()) + constant
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert bool(constant) == bias


def test_a_network_without_errors_on_its_support_set_is_not_shifted():
    """Targets that it predicts already, and a memory function without biases."""
    setup = shifted("sinusoid")
    algo, tasks = setup.algo, setup.tasks()
    with torch.no_grad():
        for layer in algo.value[::2]:
            layer.bias.zero_()
        known, expected = (algo.head(algo.backbone(x)) for x in (tasks.support.x, tasks.query.x))
        found = algo.solve(Examples(tasks.support.x, known), tasks.query.x)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        wrong = algo.solve(Examples(tasks.support.x, known + 1), tasks.query.x)
        assert not torch.isclose(wrong, expected, atol=1e-3).any()


@DATA
def test_the_order_of_the_support_set_means_nothing(data):
    setup = shifted(data)
    (x, y), query = setup.tasks()[:2]
    order = torch.randperm(x.shape[1])
    with torch.no_grad():
        a, b = (setup.algo.solve(Examples(*given), query.x) for given in ((x, y), (x[:, order], y[:, order])))
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@DATA
def test_a_query_has_shifts_of_its_own(data):
    setup = shifted(data)
    algo, (support, query) = setup.algo, setup.tasks()[:2]
    with torch.no_grad():
        together = algo.solve(support, query.x)
        alone = [algo.solve(support, x) for x in query.x.split(1, dim=1)]
        torch.testing.assert_close(torch.cat(alone, dim=1), together, rtol=1e-10, atol=1e-10)
        unshifted = algo.head(algo.backbone(query.x))
    assert (together - unshifted).flatten(2).std(dim=1).all()


def test_a_sharp_retrieval_is_of_the_example_most_like_the_query():
    setup = shifted("glyphs", "algo.scale=1000000.0")
    algo, support = setup.algo, setup.tasks().support
    with torch.no_grad():
        memory = algo.adapt(support)
        left = iter(memory.values)

        def own(h: Tensor) -> Tensor:
            value = next(left).relu()
            return h + value.reshape(*value.shape, *[1] * (h.dim() - 3))

        expected = algo._network(support.x, own) + next(left)
        torch.testing.assert_close(algo.predict(memory, support.x), expected, rtol=1e-6, atol=1e-6)


def test_renamed_classes_are_predicted_alike_if_the_layers_that_tell_them_apart_are_permuted():
    setup = shifted("glyphs")
    algo, order = setup.algo, torch.tensor([1, 2, 0, 3])
    (x, y), query = setup.tasks("test")[:2]
    with torch.no_grad():
        expected = algo.solve(Examples(x, y), query.x)
        for rows in (*algo.head.parameters(), algo.value[0].weight.mT):
            rows[order] = rows.clone()
        found = algo.solve(Examples(x, order[y]), query.x)
    torch.testing.assert_close(found[..., order], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("data", "backbone", "layers"),
    [
        ("sinusoid", (), [8, 8, 1]),
        ("glyphs", (), [4, 4, 4, 4, 4]),
        ("glyphs", ("backbone.halvings=2",), [4, 4, 4, 4, 4]),
        ("glyphs", ("backbone=resnet12", "backbone.widths=[4,6,8,10]"), [4, 6, 8, 10, 4]),
    ],
)
def test_every_hidden_layer_and_the_output_are_shifted(data, backbone, layers):
    setup = build(*small("csn", data, *backbone), dtype=torch.float64)
    tasks = setup.tasks()
    memory = setup.algo.adapt(tasks.support)
    assert [value.shape[-1] for value in memory.values] == layers
    for value in memory.values:
        value.retain_grad()
    with torch.no_grad():
        for value in memory.values:
            value.abs_().add_(0.1)
    setup.algo.predict(memory, tasks.query.x).square().sum().backward()
    assert all(value.grad.any() for value in memory.values)


def test_nothing_stays_in_the_backbone():
    setup = shifted("glyphs")
    setup.algo(setup.tasks())
    with pytest.raises(RuntimeError):
        setup.algo.adapt(Examples(torch.zeros(1, 2, 3, 16, 16).double(), torch.zeros(1, 2).long()))
    assert not any(module._forward_pre_hooks for module in setup.algo.modules())


def test_other_ways_than_those_of_training_are_refused():
    with pytest.raises(ConfigError, match=r"data\.train\.ways"):
        shifted("glyphs", "data.train.ways=6")
