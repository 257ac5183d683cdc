"""A user's file wins over the program's of that name, in every group and by every way in; published values do not."""

from __future__ import annotations

import os
from pathlib import Path

import hydra
import pytest
import yaml
from omegaconf import OmegaConf
from paths import CONF
from program import run_metabench

from metabench.config.catalog import entries, folders
from metabench.config.compose import compose, compose_plain
from metabench.errors import UserError

EXPERIMENT = "sinusoid/maml_k5"
# A file of each group, what a user's of that name changes, and a command line that reads it.
FILES = {
    "algo/maml.yaml": ("inner_lr: 0.7", "algo.inner_lr", 0.7),
    "data/sinusoid.yaml": ("shots: 7", "data.shots", 7),
    "backbone/mlp.yaml": ("hidden: [7]", "backbone.hidden", [7]),
    "optim/adam.yaml": ("lr: 0.7", "optim.lr", 0.7),
    "device/cpu.yaml": ("threads: 7", "device.threads", 7),
    "task/regression.yaml": ("eval_seed: 7", "data.eval_seed", 7),
    "recipe/task/regression/cnp.yaml": ("train: {steps: 7}", "train.steps", 7),
    "budget/smoke.yaml": ("log: {every: 7}", "log.every", 7),
    "suite/sinusoid.yaml": ("tests: {mine: [data.shots=7]}", "tests.mine", ["data.shots=7"]),
    f"experiment/{EXPERIMENT}.yaml": ("seed: 7", "seed", 7),
}
COMMANDS = {
    "device/cpu.yaml": ["device=cpu"],
    "recipe/task/regression/cnp.yaml": ["algo=cnp"],
    "budget/smoke.yaml": ["budget=smoke"],
    "suite/sinusoid.yaml": ["suite=sinusoid"],
    f"experiment/{EXPERIMENT}.yaml": [f"experiment={EXPERIMENT}"],
}


def write(folder: Path, name: str, text: str) -> Path:
    """A user's file that includes the program's of the same name, with `text` after it."""
    group = "recipe/task" if name.startswith("recipe/") else name.partition("/")[0]
    own = name.removeprefix(f"{group}/").removesuffix(".yaml")
    head = (CONF / name).read_text().splitlines()[0]
    header = f"{head}\n" if "@package" in head else ""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{header}# mine\ndefaults: [{own}, _self_]\n{text}\n")
    return folder


@pytest.mark.parametrize("name", FILES)
def test_a_users_file_wins_and_may_include_the_programs(name, tmp_path):
    text, key, value = FILES[name]
    mine = write(tmp_path, name, text)
    command = COMMANDS.get(name, [])
    found, ours = compose_plain(*command, config_dir=str(mine)), compose_plain(*command)
    assert OmegaConf.select(OmegaConf.create(found), key) == value
    assert OmegaConf.select(OmegaConf.create(ours), key) != value
    by_search_path = compose_plain(*command, f'hydra.searchpath=["file://{mine}"]')
    assert by_search_path == found


@pytest.mark.parametrize(
    ("name", "key", "command"),
    [
        ("algo/maml.yaml", "algo.inner_lr", ["data=omniglot"]),
        ("algo/maml.yaml", "algo.inner_lr", ["bench=omniglot"]),
        ("backbone/conv4.yaml", "backbone.pool", ["data=omniglot", "algo=anil"]),
        ("backbone/conv4.yaml", "backbone.statistics", ["data=omniglot", "algo=anil"]),
    ],
)
def test_a_recipe_of_the_program_sets_nothing_over_a_users_file(name, key, command, tmp_path):
    value = {"algo.inner_lr": 0.7, "backbone.pool": "max", "backbone.statistics": "running"}[key]
    mine = write(tmp_path, name, f"{key.partition('.')[2]}: {value}")
    assert OmegaConf.select(OmegaConf.create(compose_plain(*command)), key) != value
    assert OmegaConf.select(OmegaConf.create(compose_plain(*command, config_dir=str(mine))), key) == value


def test_a_recipe_that_another_includes_is_read_whatever_the_user_has_of_its_name(tmp_path):
    mine = write(tmp_path, "algo/maml.yaml", "inner_lr: 0.7")
    command = ["data=omniglot", "algo=anil"]  # its recipes include those of maml
    assert compose_plain(*command, config_dir=str(mine))["backbone"] == compose_plain(*command)["backbone"]


def test_a_users_variant_of_a_backbone_has_the_statistics_that_the_method_needs(tmp_path):
    write(tmp_path, "backbone/conv4.yaml", "filters: 32")
    (tmp_path / "backbone/mine.yaml").write_text("defaults: [conv4, _self_]\nfilters: 16\n")
    for command in (["data=omniglot"], ["data=omniglot", "backbone=mine"]):
        assert compose_plain(*command, config_dir=str(tmp_path))["backbone"]["statistics"] == "batch"


def test_a_users_recipe_is_read_beside_a_users_algorithm(tmp_path):
    write(tmp_path, "algo/maml.yaml", "inner_lr: 0.7")
    recipe = tmp_path / "recipe/task/regression/maml.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text("# @package _global_\ntrain: {steps: 7}\n")
    found = compose_plain("data=sinusoid", config_dir=str(tmp_path))
    assert (found["algo"]["inner_lr"], found["train"]["steps"]) == (0.7, 7)


@pytest.mark.parametrize("spelling", ["my", "my/", "./my", "{cwd}/my", "link", "../work/my"])
def test_the_command_line_composes_what_python_does_and_ls_lists_it(spelling, tmp_path):
    cwd = tmp_path / "work"
    write(cwd / "my", "algo/maml.yaml", "inner_lr: 0.7")
    (cwd / "link").symlink_to("my")
    place = spelling.format(cwd=cwd)
    done = run_metabench("algo=maml", "--cfg", "job", "--config-dir", place, cwd=cwd)
    assert done.code == 0, done.err
    assert yaml.safe_load(done.out)["algo"]["inner_lr"] == 0.7
    listed = run_metabench("ls", "algo", "--config-dir", place, cwd=cwd)
    assert [line.split() for line in listed.out.splitlines() if " mine" in line] == [["maml", "mine"]]


def test_the_primary_configuration_stays_the_programs(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 7\n")
    assert compose_plain(config_dir=str(tmp_path)) == compose_plain()


def test_a_circle_is_refused_in_one_line(tmp_path):
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo/maml.yaml").write_text("defaults: [anil]\n")
    done = run_metabench("--config-dir", ".", cwd=tmp_path)
    assert (done.code, done.err) == (2, "metabench: a configuration includes itself, or a value contains itself\n")


def test_no_published_value_stands_beside_a_users_file_with_a_name_of_ours(tmp_path):
    assert compose(f"experiment={EXPERIMENT}").published is not None
    mine = write(tmp_path / "a", f"experiment/{EXPERIMENT}.yaml", "seed: 7")
    assert compose(f"experiment={EXPERIMENT}", config_dir=str(mine)).published is None
    part = write(tmp_path / "b", "algo/maml.yaml", "inner_lr: 0.7")
    assert compose(f"experiment={EXPERIMENT}", config_dir=str(part)).published is None
    other = tmp_path / "c/algo"
    other.mkdir(parents=True)
    (other / "mine.yaml").write_text("defaults: [maml]\n")
    assert compose(f"experiment={EXPERIMENT}", config_dir=str(other.parent)).published is not None


def test_a_folder_that_is_not_there_or_replaces_ours(tmp_path):
    with pytest.raises(UserError, match="--config-dir nowhere: no such folder"):
        compose(config_dir="nowhere")
    assert "--config-dir adds yours" in run_metabench("--config-path", str(tmp_path), cwd=tmp_path).err


def test_linked_folders_are_listed_once(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.yaml").write_text("# one\n")
    group = tmp_path / "my/experiment"
    group.mkdir(parents=True)
    (group / "linked").symlink_to(tmp_path / "elsewhere")
    (group / "circle").symlink_to(group)
    found = entries("experiment", [tmp_path / "my"])
    assert found["linked/a"] == "one"
    assert len(found) <= 2


def test_compose_within_a_hydra_program_leaves_it_as_it_was(tmp_path):
    (tmp_path / "theirs.yaml").write_text("seed: 9\n")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.2"):
        assert compose("seed=3").seed == 3
        assert hydra.compose("theirs") == {"seed": 9}
        assert str(hydra.version.getbase()) == "1.2"
    assert compose("seed=4").seed == 4


def test_the_folders_of_a_list_are_in_the_order_of_composing(tmp_path):
    assert folders(str(tmp_path))[0] == tmp_path
    assert os.path.samefile(folders(str(tmp_path))[1], CONF)  # noqa: PTH121
