"""`metabench validate`: builds what is configured without data, and says in a line what cannot be built."""

from __future__ import annotations

import pytest
from program import run_metabench

from metabench.cli.commands import validate
from metabench.cli.commands.validate import Checked, check
from metabench.config.catalog import entries, program_folders

BASE = "# @package _global_\n# of a test\ndefaults:\n  - override /data: sinusoid\n  - _self_\n\n"
ROW = "row: MAML, column: 5-shot, source: a paper"
FAULTS = {
    "unknown_key": ("algo: {inner_step: 3}", "algo.inner_step=3: no such key; did you mean inner_steps?"),
    "wrong_value": ("train: {tasks: 0}", "train.tasks=0: should be greater than or equal to 1"),
    "no_such_algo": ("defaults: [override /algo: mamml]", "algo=mamml: no such algo; did you mean maml?"),
    "does_not_fit": ("defaults: [override /algo: protonet]", "algo=protonet: classification method"),
    "other_metric": (
        f"published: {{value: 0.9, metric: accuracy, {ROW}}}",
        "published.metric=accuracy: this run reports",
    ),
    "other_mode": (
        f"published: {{value: 0.9, metric: mse, prediction: transductive, {ROW}}}",
        "published.prediction=transductive: this run's is inductive",
    ),
    "no_such_step": (
        f"published: {{value: 0.9, metric: mse, at: 11, {ROW}}}",
        "published.at=11: this run reports 0 to 10",
    ),
    "not_the_last": (f"published: {{value: 0.9, metric: mse, at: 9, {ROW}}}", "published.at=9: the headline should be"),
}


def test_faults_are_found_and_said_in_a_line_each(tmp_path):
    work = tmp_path / "work"
    (work / "conf/experiment").mkdir(parents=True)
    for name, (text, _) in FAULTS.items():
        base = "# @package _global_\n# of a test\n" if text.startswith("defaults") else BASE
        (work / f"conf/experiment/{name}.yaml").write_text(f"{base}{text}\n")
    done = run_metabench("validate", "--config-dir=conf", *FAULTS, "sinusoid/maml_k10", cwd=work)
    assert done.code == 1
    assert done.err == f"metabench: {len(FAULTS)} of {len(FAULTS) + 1} are at fault\n"
    lines = [line for line in done.out.splitlines() if line.startswith("experiment=")]
    for line, (name, (_, expected)) in zip(lines, FAULTS.items(), strict=True):
        assert line.startswith(f"experiment={name}: ")
        assert expected in line


def test_what_can_be_built_is_shown_with_its_cost_and_no_data_is_read(tmp_path):
    home = {"HOME": str(tmp_path / "home"), "METABENCH_DATA": str(tmp_path / "nowhere")}
    done = run_metabench("validate", "omniglot/maml_5w1s", "sinusoid/maml_k5", cwd=tmp_path, env=home)
    assert (done.code, done.err) == (0, "")
    said = " ".join(done.out.split())
    assert "omniglot/maml_5w1s 60,000 meta-steps of 32 tasks, 600 test tasks 98.70 ± 0.40% Finn et al. 2017" in said
    assert "2 configurations, all can be built" in said
    assert list(tmp_path.iterdir()) == []


def test_a_value_from_memory_is_marked_and_an_ensemble_said(tmp_path):
    done = run_metabench("validate", "omniglot/cnp_5w1s", "omniglot/mamlpp_20w1s", cwd=tmp_path)
    said = " ".join(done.out.split())
    assert "95.30%† Garnelo et al. 2018" in said
    assert "97.65% Antoniou et al. 2019, table 1; an ensemble of 3 models" in said
    assert "† quoted from memory" in said


def test_every_algorithm_is_built_with_every_backbone_on_one_data_set(monkeypatch, capsys):
    asked, unfit = [], ("algo=boil", "backbone=mlp_pixels")

    def check_all(lines, config_dir):
        asked.extend(lines)
        return [Checked(line, misfit="no" if line[:2] == unfit else None) for line in lines]

    monkeypatch.setattr(validate, "check_all", check_all)
    validate.main([])
    pairs = [line for line in asked if len(line) == 3]
    assert ("algo=maml", "backbone=resnet12", "data=omniglot") in pairs
    assert len({*pairs}) == len(entries("algo", program_folders())) * len(entries("backbone", program_folders()))
    said = " ".join(capsys.readouterr().out.split())
    assert f"{len(pairs)} pairs, {len(pairs) - 1} built; -: they do not fit" in said
    assert f"{len(asked)} configurations, all can be built" in said


def test_a_backbone_that_a_method_cannot_use_is_no_fault_where_it_is_asked_for():
    assert check(("algo=maml", "backbone=resnet12", "data=omniglot"))[2:] == (None, None)
    assert "no feature maps" in check(("algo=relationnet", "backbone=mlp", "data=omniglot")).misfit
    assert "needs 4x4 or more" in check(("algo=relationnet", "data=omniglot", "backbone.halvings=4")).fault


def test_a_backbone_whose_statistics_a_method_cannot_use_is_a_fault(tmp_path):
    (tmp_path / "backbone").mkdir()
    (tmp_path / "backbone/mine.yaml").write_text("# mine\ndefaults: [conv4, _self_]\nstatistics: pooled\n")
    found = check(("algo=maml", "backbone=mine", "data=omniglot"), str(tmp_path))
    assert "MAML adapts them per task" in found.fault


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["omniglot/mal_5w1s"], "experiment=omniglot/mal_5w1s: no such experiment; did you mean omniglot/maml_5w1s?"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--config-dir=nowhere"], "--config-dir nowhere: no such folder"),
    ],
)
def test_bad_input_is_one_line(arguments, expected, tmp_path):
    done = run_metabench("validate", *arguments, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"metabench: {expected}")
    assert done.err.count("\n") == 1
