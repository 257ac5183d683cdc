"""The figures of scripts/benchmarks/compare_peers.py: what counts as best, what is only shown, and what is compared."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from paths import ROOT


@pytest.fixture
def scripts() -> Iterator[None]:
    folder = str(ROOT / "scripts/benchmarks")
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


@pytest.fixture
def report(scripts) -> ModuleType:
    return import_module("peers.report")


def test_the_best_peer_is_the_fastest_with_the_right_gradient(report):
    results = [
        report.Result("metabench", [2.0, 2.0, 9.0], error=1e-6),
        report.Result("wrong", [0.1], error=2e-3),
        report.Result("not a number", [0.1], error=float("nan")),
        report.Result("absent", reason="not installed"),
        report.Result("slow", [8.0], error=1e-6),
        report.Result("fast", [3.0, 3.0, 1.0], error=9e-4),
    ]
    ratio, best = report.ratio_to_best(results)
    assert (ratio, best.contestant) == (1.5, "fast")


def test_the_last_line_is_the_smallest_ratio(report):
    tables = {
        "easy": [report.Result("metabench", [1.0]), report.Result("a", [4.0])],
        "hard": [report.Result("metabench", [1.0]), report.Result("b", [0.5])],
        "alone": [report.Result("metabench", [1.0]), report.Result("a", reason="has no loader")],
    }
    assert report.worst(tables) == "worst ratio to best peer: 0.50 (hard, b)"
    assert report.worst({"alone": tables["alone"]}) == "worst ratio to best peer: none measured"


def test_a_wrong_gradient_and_a_missing_peer_are_shown(report):
    results = [
        report.Result("metabench", [1.0]),
        report.Result("wrong", [0.5], error=0.2),
        report.Result("absent", reason="no wheel"),
        report.Result("like", [0.5], other_equations=True),
    ]
    for table in (report.plain("title", results), report.markdown("title", results)):
        assert "2.0e-01 WRONG" in table
        assert "no wheel" in table
        assert "other equations" in table
    assert report.worst({"a": results}) == "worst ratio to best peer: 0.50 (a, like, other equations)"


def test_a_peer_that_lacks_a_kind_of_work_is_listed_and_not_started(scripts, tmp_path):
    compare, work = import_module("compare_peers"), import_module("peers.workloads")
    bench = compare.Bench(Namespace(peers=["higher"]), None, tmp_path, {})
    for key, reason in ("protonet60", "has no prototypical network"), ("sampling", "has no loader of its own"):
        with pytest.raises(compare.WorkerError, match=reason):
            bench.launch("higher", work.WORKLOADS[key])
    assert {kind for kinds in work.PEERS.values() for kind in kinds} == set(work.NAMES)


FEW = ("data.characters=40",)  # classes of glyphs, so that they are drawn in a moment
TINY: dict[str, dict[str, Any]] = {
    "lstm": {"units": 6},
    "dnc": {"units": 6, "slots": 5, "width": 3, "heads": 2},
    "cnp": {"encoder": [8, 8], "decoder": [8]},
}
SMALL = ("train.tasks=2", "engine=eager")


def ours(workload: Any, *overrides: str) -> Any:
    """metabench's contestant; images are a few glyphs."""
    few = () if workload.regression else FEW
    return import_module("peers.metabench").Metabench([*few, *overrides])


@pytest.mark.slow
def test_every_workload_builds_for_metabench(scripts, monkeypatch, tmp_path):
    monkeypatch.setenv("METABENCH_PEERS_DATA", "glyphs")
    work, worker = import_module("peers.workloads"), import_module("peers.worker")
    for key, workload in work.WORKLOADS.items():
        run = ours(workload).open(worker.Job(workload, tmp_path, "cpu"))
        assert (workload.key, run.config.train.tasks) == (key, workload.tasks)
        assert run.source.spec.train.outputs == workload.ways


@pytest.fixture
def tiny(scripts, monkeypatch, tmp_path, request) -> Any:
    """A workload of a few weights and two tasks, with its weights and batches written."""
    monkeypatch.setenv("METABENCH_PEERS_DATA", "glyphs")
    work, worker = import_module("peers.workloads"), import_module("peers.worker")
    workload = replace(work.WORKLOADS[request.param], sizes=TINY[request.param], tasks=2)
    job = worker.Job(workload, tmp_path, "cpu")
    ours(workload, *SMALL).export(job)
    return job


def error(contestant: Any, job: Any, folder: Path) -> float:
    """Of a contestant's first gradient, as `compare_peers` measures it."""
    contestant.prepare(job)
    contestant.step(0)
    np.savez(folder / "found.npz", **contestant.gradient())
    np.savez(folder / "reference.npz", **import_module("peers.reference").gradients(job))
    return import_module("compare_peers").distance(folder / "found.npz", folder / "reference.npz")


@pytest.mark.slow
@pytest.mark.parametrize("tiny", TINY, indirect=True)
def test_metabench_has_the_reference_s_gradient(tiny, tmp_path):
    assert error(ours(tiny.workload, *SMALL), tiny, tmp_path) < 1e-5


@pytest.mark.parametrize("tiny", ["lstm", "cnp"], indirect=True)
def test_plain_torch_has_the_same_gradient(tiny, tmp_path):
    """nn.LSTM has metabench's equations, but for the 1 that is added to forget gates: its second bias."""
    assert error(import_module("peers.torch").Torch(), tiny, tmp_path) < 1e-5


@pytest.mark.parametrize("tiny", ["cnp"], indirect=True)
def test_a_model_with_other_equations_says_so_and_writes_no_gradient(tiny, tmp_path, monkeypatch):
    peer = import_module("peers.torch").Torch()
    for other in (False, True):
        monkeypatch.setattr(peer, "other_equations", other)
        peer.prepare(tiny)
        found = tmp_path / f"{other}.npz"
        answer = import_module("peers.worker").Server(peer).answer({"do": "first", "gradient": str(found)})
        assert answer["other_equations"] == other
        assert found.exists() != other
