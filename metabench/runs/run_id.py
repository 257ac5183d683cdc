"""When two configurations are one run, and in what they differ; without torch: what only reads runs is quick."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from metabench.utils.files import plain

# What may differ between two runs that are one and the same: where they read, write and report, what they are called.
NOT_IDENTITY = ("resume", "run_dir", "name", "log", "tracker", "budget", "published", "board", "tests")
NOT_OF_DATA = ("root", "download", "memory")  # the content of the data is on the protocol card
NOT_OF_DEVICE = ("index",)  # a run goes on on another GPU
LATER = (  # keys that version 0.1.0 lacks
    *("data.train.rotations", "validate.early_stopping", "test.inductive_queries"),
    *("train.clip_each", "backbone.head_init"),
    *("algo.of_class", "algo.init", "algo.rectify", "algo.reshuffle"),
)

Inputs = Mapping[str, Any]
"""Inputs of a run beside its configuration (`metabench.runs.inputs`): empty for most."""


def identity(config: Mapping[str, Any], inputs: Inputs | None = None) -> str:
    """Twelve hex digits: the id of the run of a configuration whose types are settled (`config.build.settled`).

    A key without a value counts as one that is not there, so that a later version may add one. `init` counts by the
    digest of its checkpoint, and classes from outside the package by the digest of their source, where `inputs` has it.
    """
    kept = of_run(config)
    if inputs:
        kept |= {"init": None, "inputs": inputs}
    return digest(_settled_numbers(kept))[:12]


def first_identity(config: Mapping[str, Any]) -> str:
    """The id by the rule of version 0.1.0: of values as they were written. Runs of that version keep it.

    A key that was added since and has no value is left out, as it was then.
    """
    return digest(_without_later(of_run(config)))[:12]


def _without_later(node: Any, prefix: str = "") -> Any:
    """`node` without the keys in `LATER` that have no value."""
    if not isinstance(node, Mapping):
        return node
    return {
        key: _without_later(value, f"{prefix}{key}.")
        for key, value in node.items()
        if value is not None or f"{prefix}{key}" not in LATER
    }


def of_run(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that decides which run it is."""
    kept = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    for part, free in (("data", NOT_OF_DATA), ("device", NOT_OF_DEVICE)):
        kept[part] = {key: value for key, value in kept.get(part, {}).items() if key not in free}
    shift = kept["data"].get("shift")
    if isinstance(shift, Mapping) and all(value is None for value in shift.values()):
        del kept["data"]["shift"]
    return kept


def _settled_numbers(node: Any) -> Any:
    """`node` without nulls in its mappings, and with one zero."""
    if isinstance(node, Mapping):
        return {str(key): _settled_numbers(value) for key, value in node.items() if value is not None}
    if isinstance(node, (list, tuple)):
        return [_settled_numbers(value) for value in node]
    return node + 0.0 if isinstance(node, float) else node


def digest(content: Any) -> str:
    """sha256 of plain content, independent of the order of keys; what is not plain is refused where it is used."""
    return hashlib.sha256(json.dumps(plain(content), sort_keys=True, default=str).encode()).hexdigest()


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return found
