"""What must hold for any value, anywhere: a run ends well or with a `UserError`, never with a traceback."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stdout, suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import torch
from hydra import compose, initialize_config_module
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from program import GLYPHS, SINUSOID
from rich.console import Console

from metabench.cli.app import COMPOSING
from metabench.config.build import check
from metabench.config.explain import explain
from metabench.config.overrides import check_command
from metabench.config.schema import Config
from metabench.errors import UserError
from metabench.runs.experiment import cell
from metabench.runs.run_id import identity
from metabench.runs.run_spec import RunSpec
from metabench.training.runner import run
from metabench.utils.console import Display
from metabench.utils.files import load_tensors, save_tensors

BRIEF = ("train.steps=4", "validate.every=2", "validate.episodes=2", "test.episodes=2", "checkpoint.every=2")
STREAM = tuple(f"data.{part}{size}" for part in ("", "train.") for size in ("ways=3", "shots=2"))
BASES = {
    "maml": (*SINUSOID, *BRIEF),
    "protonet": (*GLYPHS, *BRIEF, "algo=protonet"),
    "np": (*SINUSOID, *BRIEF, "data=gp_curves", "algo=np", "algo.encoder=[4]", "algo.decoder=[4]"),
    "lstm": (*SINUSOID[:-1], *BRIEF, "data=glyphs_sequence", "algo=lstm", "algo.units=4", *STREAM),
}

# No whole number that is allowed and costs time or memory: from 4 to a billion.
NUMBERS = st.sampled_from([0, 1, 2, 3, -1, 10**9 + 1, 2**63, 2**64, -(10**30)])
FLOATS = st.sampled_from([0.0, -0.0, 0.5, -1.0, 1e-300, 1e30, 1e308, math.inf, -math.inf, math.nan])
WORDS = st.sampled_from(["", " ", "null", "auto", "all", "mlp", "none", "film", "per_task", "???", "\0", "ü", "\ud800"])
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, FLOATS, WORDS, st.text(max_size=6), st.binary(max_size=3))
KEYS = st.one_of(st.text(max_size=4), st.integers(0, 2))
VALUES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=2)), max_leaves=4
)


@cache
def composed(name: str) -> dict[str, Any]:
    """A whole configuration that runs."""
    with initialize_config_module("metabench.conf", version_base="1.3"):
        plain: Any = OmegaConf.to_container(compose("config", list(BASES[name])), resolve=True)
    return plain


def places(node: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything below `node`."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield (*here, key)
        yield from places(value, (*here, key))


def altered(node: Any, place: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    """A copy in which `change(container, key)` was done to what lies at `place`."""
    whole = node = deepcopy(node)
    for key in place[:-1]:
        node = node[key]
    change(node, place[-1])
    return whole


def put(value: Any) -> Callable[[Any, Any], None]:
    return lambda container, key: container.__setitem__(key, value)


def remove(container: Any, key: Any) -> None:
    del container[key]


def attempt(plain: dict[str, Any], path: Path) -> None:
    """Run what was composed, as the program does, in the directory `path`; it may end in a `UserError`."""
    threads = torch.get_num_threads()
    try:
        with suppress(UserError), redirect_stdout(io.StringIO()):  # a data set may say what it reads
            config = check(Config, plain)
            ticket = RunSpec(path, identity(plain), plain, {}, cell(config, None, ()), ("fuzz",))
            run(config, ticket, Display(Console(quiet=True)))
    finally:
        torch.set_num_threads(threads)


def any_command(words: list[str]) -> None:
    """Whatever is typed is understood, or refused."""
    try:
        with redirect_stdout(io.StringIO()):
            check_command(words)
    except (UserError, SystemExit):  # the latter of --help and the like
        pass
    except COMPOSING as fault:
        explain(fault)


def any_override(key: str, value: str) -> None:
    """Whatever a key is given is composed and checked, or refused."""
    try:
        with initialize_config_module("metabench.conf", version_base="1.3"):
            plain: Any = OmegaConf.to_container(compose("config", [f"{key}={value}"]), resolve=True)
        identity(plain)
        check(Config, plain)
    except UserError:
        pass
    except COMPOSING as fault:
        explain(fault)


def any_value(name: str, place: int, value: Any) -> None:
    """A configuration with any value anywhere runs, or is refused."""
    plain = composed(name)
    found = list(places(plain))
    with TemporaryDirectory() as folder, chdir(folder):
        attempt(altered(plain, found[place % len(found)], put(value)), Path("run"))


@cache
def stopped() -> Path:
    """The directory of a run whose test was not done."""
    path = Path(mkdtemp(prefix="fuzz-")) / "run"
    attempt(composed("maml"), path)
    (path / "summary.json").unlink()
    return path


def any_checkpoint(name: str, place: int, change: Callable[[Any, Any], None]) -> None:
    """A run continues, or starts, from a checkpoint with anything in it; or says what is wrong with it."""
    plain = composed("maml")
    with TemporaryDirectory() as folder:
        path = Path(shutil.copytree(stopped(), Path(folder, "run")))
        checkpoint = path / "checkpoints" / name
        content = load_tensors(checkpoint)
        found = list(places(content))
        content = altered(content, found[place % len(found)], change)
        save_tensors(checkpoint, content)
        attempt(plain, path)
        started = {**plain, "init": str(path), "train": {**plain["train"], "steps": place % 2}}
        attempt(started, Path(folder, "other"))


def any_file(name: str, start: int, stop: int, content: bytes) -> None:
    """A run directory with any bytes in one of its files is taken up, or refused."""
    with TemporaryDirectory() as folder:
        path = Path(shutil.copytree(stopped(), Path(folder, "run")))
        (path / "summary.json").write_text(
            '{"status": "complete", "test": {"metric": "mse", "mean": 1.0, "ci95": 0.1}}'
        )
        before = (path / name).read_bytes()
        first, last = sorted(at % (len(before) + 1) for at in (start, stop))
        (path / name).write_bytes(before[:first] + content + before[last:])
        attempt(composed("maml"), path)


PLACES = st.integers(0, 10_000)
FILES = ("summary.json", "status.json", "environment.json", "metrics.jsonl", "config.yaml", "episodes.json")
CHANGES = st.one_of(st.just(remove), VALUES.map(put))
OVERRIDES = st.builds(
    "{}={}".format, st.sampled_from(["seed", "+x", "~algo", "algo", "recipe/task"]), st.text(max_size=20)
)
ANY_KEY = st.sampled_from(
    [
        *(
            "seed",
            "algo",
            "data",
            "experiment",
            "budget",
            "recipe/task",
            "run_dir",
            "train",
            "train.steps",
            "algo.inner_lr",
        ),
        *("algo._target_", "backbone.hidden", "+new", "++seed", "~seed", "algo@data", "hydra.mode", "hydra/launcher"),
    ]
)
SYNTAX = st.sampled_from(
    [
        *("${seed}", "${x}", "${", "${.}", "${..}", "${.steps}", "${algo.inner_lr}", "${hydra:x}", "${oc.env:NOT_SET}"),
        *("${oc.decode:'['}", "${oc.create:{a:1}}", "${oc.dict.keys:seed}", "${oc.select:}", "${nope:}", "${now:}"),
        *("{a:1}", "[1,[2]]", "null", "???", "'a'", "1e999", "nan", "0x1", "1_0", "glob(*)", "sort(1,2)", "tag(a,1)"),
    ]
)
PROPERTIES: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {
    "command": (any_command, (st.lists(st.one_of(OVERRIDES, st.text(max_size=20)), max_size=3),)),
    "override": (any_override, (ANY_KEY, st.one_of(SYNTAX, st.text(max_size=10)))),
    "value": (any_value, (st.sampled_from(list(BASES)), PLACES, VALUES)),
    "checkpoint": (any_checkpoint, (st.sampled_from(["last.pt", "best.pt"]), PLACES, CHANGES)),
    "file": (any_file, (st.sampled_from(FILES), PLACES, PLACES, st.binary(max_size=4))),
}


def search(name: str, examples: int, start: int = 0) -> None:
    """Look for one for which it does not hold; raises what the program would have."""
    function, strategies = PROPERTIES[name]
    chosen = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    chosen(seed(start)(given(*strategies)(function)))()
