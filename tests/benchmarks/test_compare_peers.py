"""The figures of scripts/benchmarks/compare_peers.py: what counts as best, and what is only shown."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

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
    ]
    for table in (report.plain("title", results), report.markdown("title", results)):
        assert "2.0e-01 WRONG" in table
        assert "no wheel" in table


def test_a_peer_that_lacks_a_kind_of_work_is_listed_and_not_started(scripts, tmp_path):
    compare, work = import_module("compare_peers"), import_module("peers.workloads")
    bench = compare.Bench(Namespace(peers=["higher"]), None, tmp_path, {})
    for key, reason in ("protonet60", "has no prototypical network"), ("sampling", "has no loader of its own"):
        with pytest.raises(compare.WorkerError, match=reason):
            bench.launch("higher", work.WORKLOADS[key])
    assert {kind for kinds in work.PEERS.values() for kind in kinds} == set(work.NAMES)
