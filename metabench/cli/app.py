"""One job of the command line: compose with Hydra, check, run; and how every ending is said."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from metabench.cli.estimate import watch_boards
from metabench.config.budgets import register_budgets
from metabench.config.explain import COMPOSING, explain
from metabench.config.globs import glob_subfolders
from metabench.config.guard import guard_hydra
from metabench.config.overrides import check_command
from metabench.config.published import fill_published
from metabench.config.search_path import register_search_path
from metabench.errors import UserError
from metabench.sweep import isolate
from metabench.sweep.launcher import register_launcher
from metabench.sweep.record import SWEEP, JobRecord, watch_launchers
from metabench.utils.exit import leave
from metabench.utils.oom import OutOfMemoryError
from metabench.utils.output import guard_output
from metabench.utils.signals import Interrupted, LauncherExit

COMMAND = "METABENCH_COMMAND"  # the arguments that the program was given, for the processes that it starts
IN_TURN = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"  # Hydra's own: all jobs in one process

register_budgets()
register_search_path()
fill_published()  # here, for wherever a launcher takes a job this module is imported


def hydra_main() -> None:
    """Hydra's program; ends the process where the command cannot be composed, or a job of a sweep has failed."""
    try:
        register_launcher()
        watch_launchers()
        watch_boards()
        guard_hydra()
        glob_subfolders()
        check_command(sys.argv[1:])
        _job()
    except UserError as fault:
        leave(str(fault), fault.exit_code)
    except Interrupted as stopped:
        if SWEEP.jobs:
            leave(str(stopped), stopped.exit_code)
        raise
    except COMPOSING as fault:  # a run has said its own
        if not SWEEP.jobs:
            leave(explain(fault), UserError.exit_code)
        SWEEP.report()
        leave(explain(fault), 1)
    if SWEEP.jobs and (code := SWEEP.report()):
        sys.exit(code)


def hydra_help() -> None:
    """Hydra's own page of help: without the guard, for it composes Hydra's defaults, and runs nothing."""
    _job()


@hydra.main(version_base="1.3", config_path="pkg://metabench.conf", config_name="config")
def _job(composed: DictConfig) -> dict[str, Any]:
    """One run, or one of a sweep: its jobs each have their own process, where not the launcher sees to that."""
    hydra_config = HydraConfig.get()
    guard_output()  # in the process of a launcher too
    if hydra_config.mode != RunMode.MULTIRUN:
        return _run_alone(composed)
    apart = hydra_config.launcher._target_ == IN_TURN and isolate.POSSIBLE
    if apart:
        import metabench.training.runner  # noqa: F401 -- once, for all of them
    job = JobRecord(hydra_config)
    try:
        job.begin()
        return job.end(isolate.isolated(lambda: _outcome(composed)) if apart else _outcome(composed))
    except (Interrupted, KeyboardInterrupt, SystemExit) as fault:
        job.stop(fault)
        raise


def _run_alone(composed: DictConfig) -> dict[str, Any]:
    """Make one run; ends the process where it fails."""
    try:
        return _execute(composed)
    except (UserError, OmegaConfBaseException) as fault:
        alone = isinstance(fault, OutOfMemoryError)  # of this rank
        leave(_reason(fault), getattr(fault, "exit_code", UserError.exit_code), alone=alone)
    except Interrupted as stopped:
        leave(str(stopped), stopped.exit_code)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _outcome(composed: DictConfig) -> dict[str, Any]:
    """Make one run of a sweep; a failure is an outcome, not an exception, so that the other jobs go on."""
    try:
        return _execute(composed)
    except (UserError, OmegaConfBaseException) as fault:
        return {"status": getattr(fault, "status", UserError.status), "reason": _reason(fault)}
    except LauncherExit:
        raise
    except (Exception, SystemExit) as fault:
        traceback.print_exc()
        return {"status": "failed", "reason": f"{type(fault).__name__}: {fault}"}


def _execute(composed: DictConfig) -> dict[str, Any]:
    # The process of a launcher has arguments of its own.
    given = json.loads(os.environ[COMMAND]) if COMMAND in os.environ else sys.argv[1:]
    from metabench.training.execute import execute

    return execute(composed, HydraConfig.get(), given)[0]


def _reason(fault: Exception) -> str:
    return explain(fault) if isinstance(fault, OmegaConfBaseException) else str(fault)
