"""Meta-test: the chosen weights on the test tasks, in every mode of prediction the model has."""

from __future__ import annotations

import time
from typing import Any

from metabench.evaluation.evaluate import FORMULA, summarise
from metabench.runs.run_dir import checked_state
from metabench.training.loop import Training


def meta_test(training: Training) -> dict[str, Any]:
    """The figures of the test of what was trained, for its summary; those of each task go to episodes.json.

    Online the tasks were met in training, in the natural mode; here the last weights are tested in hindsight.
    """
    components, directory, rounds = training.components, training.directory, training.rounds
    if components.steps:
        best = directory.best()["algo"]
        with checked_state(directory.path / "checkpoints" / "best.pt"):
            components.algo.load_state_dict(best)
    modes = components.algo.modes[:1] if rounds else components.algo.modes
    episodes = components.source.test_episodes(components.config.test.episodes)
    results, finals = {}, {}
    online: dict[str, Any] = {}
    began = time.monotonic()
    with components.display.phase("meta-test", episodes * len(modes)) as phase:
        for i, mode in enumerate(modes):

            def tick(done: int, before: int = i * episodes) -> None:
                phase.update(before + done)
                training.signals.listen()
                training.signals.check()  # should something have swallowed what the handler raised

            figures = components.evaluate("test", episodes, mode=mode, tick=tick)[components.metric]
            if rounds:
                outcome, figures = rounds.outcome(figures[:, -1]), rounds.found
                for line in rounds.in_hindsight(outcome):
                    training.log.write(training.step, "hindsight", **line)
                online = {"online": outcome}
            results[mode] = summarise(figures, components.algo.axis)
            finals[mode] = figures[:, -1].tolist()
    directory.save_episodes(components.metric, finals)
    return {
        "metric": components.metric,
        **results[modes[0]],
        "seconds": round(time.monotonic() - began, 3),
        "prediction": modes[0],
        "interval": FORMULA,
        "modes": {mode: {k: r[k] for k in ("mean", "ci95", "episodes")} for mode, r in results.items()},
        **online,
    }
