"""What a sweep leaves behind: one outcome a job, and at the end a table of all of them.

A Hydra callback, so that it serves every launcher: each job writes its outcome into the folder of the sweep, from
whatever process it runs in; a job that started and left none was killed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SweepReport(Callback):
    """Writes `outcome.json` a job and prints them all; the process exits with 1 if any job failed."""

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note that the job has begun."""
        if _sweeping(config):
            overrides = list(config.hydra.overrides.task)
            print(f"\njob {config.hydra.job.num}: {' '.join(overrides)}", flush=True)
            _write(config, {"status": "killed", "reason": "the process ended without a word", "overrides": overrides})

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Note how it ended."""
        if not _sweeping(config):
            return
        outcome = job_return._return_value  # the property would raise what the job raised
        if not isinstance(outcome, dict):
            outcome = {"status": "failed", "reason": f"{type(outcome).__name__}: {outcome}"}
        kept = {key: outcome.get(key) for key in ("status", "reason", "test")}
        _write(config, {**kept, "overrides": list(config.hydra.overrides.task)})
        job_return.cfg = job_return.hydra_cfg = None  # Hydra keeps them of all jobs, and uses them for none
        if kept["reason"]:
            print(f"job {config.hydra.job.num} failed: {kept['reason']}", flush=True)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """The table of all jobs, failed ones with their reason; exits with 1 if there is one."""
        from rich.table import Table

        from metabench.utils.console import format_metric, open_console

        folder = Path(config.hydra.sweep.dir)
        outcomes = {int(p.parent.name): json.loads(p.read_text()) for p in folder.glob("*/outcome.json")}
        table = Table(title=f"sweep of {len(outcomes)} jobs", title_justify="left", box=None, pad_edge=False)
        for heading in ("job", "overrides", "status", "result"):
            table.add_column(heading)
        shared = set.intersection(*(set(o["overrides"]) for o in outcomes.values())) if len(outcomes) > 1 else set()
        for number, outcome in sorted(outcomes.items()):
            test = outcome.get("test")
            name = test["metric"] if test else ""
            result = f"{name} {format_metric(name, test['mean'], test['ci95'])}" if test else outcome["reason"]
            own = " ".join(o for o in outcome["overrides"] if o not in shared)
            table.add_row(str(number), own, outcome["status"], result)
        console = open_console()
        console.print("", table)
        failed = sum(outcome["status"] != "complete" for outcome in outcomes.values())
        if failed:
            console.print(f"{failed} of {len(outcomes)} jobs failed; the same command runs only what is missing")
            sys.exit(1)


def _sweeping(config: DictConfig) -> bool:
    return str(config.hydra.mode).endswith("MULTIRUN")


def _write(config: DictConfig, outcome: dict[str, Any]) -> None:
    write_outcome(Path(config.hydra.sweep.dir) / str(config.hydra.sweep.subdir), outcome)


def write_outcome(folder: Path, outcome: dict[str, Any]) -> None:
    """Put what became of a job into its folder."""
    from metabench.utils.files import write_json  # and with it torch, which only the jobs need

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "outcome.json", outcome)
