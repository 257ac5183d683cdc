"""What tests build is what the command line would compose."""

from __future__ import annotations

import pytest
from build import composed
from omegaconf.errors import ConfigAttributeError

from metabench.config.compose import compose

COMMANDS = [
    "algo=cnp data=sinusoid data.shots=7 seed=3",
    "algo=snail data=glyphs data.ways=7 backbone=mlp_omniglot backbone.hidden=[3,4]",
    "algo=maml data=glyphs optim=sgd optim.lr=0.1 budget=smoke",
    "experiment=sinusoid/adkl_cnp_k5 train.clip=null",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_values_set_on_a_choice_are_those_that_hydra_composes(command):
    overrides = command.split()
    assert composed(*overrides) == compose("device=cpu", "engine=eager", *overrides)


def test_a_key_that_is_not_there_is_refused():
    with pytest.raises(ConfigAttributeError, match="nosuch"):
        composed("algo=maml", "data=glyphs", "data.nosuch=3")
