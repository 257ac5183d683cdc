"""Runs and tests from Python: those of the command line, with their metrics, figures and folder."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hydra import initialize, version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.global_hydra import GlobalHydra
from made_runs import write_run
from program import SINUSOID, only_run, run_fresh, run_metabench

from metabench.api import ConfigError, UserError, compose, evaluate, run
from metabench.utils.signals import Interrupted

QUICK = (*SINUSOID, "engine=eager")


@pytest.fixture
def work(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_run_is_that_of_the_command_line(work, capsys):
    result = run("algo=maml", "data=sinusoid", *QUICK)
    assert "meta-test" in capsys.readouterr().out
    assert result.folder == only_run(work).relative_to(work)
    shown = run_metabench("algo=maml", "data=sinusoid", *QUICK, cwd=work)
    assert f"{result.folder}: finished before" in shown.out
    assert result.summary["environment"]["command"].startswith("metabench algo=maml data=sinusoid train.steps=20")
    assert result.metric == "mse"
    assert result.mean == pytest.approx(sum(result.episodes["inductive"]) / 8)
    assert result.metrics["inductive"].mean == result.mean
    assert [line["step"] for line in result.history()] == [10, 20]
    assert result.figures == {}
    assert repr(result).splitlines()[-1] == f"folder: {result.folder}"
    assert str(Path(result)) == str(result.folder)


def test_a_folder_of_its_own_and_silence(work, capsys):
    result = run(*QUICK, "train.steps=2", run_dir="my runs/a=b", quiet=True)
    assert capsys.readouterr().out == ""
    assert result.folder == Path("my runs/a=b")
    assert run_metabench(*QUICK, "train.steps=2", 'run_dir="my runs/a=b"', cwd=work).out.startswith(
        "my runs/a=b: finished"
    )
    assert 'run_dir="my runs/a=b"' in result.summary["environment"]["command"]


def test_a_test_is_that_of_the_command_line(work):
    result = run(*QUICK, "train.steps=2", quiet=True)
    found = evaluate(result, "data.shots=3", quiet=True)
    assert found.folder.parent == result.folder / "tests"
    assert found.summary["protocol"]["test"]["shots"] == 3
    assert math.isfinite(found.mean)
    with pytest.raises(ConfigError, match=r"train.steps=3: a test cannot set it"):
        evaluate(result, "train.steps=3")
    with pytest.raises(UserError, match="nowhere: no such folder"):
        evaluate("nowhere")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("algo=mamml", "algo=mamml: no such algo; did you mean maml?"),
        ("train.steps=many", "train.steps=many: should be a whole number"),
        ("seed=0,1", "seed=0,1: several values"),
        ("maml", "maml: should be KEY=VALUE"),
        ("-m", "'-m': should be a string"),
        (3, "3: should be a string"),
        ("seed=${nope}", "seed: "),
    ],
)
def test_bad_input_is_one_line(override, said, work):
    for call in (run, compose):
        with pytest.raises(UserError) as fault:
            call(override)
        assert str(fault.value).startswith(said)
        assert fault.value._render_traceback_() == [f"{type(fault.value).__name__}: {fault.value}"]
        assert "\n" not in str(fault.value)
    assert list(work.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data=5", "data=5: no such data; valid: "),
        ("data.shots", "data.shots: should be KEY=VALUE"),
        ("data.shots=[1", "data.shots=[1: should be KEY=VALUE"),
        ("-m", "'-m': should be a string"),
        (3, "3: should be a string"),
        (None, "None: should be a string"),
    ],
)
def test_a_bad_override_of_a_test_is_one_line(override, said, tmp_path):
    path = write_run(tmp_path / "run", "data=glyphs", "algo=protonet", metric="accuracy")
    with pytest.raises(UserError) as fault:
        evaluate(path, override)
    assert str(fault.value).startswith(said)
    assert "\n" not in str(fault.value)
    assert not (path / "tests").exists()


def test_ctrl_c_is_a_keyboard_interrupt(work, monkeypatch):
    def stopped(number):
        def execute(*_):
            raise Interrupted(number)

        monkeypatch.setattr("metabench.inference.results.execute", execute)

    stopped(2)
    with pytest.raises(KeyboardInterrupt, match="the same command continues"):
        run(*QUICK)
    stopped(15)
    with pytest.raises(SystemExit) as left:
        run(*QUICK)
    assert left.value.code == 143


def test_hydra_is_left_as_it_was(tmp_path):
    """Also where a notebook has initialised it for configurations of its own."""
    owners = (ConfigLoaderImpl.load_configuration, ConfigRepository.initialize_sources, ConfigRepository.load_config)
    with initialize(version_base="1.2", config_path=None):
        compose("algo=protonet", "data=glyphs")
        assert GlobalHydra.instance().is_initialized()
        assert str(version.getbase()) == "1.2"
    assert owners == (
        ConfigLoaderImpl.load_configuration, ConfigRepository.initialize_sources, ConfigRepository.load_config
    )  # fmt: skip


PROGRAM = """
import hydra
from metabench.api import load, run

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    result = run(f"algo.inner_lr={config.rate}", *config.overrides, quiet=True)
    print(config.rate, load(result).adapt([0, 1], [0, 1]).predict([0.5]).values.shape, result.metric)

main()
"""


@pytest.mark.slow
def test_within_a_hydra_program_of_the_user(work):
    """A sweep of it, whose second job is composed after metabench has run in its process."""
    (work / "conf").mkdir()
    (work / "conf/config.yaml").write_text(f"rate: 0.1\noverrides: [{', '.join(map(repr, QUICK))}]\n")
    (work / "program.py").write_text(PROGRAM)
    done = run_fresh("python", "program.py", "-m", "rate=0.001,0.002", cwd=work)
    assert (done.code, done.err) == (0, "")
    assert [line for line in done.out.splitlines() if "mse" in line] == ["0.001 (1,) mse", "0.002 (1,) mse"]
