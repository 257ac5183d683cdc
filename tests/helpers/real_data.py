"""Where the real Omniglot lies on this machine, for the tests that need it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from paths import ROOT

from metabench.data.images import raw


def omniglot_root() -> Path | None:
    """METABENCH_DATA, else shared/data beside the repository; None where Omniglot is not whole."""
    named = os.environ.get("METABENCH_DATA")
    root = Path(named).expanduser() if named else ROOT.parent / "shared" / "data"
    return root if all(raw.locate(part, root) for part in raw.parts()) else None


needs_omniglot = pytest.mark.skipif(
    omniglot_root() is None, reason="Omniglot is neither in METABENCH_DATA nor in ../shared/data"
)
