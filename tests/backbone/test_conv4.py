"""The four-block network: what precedes its first convolution."""

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
