"""The trials of a search: runs, made in this process or several side by side in forks of it."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import torch

from metabench.config.compose import composition
from metabench.errors import BusyError, UserError
from metabench.runs.run_dir import RunDirectory, held_identity
from metabench.sweep.isolate import Channel
from metabench.sweep.local import Jobs, share_of
from metabench.sweep.pruning import TrialDisplay
from metabench.sweep.search_space import as_overrides
from metabench.sweep.study import Outcome, Round, Study
from metabench.training.execute import execute
from metabench.utils.console import format_metric, open_console
from metabench.utils.progress import Tell
from metabench.utils.signals import Interrupted


class Trials:
    """Makes the runs of rounds of trials, `parallel` at a time; a failure is an outcome."""

    def __init__(
        self, study: Study, fixed: Sequence[str], config_dir: str | None, metric: str, prune: bool, parallel: int
    ) -> None:
        self.study, self.fixed, self.config_dir = study, list(fixed), config_dir
        self.metric, self.prune, self.parallel = metric, prune, parallel
        self.first = True  # round

    def __call__(self, begun: Round) -> dict[int, Outcome]:
        """The outcomes of trials with these values."""
        words = {number: as_overrides(values) for number, values in begun.items()}
        if self.parallel == 1:
            ended = {number: self._in_view(own, number) for number, own in words.items()}
        else:
            share = share_of({number: [*self.fixed, *own] for number, own in words.items()})
            ended = Jobs(self._apart, words, share, self.parallel, noun="trial", first=self.first).run()
            self.first = False
        return {
            number: Outcome(**said["outcome"]) if "outcome" in said else Outcome(None, None, said["reason"])
            for number, said in ended.items()
        }

    def command(self, own: Sequence[str]) -> list[str]:
        """The arguments with which a person makes the run of a trial."""
        return [*([f"--config-dir={self.config_dir}"] if self.config_dir else []), *self.fixed, *own]

    def _in_view(self, own: list[str], number: int) -> dict[str, Any]:
        """One trial in this process, with all that a run shows."""
        console = open_console()
        console.print(f"\ntrial {number}: {' '.join(own)}")
        said = self._attempt(own)
        print(said.get("trace", ""), file=sys.stderr, end="")
        ending = "" if said["status"] == "complete" else f"{said['status']}: "
        console.print(f"trial {number}: {ending}{said['reason']}")
        return said

    def _apart(self, own: list[str], number: int, threads: int) -> dict[str, Any]:
        """One trial in a process of its own, whose output goes to a log in the folder of the search."""
        torch.set_num_threads(threads)
        assert Channel.current is not None
        Channel.current.open_log(self.study.folder / "trials" / str(number))
        return self._attempt(own, Channel.current.tell)

    def _attempt(self, own: list[str], tell: Tell | None = None) -> dict[str, Any]:
        """One trial as a sweep keeps a job, with the outcome that a search keeps; a failure is not raised."""
        more: dict[str, Any] = {}
        try:
            outcome = self._run(own, TrialDisplay(self.study.pruner() if self.prune else None, tell))
        except UserError as fault:
            outcome, more = Outcome(None, None, str(fault)), {"busy": isinstance(fault, BusyError)}
        except Exception as fault:
            outcome, more = Outcome(None, None, f"{type(fault).__name__}: {fault}"), {"trace": traceback.format_exc()}
        reason = outcome.reason
        if outcome.value is not None:
            reason = f"validation {self.metric} {format_metric(self.metric, outcome.value)}"
        return {"status": status_of(outcome), "reason": reason, "outcome": outcome._asdict(), **more}

    def _run(self, own: list[str], display: TrialDisplay) -> Outcome:
        """Run it, or continue, until it ends or is pruned. How its test ends is nothing to a search."""
        composed = composition(*self.fixed, *own, config_dir=self.config_dir)
        try:
            execute(*composed, self.command(own), display)
        except Interrupted:
            if display.pruned is None:
                raise
            return Outcome(None, None, display.pruned, pruned=True)
        except UserError:
            if display.chosen is None:
                raise
        if display.chosen is None:
            return Outcome(None, None, "nothing was validated")
        value, path = display.chosen
        if not math.isfinite(value):
            return Outcome(None, str(path), "every validation has tasks whose metric is not finite")
        found = RunDirectory(path, held_identity(path) or "").validations(self.metric)
        return Outcome(value, str(path), validations=found)


def status_of(outcome: Outcome) -> str:
    """The ending of a trial, in a word."""
    return "pruned" if outcome.pruned else "failed" if outcome.value is None else "complete"
