"""One job of the command line: compose with Hydra, check, run; and how every ending is said."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from metabench.cli.estimate import watch_boards
from metabench.cli.jobs import watch_sweepers
from metabench.config.budgets import register_budgets
from metabench.config.explain import COMPOSING, explain
from metabench.config.globs import glob_subfolders
from metabench.config.guard import guard_hydra
from metabench.config.overrides import check_command
from metabench.config.published import fill_published
from metabench.config.search_path import register_search_path
from metabench.errors import BusyError, UserError
from metabench.sweep.isolate import Channel
from metabench.sweep.launcher import register_launcher
from metabench.sweep.local import LocalLauncher
from metabench.sweep.record import SWEEP, JobRecord, watch_launchers
from metabench.utils.exit import continued, leave
from metabench.utils.oom import OutOfMemoryError
from metabench.utils.output import guard_output
from metabench.utils.signals import Interrupted, LauncherExit

COMMAND = "METABENCH_COMMAND"  # the arguments that the program was given, for the processes that it starts

register_budgets()
register_search_path()
fill_published()  # here, for wherever a launcher takes a job this module is imported


def preload() -> None:
    """Import what every job of a sweep needs, once for all of them."""
    import scipy.special  # noqa: F401

    import metabench.training.runner  # noqa: F401


LocalLauncher.preload = staticmethod(preload)


def hydra_main() -> None:
    """Hydra's program; ends the process where the command cannot be composed, or a job of a sweep has failed."""
    try:
        register_launcher()
        watch_launchers()
        watch_boards()
        watch_sweepers()
        guard_hydra()
        glob_subfolders()
        check_command(sys.argv[1:])
        _job()
    except Interrupted as stopped:
        if SWEEP.jobs:
            leave(str(stopped), stopped.exit_code)
        raise
    except COMPOSING as fault:  # a run has said its own
        if not SWEEP.jobs:
            leave(explain(fault), UserError.exit_code)
        SWEEP.report()
        leave(explain(fault), 1)
    if SWEEP.jobs:
        code = SWEEP.report()
        _average()
        if code:
            sys.exit(code)


def _average() -> None:
    """Print the results of the sweep averaged over seeds, where it had several."""
    runs = {Path(run): SWEEP.jobs[n] for n, outcome in SWEEP.outcomes.items() if (run := outcome.get("run"))}
    if len(runs) > 1 and any(word.startswith("seed=") for overrides in runs.values() for word in overrides):
        from metabench.cli.seeds import seeds_table
        from metabench.utils.console import open_console

        if (table := seeds_table(runs)) is not None:
            open_console().print("", table)


def hydra_help() -> None:
    """Hydra's own page of help: without the guard, for it composes Hydra's defaults, and runs nothing."""
    _job()


@hydra.main(version_base="1.3", config_path="pkg://metabench.conf", config_name="config")
def _job(composed: DictConfig) -> dict[str, Any]:
    """One run, or one of a sweep, in a process that its launcher has made for it."""
    hydra_config = HydraConfig.get()
    guard_output()  # in the process of a launcher too
    if hydra_config.mode != RunMode.MULTIRUN:
        return _run_alone(composed)
    job = JobRecord(hydra_config)
    try:
        job.begin()
        outcome = _outcome(composed)
        return {**job.end(outcome), **{key: outcome[key] for key in ("busy", "trace") if key in outcome}}
    except (Interrupted, KeyboardInterrupt, SystemExit) as fault:
        job.stop(fault)
        raise


@continued()
def _run_alone(composed: DictConfig) -> dict[str, Any]:
    """Make one run; ends the process where it fails."""
    try:
        return _execute(composed)
    except (UserError, OmegaConfBaseException) as fault:
        alone = isinstance(fault, OutOfMemoryError)  # of this rank
        leave(_reason(fault), getattr(fault, "exit_code", UserError.exit_code), alone=alone)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _outcome(composed: DictConfig) -> dict[str, Any]:
    """Make one run of a sweep; a failure is an outcome, not an exception, so that the other jobs go on."""
    try:
        return _execute(composed)
    except (UserError, OmegaConfBaseException) as fault:
        busy = isinstance(fault, BusyError)
        return {"status": getattr(fault, "status", UserError.status), "reason": _reason(fault), "busy": busy}
    except LauncherExit:
        raise
    except (Exception, SystemExit) as fault:
        trace = traceback.format_exc()
        print(trace, file=sys.stderr, end="")
        return {"status": "failed", "reason": f"{type(fault).__name__}: {fault}", "trace": trace}


def _execute(composed: DictConfig) -> dict[str, Any]:
    # The process of a launcher has arguments of its own.
    given = json.loads(os.environ[COMMAND]) if COMMAND in os.environ else sys.argv[1:]
    from metabench.training.execute import execute
    from metabench.utils.console import Display

    tell = Channel.current.tell if Channel.current else None
    display = Display(tell=tell, full="METABENCH_FULL" in os.environ)
    summary, path = execute(composed, HydraConfig.get(), given, display)
    return {**summary, "run": str(path)}


def _reason(fault: Exception) -> str:
    return explain(fault) if isinstance(fault, OmegaConfBaseException) else str(fault)
