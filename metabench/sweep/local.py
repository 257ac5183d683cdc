"""`hydra/launcher=local`, the default: jobs of a sweep on this machine, as many side by side as make it fastest.

`metabench.sweep.share` says how many, and with how many threads each. A job's numbers are the same whatever runs
beside it. Imported at every start: nothing here imports torch.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from metabench.config.explain import explain
from metabench.errors import ConfigError
from metabench.sweep.isolate import POSSIBLE, Handlers, Process, wait
from metabench.sweep.outcome import Outcome, as_outcome, write_outcome
from metabench.sweep.share import JOB_MEMORY, Share, share_machine
from metabench.utils.distributed import silent, started_together
from metabench.utils.memory import free_memory, resident, total_memory
from metabench.utils.signals import SIGNALS, Interrupted
from metabench.utils.starting import Starting

POLL = 0.1  # seconds


class LocalLauncher(Launcher):
    """Runs `parallel` jobs at a time, or as many as the rule says where that is None."""

    preload: Callable[[], None] = staticmethod(lambda: None)  # imports what jobs need, before they are forked

    def __init__(self, parallel: int | None) -> None:
        self.parallel = parallel

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra; raises `ConfigError`."""
        value = self.parallel
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigError("hydra.launcher.parallel", value, "should be a whole number, 1 or more, or null")
        self.context, self.function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs; a failure is an outcome that is returned, not raised. Raises `Interrupted` after a signal."""
        Starting.say("loading torch")
        self.preload()
        setup_globals()
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        jobs = dict(enumerate(map(list, job_overrides), start=initial_job_idx))
        if POSSIBLE:
            share = share_of(jobs)
            outcomes = Jobs(self.work, jobs, share, self.parallel).run()
        else:
            Starting.clear()
            outcomes = {number: self.work(overrides, number) for number, overrides in jobs.items()}
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=outcomes[number]) for number in jobs]

    def work(self, overrides: list[str], number: int, threads: int | None = None) -> Outcome:
        """Compose a job and run it in this process, as Hydra's own launcher does."""
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        try:
            config = self.context.config_loader.load_sweep_config(self.config, overrides)
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            done = run_job(
                hydra_context=self.context,
                task_function=self.function,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        except (HydraException, OmegaConfBaseException, OSError) as fault:  # of composing it, or of making its folder
            return {"status": "failed", "reason": explain(fault)}
        return as_outcome(done._return_value)  # the property would raise what the job raised


class Jobs:
    """The jobs of a sweep, or the trials of a search: waiting, running and ended.

    `work` does one, given its overrides, its number and how many threads it has; `parallel` is how many are asked for.
    """

    def __init__(
        self,
        work: Callable[[list[str], int, int], Outcome],
        jobs: dict[int, list[str]],
        share: Share,
        parallel: int | None,
        noun: str = "job",
        first: bool = True,
    ) -> None:
        from metabench.sweep.display import SweepDisplay
        from metabench.utils.console import open_console

        self.work, self.jobs, self.share, self.parallel = work, jobs, share, parallel
        self.most = min(len(jobs), parallel or share.side_by_side)
        self.waiting = list(jobs)
        self.running: dict[int, Process] = {}
        self.ended: dict[int, Outcome] = {}
        self.alone: set[int] = set()  # jobs to be run again with none beside them
        self.display = SweepDisplay(open_console(), jobs, self.most, noun, first)
        found: Handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self.before = {number: handler for number, handler in found.items() if handler is not None}
        self.asked: list[int] = []

    def run(self) -> dict[int, Outcome]:
        """Run them all; their outcomes by number. Signals are passed on to jobs, which end as they would alone."""
        for number, handler in self.before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, self._forward)
        try:
            with self.display:
                while self.running or (self.waiting and not self.asked):
                    while self.waiting and not self.asked and self._has_room(self.waiting[0]):
                        self._start(self.waiting.pop(0))
                    wait([process.pipe for process in self.running.values()], POLL)
                    for number, process in list(self.running.items()):
                        self.display.card(number, process.card)
                        if (outcome := process.poll()) is not None:
                            self._end(number, outcome)
                    self.display.tick({number: process.progress for number, process in self.running.items()})
        finally:
            for process in self.running.values():  # where this process cannot go on: nobody reads its output
                process.end()
            for number, handler in self.before.items():
                signal.signal(number, handler)
        if self.asked:
            raise Interrupted(self.asked[0])
        return self.ended

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.asked.append(number)
        for process in self.running.values():
            process.kill(number)

    def _has_room(self, number: int) -> bool:
        """Return True where a job can begin now: with cores for its threads and memory beside the others."""
        if not self.running:
            return True
        if len(self.running) >= self.most or number in self.alone:
            return False
        used = sum(self.share.threads[one] for one in self.running)
        if self.parallel is None and used + self.share.threads[number] > self.share.cores:
            return False
        to_come = sum(max(0, JOB_MEMORY - resident(process.pid)) for process in self.running.values())
        free = free_memory()
        return free is None or free - to_come >= JOB_MEMORY

    def _start(self, number: int) -> None:
        overrides, threads = self.jobs[number], self.share.threads[number]
        self.display.begin(number, threads)
        self.running[number] = Process(lambda: self.work(overrides, number, threads), self.before)
        for asked in self.asked:  # while it was made
            self.running[number].kill(asked)

    def _end(self, number: int, outcome: Outcome) -> None:
        process = self.running.pop(number)
        if outcome.pop("busy", False) and number not in self.alone and not self.asked:
            self.alone.add(number)  # another job of the sweep may be the same run
            self.waiting.append(number)
            return
        if not process.spoke and process.folder is not None:
            write_outcome(process.folder, outcome, self.jobs[number])
        if trace := outcome.pop("trace", ""):
            print(trace, file=sys.stderr, end="", flush=True)
        self.ended[number] = outcome
        self.display.end(number, outcome, process.folder, process.progress.get("phase") == "finished before")


def share_of(jobs: dict[int, list[str]]) -> Share:
    """The share of this machine. On a GPU, and of several ranks, jobs run one after the other."""
    import torch

    cores = torch.get_num_threads()
    on_gpu = torch.cuda.device_count() > 0 and not all("device=cpu" in overrides for overrides in jobs.values())
    if on_gpu or started_together() or silent():
        return Share(1, cores, dict.fromkeys(jobs, cores))
    return share_machine(list(jobs), cores, total_memory())
