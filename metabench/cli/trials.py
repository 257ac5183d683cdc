"""The trials of a search: runs, made in this process or several side by side in forks of it."""

from __future__ import annotations

import math
import traceback
from collections.abc import Sequence
from typing import Any

import torch

from metabench.config.compose import composition
from metabench.errors import BusyError, UserError
from metabench.runs.run_dir import RunDirectory
from metabench.sweep.isolate import Channel
from metabench.sweep.local import Jobs, share_of
from metabench.sweep.pruning import TrialDisplay
from metabench.sweep.search_space import as_overrides
from metabench.sweep.study import Outcome, Round, Study
from metabench.training.execute import execute
from metabench.utils.console import format_metric, open_console
from metabench.utils.signals import Interrupted


class Trials:
    """Makes the runs of rounds of trials, `parallel` at a time; a failure is an outcome."""

    def __init__(
        self, study: Study, fixed: Sequence[str], config_dir: str | None, metric: str, prune: bool, parallel: int
    ) -> None:
        self.study, self.fixed, self.config_dir = study, list(fixed), config_dir
        self.metric, self.prune, self.parallel = metric, prune, parallel
        self.first = True  # round
        self.place = [f"--config-dir={config_dir}"] if config_dir else []

    def __call__(self, begun: Round) -> dict[int, Outcome]:
        """The outcomes of trials with these values."""
        words = {number: as_overrides(values) for number, values in begun.items()}
        if self.parallel == 1:
            return {number: self._in_view(own, number) for number, own in words.items()}
        share = share_of({number: [*self.fixed, *own] for number, own in words.items()})
        ended = Jobs(self._apart, words, share, self.parallel, noun="trial", first=self.first).run()
        self.first = False
        return {
            number: Outcome(**said["outcome"]) if "outcome" in said else Outcome(None, None, said["reason"])
            for number, said in ended.items()
        }

    def _in_view(self, own: list[str], number: int) -> Outcome:
        """One trial in this process, with all that a run shows."""
        console = open_console()
        console.print(f"\ntrial {number}: {' '.join(own)}", markup=False)
        try:
            outcome = self._run(own, TrialDisplay(self._pruner()))
        except UserError as fault:
            outcome = Outcome(None, None, str(fault))
        except Exception as fault:
            traceback.print_exc()
            outcome = Outcome(None, None, f"{type(fault).__name__}: {fault}")
        said = f"{status_of(outcome)}: {outcome.reason}" if outcome.reason else self._found(outcome)
        console.print(f"trial {number}: {said}", markup=False)
        return outcome

    def _apart(self, own: list[str], number: int, threads: int) -> dict[str, Any]:
        """One trial in a process of its own, whose output goes to a log in the folder of the search."""
        torch.set_num_threads(threads)
        assert Channel.current is not None
        Channel.current.open_log(self.study.folder / "trials" / str(number))
        try:
            outcome = self._run(own, TrialDisplay(self._pruner(), Channel.current.tell))
        except UserError as fault:
            return {"status": "failed", "reason": str(fault), "busy": isinstance(fault, BusyError)}
        except Exception as fault:
            return {"status": "failed", "reason": f"{type(fault).__name__}: {fault}", "trace": traceback.format_exc()}
        reason = outcome.reason or self._found(outcome)
        return {"status": status_of(outcome), "reason": reason, "outcome": outcome._asdict()}

    def _pruner(self) -> Any:
        return self.study.pruner() if self.prune else None

    def _run(self, own: list[str], display: TrialDisplay) -> Outcome:
        """Run it, or continue, until it ends or is pruned."""
        composed = composition(*self.fixed, *own, config_dir=self.config_dir)
        try:
            summary, path = execute(*composed, [*self.place, *self.fixed, *own], display)
        except Interrupted:
            if display.pruned is None:
                raise
            return Outcome(None, None, display.pruned, pruned=True)
        value = summary["selected"]["value"]
        if value is None or not math.isfinite(value):
            return Outcome(None, str(path), "every validation has tasks whose metric is not finite")
        validations = RunDirectory(path, summary["identity"]).validations(self.metric)
        return Outcome(value, str(path), validations=validations)

    def _found(self, outcome: Outcome) -> str:
        assert outcome.value is not None
        return f"validation {self.metric} {format_metric(self.metric, outcome.value)}"


def status_of(outcome: Outcome) -> str:
    """The ending of a trial, in a word."""
    return "pruned" if outcome.pruned else "failed" if outcome.value is None else "complete"
