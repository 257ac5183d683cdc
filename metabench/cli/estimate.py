"""Estimate of the time of a sweep over a board, printed before it starts: a line per job, and what cannot be done.

In processes of its own, for the one that starts jobs must not compute.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

from metabench.cli.arguments import split_config_dir
from metabench.utils.counted import counted

Jobs = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Expected:
    """Expected seconds of a job, or a word on why there are none."""

    overrides: Sequence[str]
    seconds: float | None = None
    word: str = ""


def watch_boards() -> None:
    """From now on every launcher that is given jobs of a board says first how long they will take."""
    make = Plugins.instantiate_launcher

    @wraps(make)
    def watched(*args: Any, **options: Any) -> Launcher:
        launcher = make(*args, **options)
        launcher.launch = _saying(launcher.launch)  # type: ignore[method-assign, assignment]
        return launcher

    Plugins.instantiate_launcher = watched  # type: ignore[method-assign]


def _saying(launch: Callable[[Jobs, int], Sequence[JobReturn]]) -> Callable[[Jobs, int], Sequence[JobReturn]]:
    @wraps(launch)
    def said(job_overrides: Jobs, initial_job_idx: int) -> Sequence[JobReturn]:
        if len(job_overrides) > 1 and any(word.startswith("bench=") for job in job_overrides for word in job):
            say(list(job_overrides))
        return launch(job_overrides, initial_job_idx)

    return said


def say(jobs: Jobs) -> None:
    """Print the table of what is expected of each job, and the sum."""
    from rich.table import Table
    from rich.text import Text

    from metabench.utils.console import open_console
    from metabench.utils.progress import clock

    console = open_console()
    console.print(f"estimating the time of {counted(len(jobs), 'job')} from a few meta-steps of each")
    found = _all(jobs, split_config_dir(sys.argv[1:])[1])
    table = Table(title="estimate", title_justify="left", box=None, pad_edge=False)
    for heading in ("job", "time"):
        table.add_column(heading)
    shared = set.intersection(*(set(job) for job in jobs))
    for expected in found:
        own = " ".join(word for word in expected.overrides if word not in shared)
        table.add_row(Text(own), Text(expected.word or clock(expected.seconds or 0.0)))
    console.print(table)
    total = sum(expected.seconds or 0.0 for expected in found)
    unknown = sum(expected.word.startswith("not known") for expected in found)
    more = f", and {unknown} more of which nothing is known" if unknown else ""
    console.print(f"about {clock(total)} in all of one core that is free, one job after the other{more}")


def _all(jobs: Jobs, config_dir: str | None) -> list[Expected]:
    """Expectation of each job; those that differ in nothing but the seed are measured once."""
    cells = [tuple(word for word in job if not word.startswith("seed=")) for job in jobs]
    first = {cell: list(job) for cell, job in reversed(list(zip(cells, jobs, strict=True)))}
    one = partial(expect, config_dir=config_dir)
    with ProcessPoolExecutor(initializer=_quiet) as pool:
        known = dict(zip(first, pool.map(one, first.values()), strict=True))
        others = {i: list(job) for i, job in enumerate(jobs) if list(job) != first[cells[i]]}
        rest = dict(zip(others, pool.map(one, others.values(), [known[cells[i]].seconds for i in others]), strict=True))
        return [rest.get(i, known[cell]) for i, cell in enumerate(cells)]


def expect(job: list[str], seconds: float | None = None, *, config_dir: str | None = None) -> Expected:
    """Expectation of one job, which takes `seconds` where that is known.

    Nothing that is wrong with it is raised, for the job itself will say it.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from metabench.config.compose import composition
    from metabench.config.explain import explain
    from metabench.errors import UserError
    from metabench.training.estimate import estimate
    from metabench.training.execute import plan_run

    try:
        config, run = plan_run(*composition(*job, config_dir=config_dir), command=job)
        if config.resume and (run.path / "summary.json").exists():
            return Expected(job, word="finished before")
        return Expected(job, estimate(config).total if seconds is None else seconds)
    except UserError as fault:
        return Expected(job, word=f"{'skipped' if fault.status == 'skipped' else 'fails'}: {fault}")
    except (HydraException, OmegaConfBaseException) as fault:
        return Expected(job, word=f"fails: {explain(fault)}")
    except Exception as fault:
        return Expected(job, word=f"not known: {type(fault).__name__}: {fault}")


def _quiet() -> None:
    """In a process that measures: Ctrl-C is for the one that started it; a thread each."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
