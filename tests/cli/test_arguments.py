"""Flags and overrides in any order, what is recorded of them, and Hydra's own page."""

from __future__ import annotations

import os
import re
import shlex
from textwrap import dedent

import pytest
from program import SINUSOID, run_fresh, run_metabench

from metabench.cli.arguments import flags_first, split_config_dir
from metabench.cli.commands import WORDS
from metabench.cli.completion import complete
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


@pytest.mark.parametrize(
    ("given", "rest", "folder"),
    [
        ("--config-dir a ls algo", "ls algo", "a"),
        ("test RUN --config-dir=a data.ways=3", "test RUN data.ways=3", "a"),
        ("seed=3 -cd a --cfg job", "seed=3 --cfg job", "a"),
        ("--config-d a=b -m", "-m", "a=b"),
        ("--config-name x ls --config-dir", "--config-name x ls --config-dir", None),
    ],
)
def test_the_folder_of_configs_may_stand_anywhere(given, rest, folder):
    assert split_config_dir(given.split()) == (rest.split(), folder)


def test_the_folder_of_configs_before_a_command_and_files_that_are_not_read(tmp_path):
    (tmp_path / "mine/algo").mkdir(parents=True)
    (tmp_path / "mine/algo/yours.yaml").write_text("# my method\n")
    (tmp_path / "mine/algo/his.yml").write_text("# his method\n")
    done = run_metabench("--config-dir", "mine", "ls", "algo", cwd=tmp_path)
    assert done.code == 0
    assert "my method" in done.out
    assert "his method" not in done.out
    assert done.err == "metabench: warning: mine/algo/his.yml: not read; configs end in .yaml\n"


def test_configs_of_a_plugin_are_listed(tmp_path):
    plugin = """
        from hydra.core.config_search_path import ConfigSearchPath
        from hydra.plugins.search_path_plugin import SearchPathPlugin


        class Mine(SearchPathPlugin):
            def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
                search_path.append("mine", "pkg://mine_configs")
    """
    (tmp_path / "hydra_plugins/mine").mkdir(parents=True)
    (tmp_path / "hydra_plugins/mine/__init__.py").write_text(dedent(plugin))
    (tmp_path / "mine_configs/algo").mkdir(parents=True)
    (tmp_path / "mine_configs/algo/theirs.yaml").write_text("# from a plugin\ndefaults: [maml]\n")
    done = run_fresh("metabench", "ls", "algo", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert (done.code, done.err) == (0, "")
    assert re.search(r"theirs +from a plugin", done.out)
    assert re.search(r"\bmaml +MAML", done.out)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("metabench sh", {"show"}),
        ("metabench ", {*WORDS}),
        ("metabench --config-dir mine rep", {"report"}),
        ("metabench plot cu", {"curves"}),
        ("metabench plot curves --sp", {"--split"}),
        ("metabench ls ba", {"backbone"}),
        ("metabench rm --", {"--help", "--yes", "--checkpoints"}),
        ("metabench validate sinusoid/maml_k1", {"sinusoid/maml_k10"}),
        ("metabench report out", set()),  # a folder: the shell's own
    ],
)
def test_tab_completes_commands_their_flags_and_choices(line, expected, monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", line)
    complete()
    assert set(capsys.readouterr().out.split()) == expected


def test_tab_leaves_overrides_to_hydra(monkeypatch, capsys):
    for line, passed in (("metabench tune algo.inn", "metabench algo.inn"), ("metabench re", "metabench re")):
        monkeypatch.setenv("COMP_LINE", line)
        assert not complete()
        assert os.environ["COMP_LINE"] == passed


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
