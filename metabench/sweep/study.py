"""A search in its folder: trials are normal runs, chosen by what validation found, and a killed search goes on.

journal.log   Optuna's storage: every trial as it begins and ends
study.json    what is searched, by which metric

Trials are drawn in rounds of as many as run side by side, each with its number as the seed, and are over together:
nothing depends on which of them is faster. A trial that was under way when the process died is run again with the same
values, so that its run continues from its checkpoint. A search that was killed ends as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from metabench.errors import ConfigError, UserError
from metabench.sweep.pruning import Pruner
from metabench.utils.files import DamagedError, read_json, write_json
from metabench.utils.lock import Lock

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


class Outcome(NamedTuple):
    """The outcome of a trial; `value` is None where it has none, as where it was pruned."""

    value: float | None
    run: str | None
    reason: str | None = None
    pruned: bool = False
    validations: Sequence[tuple[int, float]] = ()


Round = dict[int, dict[str, Any]]
"""The values of trials, by number."""


class Study:
    """A search held by one process at a time; a context manager.

    `about` says what is searched; `content` is the digest of the data and code that its trials have in common.
    """

    def __init__(
        self, folder: Path, about: dict[str, Any], content: str, space: dict[str, BaseDistribution], maximise: bool
    ) -> None:
        self.folder, self.about, self.content, self.space, self.maximise = folder, about, content, space, maximise
        self._lock = Lock(folder / ".lock", self._refused)

    def __enter__(self) -> Study:
        """Lock the folder; raises `UserError` if another process has it, or it holds another search."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._lock.acquire(self._busy)
        path = self.folder / "study.json"
        try:
            held = read_json(path)
        except DamagedError:
            write_json(path, {**self.about, "content": self.content})
        else:
            self._check(held)
        journal = str(self.folder / "journal.log")
        # The folder's lock keeps others out; the journal's own is of a kind that dies with its process.
        storage = JournalStorage(JournalFileBackend(journal, lock_obj=JournalFileOpenLock(journal)))
        self._study = optuna.create_study(
            storage=storage,
            study_name="study",
            direction="maximize" if self.maximise else "minimize",
            load_if_exists=True,
        )
        return self

    def _check(self, held: Any) -> None:
        """Raise `ConfigError` where the folder has another search, or this one of other data or code."""
        if not isinstance(held, dict) or {k: v for k, v in held.items() if k != "content"} != self.about:
            said = "holds another search; choose another folder"
        elif held.get("content", self.content) != self.content:  # those of early versions have none
            said = "its trials are of other data or code than is there now, and cannot be compared; name another folder"
        else:
            return
        self._lock.release()
        raise ConfigError("study", self.folder, said)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock."""
        self._lock.release()

    def _busy(self) -> None:
        raise UserError(f"study={self.folder}: another process continues this search")

    def _refused(self, reason: str) -> UserError:
        return ConfigError("study", self.folder, f"cannot be written: {reason}")

    def search(self, trials: int, run: Callable[[Round], Mapping[int, Outcome]], side_by_side: int = 1) -> None:
        """Bring the search to so many ended trials; what `run` raises leaves its trials to be continued."""
        begun = self._begun()
        while begun or (left := trials - len(self.ended())) > 0:
            outcomes = run(begun or self._draw(min(side_by_side, left)))
            for number, outcome in sorted(outcomes.items()):
                self._end(number, outcome)
            begun = {}

    def _begun(self) -> Round:
        """The trials that were under way when the search was stopped."""
        from optuna.trial import TrialState

        begun: Round = {}
        for trial in self._study.get_trials(states=[TrialState.RUNNING]):
            if trial.params.keys() == self.space.keys():
                begun[trial.number] = trial.params
            else:  # died while values were drawn
                self._study.tell(trial.number, state=TrialState.FAIL)
        return begun

    def _draw(self, count: int) -> Round:
        from optuna.samplers import TPESampler

        drawn: Round = {}
        for _ in range(count):
            number = len(self._study.get_trials(deepcopy=False))
            self._study.sampler = TPESampler(seed=number, constant_liar=count > 1)
            trial = self._study.ask(self.space)
            drawn[trial.number] = {key: trial.params[key] for key in self.space}
        return drawn

    def _end(self, number: int, outcome: Outcome) -> None:
        from optuna.trial import TrialState

        self._study.set_user_attr(str(number), outcome._asdict())  # before the trial counts as over
        without = TrialState.PRUNED if outcome.pruned else TrialState.FAIL
        state = without if outcome.value is None else TrialState.COMPLETE
        self._study.tell(number, outcome.value, state=state)

    def pruner(self) -> Pruner:
        """A pruner for a trial that begins now."""
        complete = (self.outcome(trial) for trial in self.ended())
        return Pruner([o.validations for o in complete if o.value is not None and o.validations], self.maximise)

    def ended(self) -> list[FrozenTrial]:
        """The trials that are over, failed ones among them."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state.is_finished()]

    def best(self) -> FrozenTrial | None:
        """The trial with the best value on validation; None where all failed."""
        from optuna.trial import TrialState

        if not self._study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
            return None
        return self._study.best_trial

    def outcome(self, trial: FrozenTrial) -> Outcome:
        """The outcome of an ended trial."""
        return Outcome(**self._study.user_attrs.get(str(trial.number), {"value": None, "run": None}))
