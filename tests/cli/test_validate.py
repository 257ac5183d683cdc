"""`metabench validate`: builds what is configured without data, and says in a line what cannot be built."""

from __future__ import annotations

import pytest
from program import run_metabench

BASE = "# @package _global_\n# of a test\ndefaults:\n  - override /data: sinusoid\n  - _self_\n\n"
ROW = "row: MAML, column: 5-shot, source: a paper"
FAULTS = {
    "unknown_key": ("algo: {inner_step: 3}", "algo.inner_step=3: no such key; did you mean inner_steps?"),
    "wrong_value": ("train: {tasks: 0}", "train.tasks=0: should be greater than or equal to 1"),
    "no_such_algo": ("defaults: [override /algo: mamml]", "algo=mamml: no such algo; did you mean maml?"),
    "no_such_row": ("published: ${published:mine}", "published=mine: no row of published.csv is of this experiment"),
    "does_not_fit": ("defaults: [override /algo: protonet]", "algo=ProtoNet: classification method"),
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
