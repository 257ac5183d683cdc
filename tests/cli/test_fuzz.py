"""Any command, value, checkpoint and file is taken, or refused in one line; `faults/fuzzing.py` tries more of each."""

from __future__ import annotations

import fuzz
import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "examples"), [("command", 100), ("override", 15), ("value", 30), ("checkpoint", 15), ("file", 15)]
)
def test_no_traceback(name, examples):
    fuzz.search(name, examples)
