"""Flags and overrides in any order, what is recorded of them, and Hydra's own page."""

from __future__ import annotations

import shlex

import pytest
from program import SINUSOID, run_fresh, run_metabench

from metabench.cli.arguments import flags_first
from metabench.utils.files import read_json


@pytest.mark.parametrize(
    ("given", "arranged"),
    [
        ("seed=3 --config-dir my=conf", "--config-dir my=conf seed=3"),
        ("seed=3 -cd my=conf -m algo=maml", "-cd my=conf -m seed=3 algo=maml"),
        ("seed=3 --config-d my=conf", "--config-d my=conf seed=3"),
        ("seed=3 --config-dir=my=conf --cfg job", "--config-dir=my=conf --cfg job seed=3"),
        ("-i seed=3", "-i seed=3"),
        ("~train.steps -p a.b seed=3 --config-dir", "-p a.b --config-dir ~train.steps seed=3"),
    ],
)
def test_flags_come_first_with_their_values(given, arranged):
    assert flags_first(given.split()) == arranged.split()


def test_a_folder_with_an_equals_sign_after_overrides(tmp_path):
    (tmp_path / "my=conf/algo").mkdir(parents=True)
    (tmp_path / "my=conf/algo/mine.yaml").write_text("defaults: [maml]\ninner_lr: 0.7\n")
    done = run_metabench("algo=mine", "--config-dir", "my=conf", "--cfg", "job", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "inner_lr: 0.7" in done.out


@pytest.mark.parametrize("mode", [[], ["-m"]])
def test_the_recorded_command_can_be_pasted_back(mode, tmp_path):
    given = [*SINUSOID, *mode, "run_dir='with a space and \"quotes\"'"]
    done = run_metabench(*given, cwd=tmp_path)
    assert done.code == 0, done.err
    (run,) = tmp_path.glob("with*")
    command = read_json(run / "environment.json")["command"]
    assert shlex.split(command) == ["metabench", *given]


def test_hydras_own_page(tmp_path):
    done = run_fresh("metabench", "--hydra-help", "seed=1", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "hydra/launcher" in done.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["seed=range(0,2)"], ["-m", "seed=range(0,2)"], ["tune", "optim.lr=log(0.1,1)"]])
def test_python_without_assertions(command, tmp_path):
    done = run_fresh("metabench", *command, cwd=tmp_path, env={"PYTHONOPTIMIZE": "1"})
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "under PYTHONOPTIMIZE or python -O; unset it" in done.err


def test_a_sweeper_that_there_is_not_points_to_tune(tmp_path):
    assert "metabench tune" in run_metabench("hydra/sweeper=optuna", cwd=tmp_path).err
