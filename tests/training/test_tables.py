"""The result table of a run: published values beside its own, and those from memory marked."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from metabench.config.published import published
from metabench.training.tables import result_table


def shown(experiment: str) -> str:
    ours = {"mean": 0.9, "ci95": 0.01, "episodes": 600}
    test: dict[str, Any] = {"metric": "accuracy", "modes": {"inductive": ours}, "per_step": [{"step": 0, **ours}]}
    stream = io.StringIO()
    Console(file=stream, width=200).print(result_table({"test": test, "published": published(experiment)}))
    return stream.getvalue()


@pytest.mark.parametrize(("experiment", "mark"), [("omniglot/cnp_5w1s", "†"), ("omniglot/maml_5w1s", "")])
def test_a_value_from_memory_has_a_dagger_and_a_footnote(experiment, mark):
    said = shown(experiment)
    value = "95.30%" if mark else "98.70 ± 0.40%"
    assert f"{value}{mark} " in said
    assert ("† quoted from memory" in said) == bool(mark)


def test_an_ensemble_is_said_beside_its_value():
    assert "Antoniou et al. 2019, table 1; an ensemble of 3 models" in shown("omniglot/mamlpp_20w1s")
