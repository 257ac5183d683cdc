"""`hydra/launcher=submitit_local` and `submitit_slurm`: every job of a sweep in a process of its own, by submitit.

A job that ends without an outcome (killed, out of memory, a node lost) is submitted again and continues from its
checkpoint. Jobs that still fail are outcomes of the sweep like any other. Imported at every start: nothing here imports
submitit or torch.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from metabench.sweep.local import LocalLauncher
from metabench.utils.signals import SIGNALS

ENDS = [number for number in SIGNALS if number.name in ("SIGTERM", "SIGHUP")]
POLL = 0.5  # seconds
CONFIGS = ("submitit_local", "submitit_slurm")
DIED = {"status": "killed", "reason": "ended without a word"}


def register_launcher() -> None:
    """Let configurations name the launchers of metabench. Hydra looks for plugins in its own two namespaces alone.

    hydra-submitit-launcher, where it is installed, stores launchers of the same names. Hydra would merge them into
    ours, whose parameters differ, so they are removed: `submitit_local` and `submitit_slurm` are those of metabench.
    """
    for launcher in (LocalLauncher, SubmititLauncher):
        Plugins.instance().register(launcher)  # and every plugin has stored its configurations
    stored = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for name in CONFIGS:
        stored.pop(f"{name}.yaml", None)
    ours = [f"{launcher.__module__}.{launcher.__qualname__}" for launcher in (LocalLauncher, SubmititLauncher)]
    known = Plugins.is_in_toplevel_plugins_module
    Plugins.is_in_toplevel_plugins_module = staticmethod(  # type: ignore[method-assign, assignment]
        lambda target: target in ours or known(target)
    )


class SubmititLauncher(Launcher):
    """Runs jobs on `cluster`: local or slurm.

    `parallel` at a time, each submitted again up to `retries` times; `parameters` are those of
    `submitit.AutoExecutor.update_parameters`, of which null ones are left to submitit.
    """

    def __init__(self, cluster: str, folder: str, parallel: int, retries: int, parameters: DictConfig) -> None:
        self.cluster, self.folder, self.parallel, self.retries = cluster, Path(folder), parallel, retries
        self.parameters: Any = OmegaConf.to_container(parameters, resolve=True)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        self.work = Work(hydra_context, task_function, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit all jobs and wait for them; a failure is an outcome that is returned, not raised."""
        executor = self._executor()
        jobs = dict(enumerate((list(overrides) for overrides in job_overrides), start=initial_job_idx))
        before = {end: signal.getsignal(end) for end in ENDS}
        for end, handler in before.items():
            if handler == signal.SIG_DFL:
                signal.signal(end, _stopped)
        waiting, tries = list(jobs), dict.fromkeys(jobs, 0)
        running: dict[int, Any] = {}
        ended: dict[int, JobReturn] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.parallel:
                    number = waiting.pop(0)
                    running[number] = executor.submit(self.work, jobs[number], number)
                    _say(number, f"{' '.join(jobs[number])}: {running[number].paths.stdout}")
                for number in [number for number, job in running.items() if job.done()]:
                    outcome = _outcome(running.pop(number))
                    if outcome == DIED and tries[number] < self.retries:
                        tries[number] += 1
                        waiting.append(number)
                        _say(number, f"{DIED['reason']}; submitted again, {tries[number]} of {self.retries}")
                        continue
                    if isinstance(outcome, dict):  # the process returned nothing
                        outcome = JobReturn(status=JobStatus.COMPLETED, _return_value=outcome)
                    ended[number] = outcome
                    _say(number, str(outcome.return_value["status"]))
                time.sleep(POLL)
        finally:
            for end, handler in before.items():
                signal.signal(end, handler)
            if self.cluster == "local":  # on a cluster they go on: the same command finds what they have done
                for job in running.values():
                    job.cancel()  # it writes a checkpoint
        return [ended[number] for number in jobs]

    def _executor(self) -> Any:
        from metabench.errors import UserError
        from metabench.utils.install import pip_install

        try:
            import submitit
        except ImportError:
            raise UserError(f"hydra/launcher=submitit_…: needs {pip_install('submitit')}") from None
        try:
            executor = submitit.AutoExecutor(self.folder, cluster=self.cluster)
            executor.update_parameters(**{k: v for k, v in self.parameters.items() if v is not None})
        except (RuntimeError, NameError, ValueError, TypeError) as fault:  # no Slurm here; an unknown parameter
            raise UserError(f"hydra.launcher: {' '.join(str(fault).split())}") from None
        return executor


class Work:
    """One job in the process that runs it."""

    def __init__(self, context: HydraContext, function: TaskFunction, config: DictConfig) -> None:
        self.context, self.function, self.config = context, function, config
        self.state = Singleton.get_state()

    def __call__(self, overrides: list[str], number: int) -> JobReturn:
        """Compose the job and run it, as Hydra's own launcher does."""
        from metabench.config.guard import guard_hydra

        sys.path.append(str(Path.cwd()))  # a user's own package
        Singleton.set_state(self.state)
        setup_globals()
        register_launcher()  # before the guard, which lets through what is registered
        guard_hydra()
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = f"{os.getpid()}", number
        return run_job(
            hydra_context=self.context,
            task_function=self.function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

    def checkpoint(self, *arguments: Any) -> Any:
        """The work that submitit queues again when a cluster takes the machine back: the same, which continues."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


def _outcome(job: Any) -> JobReturn | dict[str, str]:
    """The value that the job returned, or `status` and `reason` of one without; an exception of its own is final."""
    from submitit.core.utils import FailedJobError, UncompletedJobError

    from metabench.errors import last_line

    try:
        return job.result()
    except FailedJobError as fault:
        return {"status": "failed", "reason": last_line(fault)}
    except UncompletedJobError:
        return DIED


def _stopped(number: int, frame: FrameType | None) -> None:
    from metabench.utils.exit import leave
    from metabench.utils.signals import Interrupted

    stopped = Interrupted(number)
    leave(str(stopped), stopped.exit_code)


def _say(number: int, text: str) -> None:
    print(f"job {number}: {text}", flush=True)
