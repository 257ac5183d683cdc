"""Threads of a run, settled once, before they are recorded: of its plan, of its beginning, or of the free cores."""

from __future__ import annotations

import os

import torch

from metabench.engine.threads import free_cores, pick_threads
from metabench.runs.run_dir import RunDirectory
from metabench.training.components import Components
from metabench.utils.counted import counted


def settle_threads(components: Components, directory: RunDirectory) -> None:
    """Set torch's number of threads, and say so where other processes leave fewer cores than it would use.

    Small networks have the number of their plan. A run that is continued keeps its own, with which it was rounded.
    Nothing happens on a GPU, where `device.threads` says the number, for one of several ranks, or for a job of a
    sweep, whose launcher has shared out the machine.
    """
    config, display = components.config, components.display
    if components.device.type != "cpu" or config.device.threads is not None or components.ranks.size > 1:
        return
    if components.steps and _planned(components) is not None:
        return
    held = directory.held() or {}
    if directory.goes_on and isinstance(began := held.get("threads"), int):
        torch.set_num_threads(max(1, min(began, os.cpu_count() or began)))
        return
    threads = torch.get_num_threads()
    if threads == 1 or not display.alone or not components.steps:
        return
    if (fewer := pick_threads(threads, free_cores())) < threads:
        torch.set_num_threads(fewer)
        display.say(
            f"other processes leave {fewer} of {threads} cores free: {counted(fewer, 'thread')} "
            f"(device.threads={threads} takes all)"
        )


def _planned(components: Components) -> int | None:
    """The threads of the plan; None too where the model fails on a task: the run, once begun, says and records that."""
    try:
        return components.plan.threads
    except Exception:
        return None
