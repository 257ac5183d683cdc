"""Leaving autocast, on every device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def no_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Within it operations on `device` are computed in the type of their arguments, whatever autocast is in force.

    Torch raises where it knows no autocast for a device, such as `meta`; there is then none to leave.
    """
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
