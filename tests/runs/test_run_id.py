"""The id of a run: one for all spellings of a setting, another for anything that may change a number."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from paths import ROOT

from metabench.config.build import check, settled
from metabench.config.compose import compose_plain
from metabench.config.schema import Config
from metabench.runs.reader import RunReader
from metabench.runs.run_id import NOT_IDENTITY, first_identity, flat, identity
from metabench.runs.run_spec import RunSpec
from metabench.training.components import find_components
from metabench.utils.files import write_json

DIVERGED = {"sinusoid_pretrain_lr0.05"}  # has no finite result, which is what it shows
REFERENCE = sorted(
    path.parent for path in (ROOT / "outputs/reference").rglob("summary.json") if path.parent.name not in DIVERGED
)


@cache
def composed(*overrides: str) -> dict[str, Any]:
    return compose_plain(*overrides)


def settle(plain: dict[str, Any]) -> dict[str, Any]:
    config = check(Config, plain)
    return settled(config, find_components(config))


def changed(plain: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a dotted key."""
    plain = deepcopy(plain)
    *sections, name = key.split(".")
    node = plain
    for section in sections:
        node = node[section]
    node[name] = value
    return plain


NUMBERS = {  # real numbers, and what they may be
    "algo.inner_lr": st.integers(1, 10**6),
    "optim.lr": st.integers(1, 10**6),
    "optim.eps": st.integers(1, 100),
    "data.amplitude": st.lists(st.integers(-100, 100), min_size=2, max_size=2).map(sorted),
    "data.relative_noise": st.integers(0, 5),
}
WHOLE = ("seed", "train.steps", "train.tasks", "validate.every", "test.episodes", "data.shots", "algo.inner_steps")


@given(st.sampled_from(sorted(NUMBERS)), st.data())
def test_whole_and_real_spellings_of_a_number_are_one_run(key, data):
    value = data.draw(NUMBERS[key])
    real = [float(one) for one in value] if isinstance(value, list) else float(value)
    spellings = [settle(changed(composed(), key, spelling)) for spelling in (value, real)]
    assert identity(spellings[0]) == identity(spellings[1])
    assert identity(settle(changed(composed(), "optim.weight_decay", -0.0))) == identity(settle(composed()))


@given(st.sampled_from([*WHOLE, *sorted(NUMBERS)]), st.data())
def test_two_values_are_two_runs(key, data):
    values = st.integers(2, 10**6) if key in WHOLE else NUMBERS[key]
    first, second = data.draw(values), data.draw(values)
    assume(first != second)
    assert identity(settle(changed(composed(), key, first))) != identity(settle(changed(composed(), key, second)))


LEAVES = sorted(key for key in flat(composed("data=glyphs", "algo=protonet")) if key.split(".")[0] not in NOT_IDENTITY)


@pytest.mark.parametrize("key", [key for key in LEAVES if key not in ("data.root", "data.download", "device.index")])
def test_every_key_that_decides_is_part_of_it(key):
    plain = composed("data=glyphs", "algo=protonet")
    assert identity(changed(plain, key, "another")) != identity(plain)


@given(st.permutations(sorted(composed())))
def test_the_order_of_keys_and_keys_without_a_value_decide_nothing(order):
    plain = settle(composed())
    assert identity({key: plain[key] for key in order} | {"later": None}) == identity(plain)


def test_what_it_starts_from_counts_by_content():
    plain, start = composed("init=here"), {"init": {"digest": "a", "meta_steps": 1}}
    elsewhere = changed(plain, "init", "there/")
    assert identity(plain, start) == identity(elsewhere, start)
    assert identity(plain, start) != identity(plain, {"init": {"digest": "b", "meta_steps": 1}})
    assert identity(plain, {"sources": {"mine.A": "a"}}) != identity(plain, {"sources": {"mine.A": "b"}})


# ---- runs of version 0.1.0, whose ids are of values as they were written


@pytest.mark.parametrize("path", REFERENCE, ids=lambda path: path.name)
def test_recorded_runs_are_read_with_their_configuration(path):
    run = RunReader(path)
    assert run.summary.protocol.hash
    assert run.config_fault is None


def spec(folder, plain: dict[str, Any], **inputs: Any) -> RunSpec:
    return RunSpec.of(settle(plain), plain, inputs, folder, {}, ())


def test_a_run_of_the_first_version_is_continued_where_it_lies(tmp_path):
    plain = composed("algo.inner_lr=2")
    first = first_identity(plain)
    assert spec(tmp_path, plain).identity == identity(settle(plain)) != first
    (tmp_path / first).mkdir()
    write_json(tmp_path / first / "environment.json", {"identity": first})
    found = spec(tmp_path, plain)
    assert (found.path, found.identity, found.config) == (tmp_path / first, first, plain)
    named = changed(plain, "run_dir", str(tmp_path / first))
    assert spec(tmp_path, named).identity == first
    assert spec(tmp_path, plain, sources={"mine.A": "a"}).identity != first  # nobody wrote down what code it was


def test_a_key_that_the_first_version_lacks_and_has_no_value_leaves_its_id():
    plain = composed("data=omniglot")
    assert plain["validate"]["early_stopping"] is None
    earlier = changed(plain, "validate", {k: v for k, v in plain["validate"].items() if k != "early_stopping"})
    assert first_identity(earlier) == first_identity(plain)
    assert first_identity(changed(plain, "validate.early_stopping", 3)) != first_identity(plain)


def test_a_run_goes_on_on_another_gpu():
    assert identity(composed("device=cuda:1")) == identity(composed("device=cuda"))
    assert identity(composed("device=cuda")) != identity(composed("device=cpu"))
