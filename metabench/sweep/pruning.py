"""Pruning of a search: a trial is given up where its validations fall behind those of the trials that have ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from metabench.utils.console import Display
from metabench.utils.progress import Tell
from metabench.utils.signals import NO_SIGNAL, request

FIRST = 5  # trials that run to their end, for the others to be compared with

Validations = Sequence[tuple[int, float]]  # meta-steps, and what validation found there


class Pruner:
    """Optuna's median rule: the best validation so far is worse than the median of the others at that meta-step.

    It goes by trials that had ended before this one began, so that a search repeats itself, side by side or not.
    """

    def __init__(self, ended: Sequence[Validations], maximise: bool) -> None:
        import optuna

        rule = optuna.pruners.MedianPruner(n_startup_trials=FIRST, n_warmup_steps=0)
        self._study = optuna.create_study(direction="maximize" if maximise else "minimize", pruner=rule)
        for validations in ended:
            self._study.add_trial(optuna.trial.create_trial(value=0.0, intermediate_values=dict(validations)))
        self._trial = self._study.ask()

    def __call__(self, step: int, value: float) -> bool:
        """Report a validation; return True where the trial is not worth going on with."""
        self._trial.report(value, step)
        return self._trial.should_prune()


class TrialDisplay(Display):
    """Output of a trial: no test before the choice, and the run is stopped where the pruner says so."""

    def __init__(self, pruner: Pruner | None, tell: Tell | None = None) -> None:
        super().__init__(tell=tell, results=False)
        self.pruner = pruner
        self.pruned: str | None = None  # why
        self.chosen: tuple[float, Path] | None = None  # the validation by which the trial is judged, and its run

    def validated(self, step: int, value: float) -> None:
        """Ask the pruner; a run that it gives up stops with a checkpoint."""
        if self.pruner is not None and self.pruned is None and self.pruner(step, value):
            self.pruned = f"validation at meta-step {step} is behind the median of the trials before"
            request(NO_SIGNAL, f"pruned: {self.pruned}")

    def trained(self, value: float | None, path: Path) -> None:
        """Keep what the trial is judged by, however its test ends."""
        self.chosen = math.nan if value is None else value, path
