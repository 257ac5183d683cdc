"""Runs that must end alike: an uninterrupted one to compare with, and all that must agree."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch
from program import only_run, records, run_metabench, summary

from metabench.utils.files import load_tensors, read_json


@cache
def straight(*overrides: str) -> Path:
    """The directory of a run that nothing interrupted."""
    return _timed(*overrides)[0]


def seconds(*overrides: str) -> float:
    """What that run took, from the start of its process."""
    return _timed(*overrides)[1]


@cache
def _timed(*overrides: str) -> tuple[Path, float]:
    cwd = Path(tempfile.mkdtemp(prefix="straight-"))
    atexit.register(shutil.rmtree, cwd, ignore_errors=True)
    began = time.monotonic()
    done = run_metabench(*overrides, cwd=cwd)
    assert (done.code, done.err) == (0, "")
    return only_run(cwd), time.monotonic() - began


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, torch.Tensor):
        return found.dtype == expected.dtype and torch.equal(found, expected)
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and found == expected


def timeless(content: dict[str, Any]) -> dict[str, Any]:
    """Without what clock and process decide: the length of metrics.jsonl depends on the digits of its seconds."""
    return {key: value for key, value in content.items() if key not in ("seconds", "metrics_size", "peak_memory")}


def checkpoint(run: Path, name: str) -> dict[str, Any]:
    return timeless(load_tensors(run / "checkpoints" / name))


def identical(run: Path, expected: Path) -> None:
    """Weights, optimiser, metrics and summary agree bit for bit but for times; nothing half-written is left."""
    assert (run / "checkpoints/best.pt").read_bytes() == (expected / "checkpoints/best.pt").read_bytes()
    assert same(checkpoint(run, "last.pt"), checkpoint(expected, "last.pt"))
    assert records(run) == records(expected)
    assert (run / "episodes.json").read_bytes() == (expected / "episodes.json").read_bytes()
    found, wanted = summary(run), summary(expected)
    assert timeless(found["test"]) == timeless(wanted["test"])
    assert [found[k] for k in ("status", "identity", "protocol", "selected")] == [
        wanted[k] for k in ("status", "identity", "protocol", "selected")
    ]
    assert found["train"]["steps"] == wanted["train"]["steps"]
    assert read_json(run / "status.json") == {"status": "complete", "reason": None}
    assert not list(run.rglob("*.part"))
