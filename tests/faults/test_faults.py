"""A few attempts at every fault; `python scripts/faults.py` makes as many as docs/reliability.md says."""

from __future__ import annotations

from unittest import SkipTest

import pytest

from faults.all import FAULTS
from faults.fault import Fault, carry_out

pytestmark = pytest.mark.faults


@pytest.mark.slow
@pytest.mark.parametrize("fault", [f for f in FAULTS if f.short], ids=lambda f: f.name)
def test_it_holds(fault: Fault, tmp_path):
    outcome = carry_out(fault, fault.short, tmp_path)
    if outcome.skipped:
        raise SkipTest(outcome.skipped)
    assert not outcome.failures
