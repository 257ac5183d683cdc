"""The command line as a user meets it: help, lists and completion, and one run from beginning to end."""

from __future__ import annotations

import re
import shlex
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from paths import CONF
from program import SINUSOID, Ended, only_run, records, run_fresh, run_metabench, run_on_terminal, summary

from metabench.config.catalog import GROUPS
from metabench.evaluation.evaluate import estimate
from metabench.runs.run_id import identity
from metabench.utils.files import read_json

CHOICES = {
    g: [p.relative_to(CONF / g).with_suffix("").as_posix() for p in (CONF / g).rglob("*.yaml") if p.name[0] != "_"]
    for g in GROUPS
}
COMPLETE = ("metabench", "-sc", "query=bash")


@pytest.fixture
def no_torch(tmp_path):
    """An environment in which importing torch ends the program."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    return {"PYTHONPATH": str(tmp_path)}


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> tuple[Path, Ended]:
    """A run in a pipe, started from nothing in another working directory: where, and what it said."""
    cwd = tmp_path_factory.mktemp("work")
    return cwd, run_fresh("metabench", *SINUSOID, cwd=cwd)


def typed(line: str) -> dict[str, str]:
    return {"COMP_LINE": line, "COMP_POINT": str(len(line))}


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["ls"]])
def test_help_and_list_name_every_config_without_torch(arguments, no_torch, tmp_path):
    done = run_fresh("metabench", *arguments, cwd=tmp_path, env=no_torch)
    assert (done.code, done.err) == (0, "")
    for group, names in CHOICES.items():
        shown = names if arguments == ["ls"] else [name.partition("/")[0] + "/…" * ("/" in name) for name in names]
        assert {group, *shown} <= set(re.split(r"[\s=]+", done.out))


def test_list_of_one_group_says_what_each_is(no_torch, tmp_path):
    done = run_fresh("metabench", "ls", "algo", cwd=tmp_path, env=no_torch)
    assert re.search(r"^ *maml +MAML: a few gradient steps from a learned initialisation", done.out, re.MULTILINE)
    assert "sinusoid" not in done.out


def test_every_config_opens_with_its_description():
    for group, names in CHOICES.items():
        for name in names:
            opening = re.sub(r"^# @package .*\n", "", (CONF / group / f"{name}.yaml").read_text())
            assert re.match(r"# \w", opening), f"{group}/{name}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("metabench algo=", {f"algo={name}" for name in CHOICES["algo"]}),
        ("metabench data=g", {f"data={name}" for name in CHOICES["data"] if name.startswith("g")}),
        ("metabench algo.inn", {"algo.inner_lr=", "algo.inner_steps="}),
        ("metabench algo=reptile algo.inner_o", {"algo.inner_optimizer="}),
    ],
)
def test_completion_without_torch(line, expected, no_torch, tmp_path):
    done = run_fresh(*COMPLETE, cwd=tmp_path, env=no_torch | typed(line))
    assert (done.code, set(done.out.split()), done.err) == (0, expected, "")


@pytest.mark.parametrize("arguments", [["--cfg", "job"], ["train.steps=-1"], ["algo=mamml"]])
def test_composing_and_checking_need_no_torch(arguments, no_torch, tmp_path):
    done = run_fresh("metabench", *arguments, cwd=tmp_path, env=no_torch)
    assert "torch was imported" not in done.err
    assert done.code == (0 if arguments[0] == "--cfg" else 2)


def test_only_a_run_imports_torch(no_torch, tmp_path):
    assert run_fresh("metabench", *SINUSOID, cwd=tmp_path, env=no_torch).err == "torch was imported\n"


@pytest.mark.parametrize("command", [["metabench"], ["python", "-m", "metabench"]], ids=" ".join)
def test_version(command, tmp_path):
    assert run_fresh(*command, "--version", cwd=tmp_path).out == f"metabench {version('metabench')}\n"


def test_a_run_leaves_its_files(first):
    cwd, _ = first
    run = only_run(cwd)
    files = {"config.yaml", "environment.json", "metrics.jsonl", "status.json", "episodes.json", "summary.json"}
    files |= {"run.log"}
    tensors = {"checkpoints/last.pt", "checkpoints/best.pt"}  # the one before the last is of no use any more
    found = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    assert found - {".lock"} == files | tensors
    assert run.parent == cwd / "outputs/sinusoid/maml"
    assert [path.name for path in cwd.iterdir()] == ["outputs"]


def test_a_summary_says_what_was_measured_and_how(first):
    found = summary(only_run(first[0]))
    assert found["status"] == "complete"
    assert re.fullmatch("[0-9a-f]{12}", found["protocol"]["hash"])
    assert found["identity"] == only_run(first[0]).name
    test = found["test"]
    assert (test["metric"], test["episodes"], len(test["per_step"])) == ("mse", 8, 11)
    assert test["mean"] == test["per_step"][-1]["mean"] > 0 < test["ci95"]
    assert test["seconds"] > 0
    assert found["environment"]["command"] == f"metabench {shlex.join(SINUSOID)}"


def test_the_figure_of_every_test_task_is_kept(first):
    run = only_run(first[0])
    kept, test = read_json(run / "episodes.json"), summary(run)["test"]
    assert (kept["metric"], kept["modes"].keys()) == (test["metric"], test["modes"].keys())
    for mode, values in kept["modes"].items():
        assert len(values) == test["modes"][mode]["episodes"]
        assert asdict(estimate(torch.tensor(values))) == pytest.approx(test["modes"][mode])
    assert (run / "episodes.json").stat().st_mtime_ns <= (run / "summary.json").stat().st_mtime_ns


def test_metrics_have_a_line_an_interval(first):
    lines = [(line["split"], line["step"]) for line in records(only_run(first[0]))]
    assert [step for split, step in lines if split == "train"] == [5, 10, 15, 20]
    assert [step for split, step in lines if split == "validation"] == [10, 20]


def test_a_pipe_gets_plain_lines(first):
    _, done = first
    assert (done.code, done.err) == (0, "")
    assert not set(done.out) & {"\x1b", "\r", "\b"}
    assert "meta-training 20/20" in done.out
    assert f"written to {only_run(first[0]).relative_to(first[0])}" in done.out


@pytest.mark.slow
def test_an_output_that_knows_ascii_only_does_not_fail_a_run(first):
    cwd, _ = first
    for command in (SINUSOID, ["ls"]):
        done = run_fresh("metabench", *command, cwd=cwd, env={"PYTHONIOENCODING": "ascii"})
        assert (done.code, done.err) == (0, "")


def test_a_terminal_gets_a_live_bar(tmp_path):
    shown = run_on_terminal(*SINUSOID, cwd=tmp_path)
    assert "\x1b[" in shown
    assert re.search(r"meta-training \d+/20.*━", shown)
    assert summary(only_run(tmp_path))["status"] == "complete"


def test_a_finished_run_is_shown_and_not_trained_again(first):
    cwd, done = first
    before = {path: path.read_bytes() for path in only_run(cwd).rglob("*") if path.is_file()}
    again = run_metabench(*SINUSOID, cwd=cwd)
    assert again.code == 0
    assert "finished before" in again.out
    assert done.out[done.out.index("meta-test\n") :].startswith(again.out[again.out.index("meta-test\n") :])
    assert before == {path: path.read_bytes() for path in only_run(cwd).rglob("*") if path.is_file()}


def test_the_log_of_a_run_is_what_was_shown(first):
    _, done = first
    begun, *lines = (only_run(first[0]) / "run.log").read_text().strip().splitlines()
    assert begun.endswith(f"  metabench {shlex.join(SINUSOID)}")
    assert lines == [line.rstrip() for line in done.out.rstrip().splitlines()]


def test_a_name_is_part_of_the_folder_and_not_of_the_run(first):
    cwd, _ = first
    done = run_metabench(*SINUSOID, "name=first-try", "train.steps=0", cwd=cwd.parent)
    assert (done.code, done.err) == (0, "")
    (run,) = cwd.parent.glob("outputs/sinusoid/maml/*")
    assert run.name == f"first-try-{summary(run)['identity']}"
    assert identity(yaml.safe_load((run / "config.yaml").read_text())) == summary(run)["identity"]


def test_the_config_of_a_run_has_its_identity(first):
    run = only_run(first[0])
    assert identity(yaml.safe_load((run / "config.yaml").read_text())) == run.name


def test_the_config_of_a_run_as_overrides_is_that_run(first):
    cwd, _ = first
    config = yaml.safe_load((only_run(cwd) / "config.yaml").read_text())
    assert config.pop("tracker") is None  # a group: no tracker is chosen by naming none
    overrides = flat(config)
    again = run_metabench(*overrides, cwd=cwd)
    assert (again.code, again.err) == (0, "")
    assert "finished before" in again.out


def test_a_checkpoint_is_tested_another_way(first):
    cwd, _ = first
    run = only_run(cwd)
    again = ("train.steps=0", f"init={run}", "validate.every=1")
    for changes, equal in ([], True), (["data.shots=5"], False):
        path = cwd.parent / f"again{equal}"
        assert run_metabench(*SINUSOID, *again, f"run_dir={path}", *changes, cwd=cwd).code == 0
        assert (summary(path)["test"]["per_step"] == summary(run)["test"]["per_step"]) == equal
        assert not list((path / "checkpoints").iterdir())


def test_a_home_directory_is_expanded(tmp_path):
    home = {"HOME": str(tmp_path / "home")}
    for name, init in ("a", "null"), ("b", "'~/a'"):
        assert run_metabench(*SINUSOID, f"run_dir='~/{name}'", f"init={init}", cwd=tmp_path, env=home).code == 0
    assert {path.name for path in (tmp_path / "home").iterdir()} == {"a", "b"}


def flat(node: dict, prefix: str = "") -> list[str]:
    found = []
    for key, value in node.items():
        if isinstance(value, dict):
            found += flat(value, f"{prefix}{key}.")
        else:
            text = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
            found.append(f"{prefix}{key}={text}")
    return found


def interrupt() -> None:
    """A patch: Ctrl-C before a run has begun."""
    import metabench.training.execute

    def stopped(*_):
        raise KeyboardInterrupt

    metabench.training.execute.execute = stopped


def test_ctrl_c_before_a_run_has_begun(tmp_path):
    done = run_metabench(*SINUSOID, cwd=tmp_path, patch=interrupt)
    assert (done.code, done.out, done.err) == (130, "", "metabench: stopped\n")
