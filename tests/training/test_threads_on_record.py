"""The threads that a run records are those of its meta-steps: the cost of a method is counted in them."""

from __future__ import annotations

import json

import pytest
from program import SINUSOID, only_run, run_fresh


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (SINUSOID, 1),  # of a small network, whatever the machine has
        ((*SINUSOID, "device.threads=2"), 2),
        ((*SINUSOID, "algo=scratch"), 2),
    ],
    ids=["plan", "set", "untrained"],
)
def test_threads_on_record(command, expected, tmp_path):
    done = run_fresh("metabench", *command, cwd=tmp_path, env={"OMP_NUM_THREADS": "2"})
    assert done.code == 0, done.err
    run = only_run(tmp_path)
    for name in ("environment", "summary"):
        kept = json.loads((run / f"{name}.json").read_text())
        assert kept.get("environment", kept)["threads"] == expected
    threads = done.out.partition(" threads")[0].rpartition(" ")[2]
    assert int(threads) == expected
