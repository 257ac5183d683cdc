"""Batch norm of each query in a batch with the support set alone, against one batch after the other."""

from importlib import import_module
from pkgutil import iter_modules

import pytest
import torch

import metabench.algo
from metabench.algo.fast_weights import FastWeights
from metabench.algo.maml import MAML
from metabench.algo.relationnet import RelationNet
from metabench.backbone.base import batch_norms, queries_alone
from metabench.backbone.conv4 import Conv4
from metabench.backbone.layers import max_pool
from metabench.backbone.mlp import MLP
from metabench.backbone.norm import BatchNorm
from metabench.backbone.resnet12 import ResNet12
from metabench.tasks import Episode, Examples, TaskSpec

CONV4 = {
    "filters": 4, "pool": "max", "halvings": 4, "readout": "flatten", "norm": "batch", "norm_scale": True,
    "norm_eps": 1e-5, "statistics": "batch", "init": None, "standardise": None,
}  # fmt: skip
MLP_OF = {
    "hidden": [5, 4], "norm": "batch", "norm_scale": True, "norm_eps": 1e-5, "statistics": "batch", "init_std": None,
    "readout": None,
}  # fmt: skip
RESNET12 = {
    "widths": [2, 3, 4, 5], "readout": "mean", "norm": "batch", "norm_eps": 1e-5, "statistics": "batch", "drop": 0.0,
    "drop_block": 1,
}  # fmt: skip


def features(backbone, support, queries):
    """Those of each query in a batch with the support set, `[T, Q, F]`, in a loop."""
    batches = [torch.cat([support, query.unsqueeze(1)], dim=1) for query in queries.unbind(1)]
    return torch.stack([backbone(batch)[:, -1] for batch in batches], dim=1)


def with_scales(backbone):
    """The backbone in double precision, with scales of both signs and shifts."""
    generator = torch.Generator().manual_seed(1)
    for norm in batch_norms(backbone):
        for parameter in norm.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return backbone.double()


@pytest.mark.parametrize("support", [1, 5])
@pytest.mark.parametrize("queries", [1, 3, 5])
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (Conv4, CONV4),
        (Conv4, CONV4 | {"pool": "stride"}),
        (Conv4, CONV4 | {"halvings": 2}),
        (ResNet12, RESNET12),
        (MLP, MLP_OF),
    ],
    ids=["max", "stride", "few_halvings", "resnet12", "mlp"],
)
def test_each_query_is_normalised_with_the_support_set_alone(make, options, support, queries):
    torch.manual_seed(0)
    backbone = with_scales(make((1, 16, 16), **options))
    x = torch.rand(2, support + queries, 1, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        expected = features(backbone, x[:, :support], x[:, support:])
        with queries_alone(backbone, support, queries):
            found = backbone(x)[:, -queries:]
    torch.testing.assert_close(found, expected)


def test_running_statistics_are_of_no_batch():
    norm = BatchNorm(3, scale=True, eps=1e-5, statistics="running").eval()
    x = torch.rand(6, 2, 3, 4, 4)
    with queries_alone(norm, 2, 4):
        torch.testing.assert_close(norm(x), norm(x))
        assert norm(x).shape == x.shape


class Mixed(MAML):
    """A method of somebody's own, which brings queries together."""

    def predict(self, state, x):
        """Each prediction less the mean of all."""
        found = super().predict(state, x)
        return found - found.mean(1, keepdim=True)


class MixedMaps(Conv4):
    """A backbone of somebody's own, which brings queries together."""

    def maps(self, x):
        """The maps of each example less the mean of all."""
        found = super().maps(x)
        return found - found.mean(1, keepdim=True)


class Own(MAML, rowwise=True):
    """A method of somebody's own, which does not, and says so."""


LOOP = {"inner_lr": 0.1, "inner_steps": 1, "eval_inner_steps": 1, "adapt_norm": True}


@pytest.mark.parametrize(
    ("method", "values", "network", "rowwise"),
    [
        (Own, LOOP, Conv4, True),
        (Mixed, LOOP, Conv4, False),
        (MAML, LOOP, MixedMaps, False),
        (RelationNet, {"filters": 2, "hidden": 3}, MixedMaps, False),
    ],
)
def test_a_class_from_elsewhere_is_not_taken_to_read_row_by_row_unless_it_says_so(method, values, network, rowwise):
    spec = TaskSpec((1, 16, 16), "cross_entropy", Episode(2, 1, 3), Episode(2, 1, 3))
    torch.manual_seed(0)
    algo = method(spec, network((1, 16, 16), **CONV4 | {"halvings": 2}), **values).eval()
    assert (algo.rowwise and algo.backbone.rowwise) is rowwise
    support, x = Examples(torch.rand(2, 2, 1, 16, 16), torch.tensor([[0, 1], [1, 0]])), torch.rand(2, 6, 1, 16, 16)
    with torch.no_grad():
        state = algo.adapt(support)
        each = [algo.predict(state, torch.cat([support.x, x[:, i : i + 1]], dim=1))[:, -1] for i in range(6)]
        torch.testing.assert_close(algo.predict_alone(support, x), torch.stack(each, dim=1))


def test_a_method_of_the_program_reads_row_by_row_where_its_base_does():
    for name in (module.name for module in iter_modules(metabench.algo.__path__)):
        import_module(f"metabench.algo.{name}")
    classes = [FastWeights]
    for cls in classes:
        classes += [own for own in cls.__subclasses__() if own.__module__.startswith("metabench.")]
    assert not [cls.__name__ for cls in classes if not cls.rowwise]


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 3)])
def test_maxima_without_gradients_are_those_with(size):
    x = torch.randn(3, 2, 4, *size)
    with torch.no_grad():
        found = max_pool(x)
    assert torch.equal(found, max_pool(x.requires_grad_()))
