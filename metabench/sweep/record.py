"""The outcomes of a sweep's jobs: counted where a launcher is given them, and shown in a table at the end.

Neither folders nor files decide what a sweep reports: a launcher is given a list of jobs and returns how each ended,
wherever it ran. A job that this process runs itself is known as soon as it has ended, should the launcher fail later.
`outcome.json`, in the folder that Hydra makes for a job, is for people who watch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from metabench.errors import UserError
from metabench.sweep.isolate import Channel
from metabench.sweep.outcome import FINE, KEPT, KILLED, UNKNOWN, Outcome, as_outcome, write_outcome
from metabench.utils.counted import counted


class SweepRecord:
    """The jobs of a sweep by number: their overrides, and their outcomes once known."""

    def __init__(self) -> None:
        self.jobs: dict[int, list[str]] = {}
        self.outcomes: dict[int, Outcome] = {}

    def end(self, number: int, outcome: Any) -> Outcome:
        """Keep how a job ended, as the task function or the launcher says it: a dictionary, or an exception."""
        said = as_outcome(outcome)
        kept = {key: said.get(key) for key in KEPT}
        self.outcomes[number] = kept
        return kept

    def watch(self, launcher: Launcher) -> None:
        """Count every job that `launcher` is given, and keep what it returns of each."""
        launch = launcher.launch

        @wraps(launch)
        def watched(job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            jobs = dict(enumerate(map(list, job_overrides), start=initial_job_idx))
            if not jobs:
                raise UserError("a sweep without jobs: a key such as seed=range(0,0) has no value")
            self.jobs |= jobs
            returned = list(launch(job_overrides, initial_job_idx))
            for number, job in zip(jobs, returned, strict=False):
                outcome = self.end(number, job._return_value)  # the property would raise what the job raised
                job.status, job.return_value = JobStatus.COMPLETED, outcome
            return returned

        launcher.launch = watched  # type: ignore[method-assign]

    def report(self) -> int:
        """Print the table of all jobs, and the number of failed and skipped ones; the exit code of the sweep."""
        from rich.table import Table
        from rich.text import Text

        from metabench.utils.console import format_metric, open_console

        count = len(self.jobs)
        table = Table(title=f"sweep of {counted(count, 'job')}", title_justify="left", box=None, pad_edge=False)
        for heading in ("job", "overrides", "status", "result"):
            table.add_column(heading)
        shared = set.intersection(*map(set, self.jobs.values())) if count > 1 else set()
        outcomes = {number: self.outcomes.get(number, UNKNOWN) for number in self.jobs}
        for number, outcome in outcomes.items():
            test = outcome.get("test")
            name = test["metric"] if test else ""
            result = f"{name} {format_metric(name, test['mean'], test['ci95'])}" if test else outcome["reason"]
            own = " ".join(o for o in self.jobs[number] if o not in shared)
            table.add_row(*map(Text, (str(number), own, str(outcome["status"]), str(result or ""))))
        console = open_console()
        console.print("", table)
        failed = sum(outcome["status"] not in FINE for outcome in outcomes.values())
        skipped = sum(outcome["status"] == "skipped" for outcome in outcomes.values())
        if skipped:
            console.print(f"{skipped} of {counted(count, 'job')} skipped: the method does not read such tasks")
        if failed:
            console.print(f"{failed} of {counted(count, 'job')} failed; the same command runs only what is missing")
        return 1 if failed else 2 if skipped == count > 0 else 0


SWEEP = SweepRecord()
"""The jobs of the sweep that this process runs; none in the process of a job."""


def watch_launchers() -> None:
    """From now on every launcher that Hydra makes is watched by `SWEEP`."""
    make = Plugins.instantiate_launcher

    @wraps(make)
    def watched(*args: Any, **options: Any) -> Launcher:
        launcher = make(*args, **options)
        SWEEP.watch(launcher)
        return launcher

    Plugins.instantiate_launcher = watched  # type: ignore[method-assign]


class JobRecord:
    """A job of a sweep in the process that runs it, from its start to its end."""

    def __init__(self, hydra_config: Any) -> None:
        self.number = hydra_config.job.num
        self.overrides = list(hydra_config.overrides.task)
        self.folder = Path(hydra_config.runtime.output_dir)  # absolute, whatever the job does to its own directory

    def begin(self) -> None:
        """Say so; until the job has ended, its outcome is that of one that was killed."""
        if Channel.current is not None:
            Channel.current.open_log(self.folder)
        self._write(KILLED)
        _say(f"\njob {self.number}: {' '.join(self.overrides)}")

    def end(self, outcome: Outcome) -> Outcome:
        """Write and say how the job ended, in the form in which a sweep keeps it."""
        kept = SWEEP.end(self.number, outcome)
        self._write(kept)
        if kept["reason"]:
            _say(f"job {self.number} {kept['status']}: {kept['reason']}")
        return kept

    def stop(self, fault: BaseException) -> None:
        """Write that the whole sweep ended with `fault` while the job was running."""
        known = "stopped by SIGINT" if isinstance(fault, KeyboardInterrupt) else str(fault)
        self._write({"status": "stopped", "reason": getattr(fault, "why", known)})

    def _write(self, outcome: Outcome) -> None:
        write_outcome(self.folder, outcome, self.overrides)


def _say(line: str) -> None:
    from metabench.utils.distributed import silent

    if not silent():
        print(line)
        sys.stdout.flush()
