"""Exported weights are the chosen ones, load back into the same model, and say what they are."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from program import SINUSOID, only_run, run_metabench, summary
from safetensors import safe_open
from safetensors.torch import load_file

from metabench.runs.reader import RunReader
from metabench.runs.run_dir import load_best
from metabench.training.restore import trained


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "work"
    folder.mkdir()
    assert run_metabench(*SINUSOID, cwd=folder).code == 0
    return folder


def test_the_weights_load_back_into_the_model(work):
    run = only_run(work)
    done = run_metabench("export", str(run), "-o", "mine.safetensors", cwd=work)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [f"written to mine.{end}" for end in ("safetensors", "json", "md")]
    weights = load_file(work / "mine.safetensors")
    chosen = load_best(run)
    assert weights.keys() == chosen["algo"].keys()
    assert all(torch.equal(weights[name], chosen["algo"][name]) for name in weights)
    algo, source = trained(RunReader(run))
    tasks = source.sample("validation", 0, 2)
    expected = algo.eval().evaluate(tasks)
    for parameter in algo.parameters():
        parameter.data.zero_()
    algo.load_state_dict(weights)
    assert torch.equal(algo.evaluate(tasks)["mse"], expected["mse"])


def test_the_card_says_what_they_are(work):
    run = only_run(work)
    assert run_metabench("export", str(run), cwd=work).code == 0
    card, made = json.loads((work / "model.json").read_text()), summary(run)
    content = (work / "model.safetensors").read_bytes()
    assert card["weights"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert card["weights"]["meta_step"] == made["selected"]["step"]
    assert card["protocol"] == made["protocol"]
    assert card["test"]["mean"] == made["test"]["mean"]
    assert card["config"]["algo"]["_target_"] == "metabench.algo.maml.MAML"
    page = (work / "model.md").read_text()
    assert 'load_file("model.safetensors")' in page
    assert made["protocol"]["hash"] in page
    with safe_open(work / "model.safetensors", "pt") as file:
        assert file.metadata()["protocol"] == made["protocol"]["hash"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("RUN", "-o", "model.pt"), "--output model.pt: should end in .safetensors"),
        (("RUN", "-o", "no/model.safetensors"), "--output no/model.safetensors: there is no folder no"),
        ((".",), ".: is not finished: no status"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line(arguments, said, work):
    done = run_metabench("export", *(str(only_run(work)) if a == "RUN" else a for a in arguments), cwd=work)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"metabench: {said}")
    assert done.err.count("\n") == 1
