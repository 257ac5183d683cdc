"""The first 20 meta-steps of every algorithm, and its test after them, are those on record.

After a change that is meant to change results, renew the records of the algorithms that it is about:
`PYTHONPATH=tests/helpers python tests/training/test_golden.py lstm mann`. No name renews all.

The runs are in float64, where another processor's or library's rounding moves no loss by more than 1e-11. What remains
is the initial weights, drawn in float32: their last bit, 1e-7, moves a loss by 2e-6 at most. Any change of meaning
moves it by far more than the tolerance.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from build import build, pairs, small
from cases import over

RECORDS = Path(__file__).parent / "golden"
TOLERANCE = 1e-5


def trace(algo: str, data: str) -> dict[str, list[float]]:
    setup = build(*small(algo, data), dtype=torch.float64)
    train = [loss.mean().item() for loss in setup.train(20)] if setup.optimizer else []
    test = setup.algo.eval().evaluate(setup.tasks("test"))
    return {"train": train, **{name: values.mean(0).tolist() for name, values in test.items()}}


@over(pairs())
def test_losses_are_those_on_record(case):
    record = json.loads((RECORDS / f"{'_'.join(case)}.json").read_text())
    found = trace(*case)
    assert found.keys() == record.keys()
    for name, values in found.items():
        assert values == pytest.approx(record[name], rel=TOLERANCE), name


def test_there_is_a_record_of_nothing_else():
    assert {path.stem for path in RECORDS.iterdir()} == {"_".join(case) for case in pairs()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    RECORDS.mkdir(exist_ok=True)
    for case in pairs():
        if not sys.argv[1:] or case[0] in sys.argv[1:]:
            (RECORDS / f"{'_'.join(case)}.json").write_text(json.dumps(trace(*case), indent=1) + "\n")
