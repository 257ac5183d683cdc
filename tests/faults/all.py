"""Importing this registers every fault, in the order of the table."""

from __future__ import annotations

from faults import (  # noqa: F401
    archives,
    damage,
    disk,
    folders,
    hostile,
    jobs,
    kill,
    load,
    numbers,
    places,
    repeat,
    sharing,
    shortage,
    signals,
)
from faults.fault import FAULTS as FAULTS
