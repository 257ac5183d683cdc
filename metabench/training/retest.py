"""Test a finished run another way: the weights it chose, other tasks, into a folder of its own below the run.

Nothing is trained. The test is a run of no meta-steps that begins with the checkpoint of the other, so it has a
protocol card, metrics of each task and a summary like any run; its card names the checkpoint by content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from metabench.config.build import check, settled
from metabench.config.compose import compose_plain
from metabench.config.schema import Config
from metabench.errors import ConfigError, UserError, suggest
from metabench.runs.experiment import cell
from metabench.runs.inputs import find_inputs
from metabench.runs.reader import TESTS, RunReader
from metabench.runs.run_id import identity
from metabench.training.components import find_components
from metabench.training.runner import RunSpec, run
from metabench.utils.console import Display
from metabench.utils.files import DamagedError

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

    Raises `UserError` for a run that is not finished, and for an override that a test cannot have.
    """
    try:
        before, trained = tested.summary, tested.config
    except DamagedError as fault:
        raise UserError(f"{tested.path}: {fault}") from None
    plain = changed(trained, overrides, config_dir)
    if (tested.path / "checkpoints" / "best.pt").exists():
        plain["init"] = str(tested.path)
    elif trained["train"]["steps"] and before.train.steps:
        raise UserError(f"{tested.path}: holds no checkpoint to test; the command of the run makes it anew")
    plain |= {"train": {**plain["train"], "steps": 0}, "published": None, "tests": None, "run_dir": None}
    plain["validate"] = {**plain["validate"], "early_stopping": None}
    config = check(Config, plain)
    components = find_components(config)
    inputs = find_inputs(config.init, (cls for cls, _ in components.values()))
    content = settled(config, components)
    key = identity(content, inputs)
    of = {"run": before.identity, "name": name, "overrides": list(overrides)}
    about = {**cell(config, None, ()), "test_of": of}
    return run(config, RunSpec(tested.path / TESTS / key, key, content, inputs, about, command), display)


def changed(config: Mapping[str, Any], overrides: Sequence[str], config_dir: str | None = None) -> dict[str, Any]:
    """A run's configuration with other values; `data=NAME` takes a data set as a whole, but for training tasks."""
    plain = deepcopy(dict(config))
    plain["log"] = {**plain["log"], "pictures": False, "tensorboard": False}
    plain["tracker"] = None
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, text = str(override.key_or_group), str(override.input_line)
        if override.is_delete() or override.is_add() or override.is_sweep_override():
            raise UserError(f"{text}: should be KEY=VALUE")
        root, *path = key.split(".")
        if root not in SECTIONS:
            raise ConfigError(key, override.value(), suggest(root, SECTIONS, "a test cannot set it"))
        if key in ("data", "device", "tracker"):
            chosen: Any = compose_plain(text, config_dir=config_dir).get(key)
            plain[key] = chosen | {"train": plain["data"]["train"]} if key == "data" else chosen
            continue
        node: Any = plain
        for part in (root, *path)[:-1]:
            node = node.get(part) if isinstance(node, dict) else None
        last = (root, *path)[-1]
        if not isinstance(node, dict) or last not in node:
            known = node if isinstance(node, dict) else ()
            raise ConfigError(key, override.value(), suggest(last, map(str, known), "no such key"))
        node[last] = override.value()
    return plain
