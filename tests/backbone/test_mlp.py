"""The multi-layer perceptron: its features with and without the last ReLU."""

from __future__ import annotations

import torch
from build import build


def test_linear_features_are_those_before_the_last_relu():
    ours = [
        build("algo=r2d2", "data=sinusoid", f"backbone.readout={readout}").algo.backbone
        for readout in ("null", "linear")
    ]
    ours[1].load_state_dict(ours[0].state_dict())
    x = torch.randn(3, 7, 1)
    positive, signed = (backbone(x) for backbone in ours)
    torch.testing.assert_close(positive, signed.relu())
    assert (signed < 0).any()


def test_the_closed_form_reads_linear_features_of_points():
    assert build("algo=r2d2", "data=sinusoid_bmaml").algo.backbone.readout == "linear"
    assert build("algo=maml", "data=sinusoid_bmaml").algo.backbone.readout is None
