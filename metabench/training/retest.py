"""Test a finished run another way: the weights it chose, other tasks, into a folder of its own below the run.

Nothing is trained. The test is a run of no meta-steps that begins with the checkpoint of the other, so it has a
protocol card, metrics of each task and a summary like any run; its card names the checkpoint by content. With
`experiment=NAME` it is that cell of a published table, where the cell asks for the same training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from metabench.config.build import arguments, check, component, section_keys, settled
from metabench.config.catalog import entries, folders
from metabench.config.compose import compose_plain
from metabench.config.schema import Config, Test
from metabench.errors import ConfigError, UserError, suggest
from metabench.runs.experiment import cell
from metabench.runs.groups import training_differences
from metabench.runs.inputs import check_same_start
from metabench.runs.own_files import TESTS
from metabench.runs.reader import RunReader
from metabench.runs.run_id import NOT_OF_DATA, identity
from metabench.runs.run_spec import RunSpec
from metabench.runs.summary import Summary
from metabench.training.components import BASES, find_components, run_inputs
from metabench.training.runner import run
from metabench.training.unseen import check_unseen, trainings
from metabench.utils.console import Display
from metabench.utils.files import DamagedError

EXPERIMENT = "experiment="
SECTIONS = ("data", "algo", "test", "device", "chunk", "log", "tracker", "resume")  # what a test may set


def retest(
    tested: RunReader,
    overrides: Sequence[str],
    display: Display,
    *,
    name: str | None = None,
    config_dir: str | None = None,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """The summary of the test of a finished run with `overrides`; `name` is what a suite calls it.

    Raises `UserError` for a run that is not finished, for an override that a test cannot have, and for an experiment
    that is trained otherwise.
    """
    return run(*plan_test(tested, overrides, name=name, config_dir=config_dir, command=command), display)


def check_overrides(tested: RunReader, overrides: Sequence[str], config_dir: str | None = None) -> None:
    """Raise `UserError` for overrides that no test of the run can have: keys that are not there, values of no type."""
    others = [override for override in overrides if not override.startswith(EXPERIMENT)]
    find_components(check(Config, with_overrides(tested.config, others, config_dir)))


def plan_test(
    tested: RunReader,
    overrides: Sequence[str],
    *,
    name: str | None = None,
    config_dir: str | None = None,
    command: Sequence[str] = (),
) -> tuple[Config, RunSpec]:
    """The run that a test is; raises as `retest` does, before any data is read or a model built."""
    before, trained = finished_summary(tested), tested.config
    named = [override for override in overrides if override.startswith(EXPERIMENT)]
    others = [override for override in overrides if override not in named]
    if named:
        experiment = named[-1].removeprefix(EXPERIMENT)
        asked = _ask(experiment, trained, tested.path, config_dir)
        plain = with_overrides(as_asked(trained, asked), others, config_dir)
        about = cell(check(Config, asked), experiment, others)
    else:
        plain, about = with_overrides(trained, others, config_dir), {}
    if (tested.path / "checkpoints" / "best.pt").exists():
        plain["init"] = str(tested.path)
    elif trained["train"]["steps"] and before.train.steps:
        raise UserError(f"{tested.path}: holds no checkpoint to test; the command of the run makes it anew")
    else:
        check_same_start(tested)
    plain |= {"train": {**plain["train"], "steps": 0}, "published": None, "tests": None, "run_dir": None}
    plain["validate"] = {**plain["validate"], "early_stopping": None}
    config = check(Config, plain)
    components = find_components(config)
    inputs = run_inputs(config, components)
    check_unseen(trainings(trained, tested), components["data"])
    content = settled(config, components)
    key = identity(content, inputs)
    of = {"run": before.identity, "names": [name] if name else [], "overrides": list(overrides)}
    about = {**(about or cell(config, None, ()) | {"board": before.board}), "test_of": of}
    return config, RunSpec(tested.path / TESTS / key, key, content, inputs, about, command)


def finished_summary(tested: RunReader) -> Summary:
    """The summary of a run that can be tested; raises `UserError` where it is not finished, or damaged."""
    try:
        summary, _ = tested.summary, tested.config
    except DamagedError as fault:
        raise UserError(f"{tested.path}: {fault}") from None
    return summary


def _ask(experiment: str, trained: Mapping[str, Any], path: Path, config_dir: str | None) -> dict[str, Any]:
    """The configuration of an experiment at a run's budget; raises `ConfigError` where its training is another."""
    known = entries("experiment", folders(config_dir))
    if experiment not in known:
        raise ConfigError("experiment", experiment, suggest(experiment, known, "no such experiment"))
    asked = compose_plain(f"experiment={experiment}", f"budget={trained['budget']}", config_dir=config_dir)
    if other := training_differences(trained, asked):
        said = f"is trained otherwise than {path}: {', '.join(other[:4])} (the run's value for the experiment's)"
        raise ConfigError("experiment", experiment, said)
    return asked


def as_asked(trained: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration with all of an experiment's that decides its test, and the run's own place of the data."""
    own = {key: trained["data"][key] for key in ("train", *NOT_OF_DATA) if key in trained["data"]}
    return {**trained, "data": {**asked["data"], **own}, "algo": asked["algo"], "test": asked["test"]}


def with_overrides(
    config: Mapping[str, Any], overrides: Sequence[str], config_dir: str | None = None
) -> dict[str, Any]:
    """A run's configuration with other values; `data=NAME` takes a data set as a whole, but for training tasks."""
    plain = deepcopy(dict(config))
    plain["log"] = {**plain["log"], "pictures": False, "tensorboard": False}
    plain["tracker"] = None
    for key in ("data", "algo"):
        plain[key] = _with_later_keys(plain[key], BASES[key], key)
    plain["test"] = check(Test, plain["test"]).model_dump()
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, text = str(override.key_or_group), str(override.input_line)
        if override.is_sweep_override():
            raise UserError(f"{text}: several values; one test has one, KEY=[A,B] is a list")
        if override.is_delete() or override.is_add():
            raise UserError(f"{text}: should be KEY=VALUE")
        root, *path = key.split(".")
        if root not in SECTIONS:
            raise ConfigError(key, override.value(), suggest(root, SECTIONS, "a test cannot set it"))
        if key in ("data", "device", "tracker"):
            chosen: Any = compose_plain(text, config_dir=config_dir).get(key)
            plain[key] = chosen if key != "data" else _of_one_kind(chosen, plain["data"], override.value())
            continue
        node: Any = plain
        for part in (root, *path)[:-1]:
            node = node.get(part) if isinstance(node, dict) else None
        last = (root, *path)[-1]
        if not isinstance(node, dict) or last not in node:
            known = [one for one in map(str, node if isinstance(node, dict) else ()) if not one.startswith("_")]
            raise ConfigError(key, override.value(), suggest(last, known, "no such key"))
        if not path and isinstance(node[last], dict):
            raise ConfigError(key, override.value(), f"a test keeps it; it may set its keys, {key}.KEY=VALUE")
        node[last] = override.value()
    return plain


def _of_one_kind(chosen: Any, trained: Mapping[str, Any], name: Any) -> dict[str, Any]:
    """The data `chosen` for a test of a model that was `trained` on such tasks; raises `ConfigError` if on others."""
    if ("ways" in chosen) != ("ways" in trained):
        kind = "classes" if "ways" in trained else "curves"
        raise ConfigError("data", name, f"the model was trained on tasks of {kind}, which this data has not")
    return {**chosen, "train": trained["train"]}


def _with_later_keys(node: dict[str, Any], base: type, key: str) -> dict[str, Any]:
    """A component's values, with the null keys that its class has got since the run was made."""
    if "_target_" not in node:
        return node
    cls, _ = component(node, base, key)
    later = {name: section_keys(hint) for name, (hint, default) in arguments(cls).items() if default is None}
    return {**later, **node}
