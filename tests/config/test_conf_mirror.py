"""The configuration mirrors the code: one file a choice, and every choice composes."""

from __future__ import annotations

import inspect
import json
import pkgutil
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest
from build import ALGOS, CONF, composed
from data_tasks import DATA, FIRST, raw

import metabench
from metabench.algo.base import Algorithm
from metabench.backbone.base import Backbone
from metabench.cli.commands.validate import check
from metabench.config.catalog import OPTIONAL, description
from metabench.config.compose import compose_plain
from metabench.data.base import TaskSource
from metabench.runs.run_id import digest, identity
from metabench.tracker.base import Tracker

RECORD = Path(__file__).parent / "golden" / "experiments.json"
GROUPS = {"algo": Algorithm, "data": TaskSource, "backbone": Backbone, "tracker": Tracker}
FILES = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml"))
RECIPES = [name for name in FILES if name.startswith("recipe/") and "/_" not in name]  # which others include
EXPERIMENTS = [name.removeprefix("experiment/") for name in FILES if name.startswith("experiment/")]


def names(group: str) -> list[str]:
    return [name.removeprefix(f"{group}/") for name in FILES if name.startswith(f"{group}/")]


def classes(group: str) -> dict[str, str]:
    """Concrete classes of a group's package by dotted path, and the module each is in."""
    package = import_module(f"metabench.{group}")
    modules = [import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    return {
        f"{module.__name__}.{name}": module.__name__.rpartition(".")[2]
        for module in modules
        for name, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, GROUPS[group]) and not inspect.isabstract(cls) and cls.__module__ == module.__name__
    }


def target(group: str, name: str) -> str:
    node = raw(f"{group}/{name}")
    return node.get("_target_") or target(
        group, next(d for d in node["defaults"] if isinstance(d, str) and d != "_self_")
    )


@pytest.mark.parametrize("name", FILES)
def test_every_file_opens_with_what_it_is(name):
    assert name.startswith("hydra/") or description(CONF / f"{name}.yaml")


def test_the_groups_that_may_be_left_out_are_those_of_no_choice():
    defaults = [entry for entry in raw("config")["defaults"] if isinstance(entry, dict)]
    assert {group for entry in defaults for group, choice in entry.items() if choice is None} == OPTIONAL


@pytest.mark.parametrize("group", GROUPS)
def test_a_file_is_named_as_the_module_of_its_class(group):
    modules = classes(group)
    for name in names(group):
        module = modules[target(group, name)]
        if module == "image_folder":  # one class, and a file for each published set of images
            assert name == "images" or "images" in raw(f"{group}/{name}")["defaults"]
            continue
        assert name == module or (name.startswith(f"{module}_") and "_target_" not in raw(f"{group}/{name}"))


@pytest.mark.parametrize("group", GROUPS)
def test_every_class_has_a_file(group):
    used = {target(group, name) for name in names(group)}
    base = {"metabench.data.few_shot.FewShotImages"}  # of the image sets, and not for a configuration
    assert classes(group).keys() - base == used


FOLLOWERS = [name for name in names("backbone") if "recipe/norm" in str(raw(f"backbone/{name}").get("defaults"))]


def recipe_of(name: str) -> tuple[str, str, str]:
    """The kind of a recipe (task, normalisation or backbone), which of them it is for, and the algorithm."""
    _, layer, choice, algo = name.split("/")
    return layer, choice, algo


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_for_something_there_is(name):
    layer, choice, algo = recipe_of(name)
    known = {"task": DATA.values(), "norm": ["batch"], "backbone": names("backbone"), "bench": names("bench")}
    assert choice in known[layer]
    assert algo in ALGOS


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_a_run_gets(name):
    layer, choice, algo = recipe_of(name)
    if layer == "bench":
        return  # sets lengths by the budget; tests/config/test_one_test_for_all.py
    expected = raw(name)
    expected.pop("defaults", None)
    data = FIRST[choice if layer == "task" else "few_shot"]
    for backbone in {"task": [], "norm": FOLLOWERS, "backbone": [choice]}[layer] or [None]:
        options = [f"algo={algo}", f"data={data}", *([f"backbone={backbone}"] if backbone else [])]
        config = composed(*options).model_dump(by_alias=True)
        assert_within(expected, config, config)


@pytest.mark.parametrize("backbone", names("backbone"))
def test_a_backbone_of_running_statistics_has_those_that_the_method_needs(backbone):
    """One that its file does not let follow trains MAML with running statistics, and nothing says so."""

    def statistics(algo: str) -> str:
        return composed(f"algo={algo}", "data=glyphs", f"backbone={backbone}").backbone["statistics"]

    if statistics("protonet") == "running":
        assert (statistics("maml"), statistics("lstm")) == ("batch", "pooled")


def assert_within(expected: dict, found: dict, root: dict) -> None:
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_within(value, found[key], root)
        elif isinstance(value, str) and value.startswith("${"):
            group, _, name = value[2:-1].partition(".")
            assert found[key] == root[group][name]
        else:
            assert found[key] == value, key


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_built(name):
    assert check((f"experiment={name}",))[2:] == (None, None)


@pytest.mark.slow
def test_every_experiment_composes_to_what_is_on_record():
    """A changed configuration is another experiment: `python tests/config/test_conf_mirror.py` records it knowingly."""
    assert digests() == json.loads(RECORD.read_text())


def digests() -> dict[str, str]:
    with ProcessPoolExecutor() as pool:
        return dict(zip(EXPERIMENTS, pool.map(composition_digest, EXPERIMENTS, chunksize=8), strict=True))


def composition_digest(experiment: str) -> str:
    plain = compose_plain(f"experiment={experiment}")
    return f"{identity(plain)} {digest(plain['published'])[:8]}"


def test_the_installed_configuration_is_this_one():
    package = import_module("metabench.conf")
    assert [CONF.samefile(path) for path in package.__path__] == [True]
    assert CONF.parent.joinpath("metabench").samefile(metabench.__path__[0])


if __name__ == "__main__":
    RECORD.write_text(json.dumps(digests(), indent=1) + "\n")
