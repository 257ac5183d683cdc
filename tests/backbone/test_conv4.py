"""The four-block network: what precedes its first convolution, and what follows its last."""

from __future__ import annotations

import pytest
import torch
from build import build

from metabench.errors import ConfigError


def test_inputs_are_standardised_before_they_are_padded():
    own = "backbone.standardise={mean: 0.4, std: 0.2}"
    plain, scaled = (build("algo=protonet", "data=glyphs", *o).algo.backbone for o in ((), (own,)))
    scaled.load_state_dict(plain.state_dict())
    x = torch.rand(2, 5, 1, 28, 28)
    torch.testing.assert_close(scaled(x), plain((x - 0.4) / 0.2))
    assert not torch.allclose(scaled(x), plain(x))


def test_a_deviation_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="std"):
        build("algo=protonet", "data=glyphs", "backbone.standardise={mean: 0.4, std: 0.0}")


@pytest.mark.parametrize("pool", ["stride", "max"])
def test_a_linear_readout_is_what_the_last_relu_is_given(pool):
    """Features of both signs, of which the positive part is what `flatten` gives: a maximum and a ReLU commute."""
    flat, linear = (
        build("algo=protonet", "data=glyphs", f"backbone.pool={pool}", f"backbone.readout={readout}").algo.backbone
        for readout in ("flatten", "linear")
    )
    linear.load_state_dict(flat.state_dict())
    x = torch.rand(2, 5, 1, 28, 28)
    found = linear(x)
    assert found.shape == (2, 5, linear.feature_size)
    assert (found < 0).float().mean() > 0.03
    torch.testing.assert_close(found.relu(), flat(x))


def test_keys_of_features_behind_a_relu_are_alike():
    """The cosine of two random images' features: near 0 for a linear readout, and far above it for another."""
    x, off = torch.randn(1, 40, 1, 28, 28), ~torch.eye(40, dtype=torch.bool)
    for readout, low, high in (("flatten", 0.3, 1.0), ("linear", -0.2, 0.2)):
        torch.manual_seed(0)
        net = build("algo=protonet", "data=glyphs", "backbone.pool=stride", f"backbone.readout={readout}").algo.backbone
        z = torch.nn.functional.normalize(net.train()(x)[0], dim=-1)
        assert low < (z @ z.T)[off].mean() < high
