"""Meta-test: the chosen weights on the test tasks, in every mode of prediction the model has."""

from __future__ import annotations

import time
from typing import Any

from metabench.evaluation.evaluate import FORMULA, count_nonfinite, summarise
from metabench.runs.run_dir import checked_state
from metabench.training.loop import Training
from metabench.training.metrics import NonFiniteError


def meta_test(training: Training) -> dict[str, Any]:
    """Test the chosen weights: the results for the summary; the metric of every task goes to episodes.json.

    Online the tasks were evaluated during training, in the natural mode; here the last weights are tested in hindsight.
    Raises `NonFiniteError` where the result would leave out tasks, because their metric is not finite; in other modes
    and at earlier columns such tasks are counted, said aloud, and have no mean.
    """
    components, directory, rounds = training.components, training.directory, training.rounds
    if components.steps:
        assert training.best is not None
        best = directory.best(training.best["step"])["algo"]
        with checked_state(directory.path / "checkpoints" / "best.pt"):
            components.algo.load_state_dict(best)
    modes = components.algo.modes[:1] if rounds else components.algo.modes
    wanted = components.config.test
    episodes, alone = components.source.test_episodes(wanted.episodes), wanted.inductive_queries
    results, finals = {}, {}
    lost: dict[str, int] = {}  # tasks without a finite metric, by how they were tested
    online: dict[str, Any] = {}
    began = time.monotonic()
    with components.display.phase("meta-test", episodes * len(modes)) as phase:
        for i, mode in enumerate(modes):

            def tick(done: int, before: int = i * episodes) -> None:
                phase.update(before + done)
                training.signals.listen()
                training.signals.check()  # should something have swallowed what the handler raised

            found = components.evaluate("test", episodes, mode=mode, alone=alone, last=bool(rounds), tick=tick)
            figures = found[components.metric]
            if rounds:
                lost["in hindsight"] = count_nonfinite(figures[:, -1])
                outcome, figures = rounds.outcome(figures[:, -1]), rounds.found
                for line in rounds.in_hindsight(outcome):
                    training.log.write(training.step, "hindsight", **line)
                online = {"online": outcome}
            results[mode] = summarise(figures, components.algo.axis)
            finals[mode] = figures[:, -1].tolist()
            lost[mode] = results[mode].get("nonfinite", 0)
    directory.save_episodes(components.metric, finals)
    _check(lost, modes[0], episodes)
    earlier = {f"{components.algo.axis.name} {one['step']}": one["nonfinite"] for one in _earlier(results[modes[0]])}
    for where, count in (lost | earlier).items():
        if count:
            components.display.say(f"warning: {count} of {episodes} test tasks have no finite metric: {where}")
    return {
        "metric": components.metric,
        **results[modes[0]],
        "seconds": round(time.monotonic() - began, 3),
        "prediction": modes[0],
        "interval": FORMULA,
        "modes": {
            mode: {k: r[k] for k in ("mean", "ci95", "episodes", "nonfinite") if k in r} for mode, r in results.items()
        },
        **online,
    }


def _check(lost: dict[str, int], natural: str, episodes: int) -> None:
    """Raise `NonFiniteError`, naming every mode, if a task lacks a finite metric in the natural one or in hindsight."""
    if lost[natural] or lost.get("in hindsight"):
        counts = ", ".join(f"{count} of {episodes} {how}" for how, count in lost.items() if count)
        raise NonFiniteError(
            f"the meta-test gave predictions or errors that are not finite ({counts}): it has no result; the weights "
            "are kept, and episodes.json has null for those tasks"
        )


def _earlier(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The columns before the last that have tasks without a finite metric."""
    return [column for column in result["per_step"][:-1] if column.get("nonfinite")]
