"""Meta-test: the chosen weights on the test tasks, in every mode of prediction the model has."""

from __future__ import annotations

import time
from typing import Any

from metabench.evaluation.evaluate import FORMULA, summarise
from metabench.runs.run_dir import fitting
from metabench.training.loop import Training


def meta_test(training: Training) -> dict[str, Any]:
    """The figures of the test of what was trained, for its summary; those of each task go to episodes.json.

    Online the tasks were met in training, in the natural mode; here the last weights are tested in hindsight.
    """
    parts, directory, stop, rounds = training.parts, training.directory, training.stop, training.rounds
    if parts.steps:
        best = directory.best()["algo"]
        with fitting(directory.path / "checkpoints" / "best.pt"):
            parts.algo.load_state_dict(best)
    modes = parts.algo.modes[:1] if rounds else parts.algo.modes
    episodes = parts.source.test_episodes(parts.config.test.episodes)
    results, finals = {}, {}
    online: dict[str, Any] = {}
    began = time.monotonic()
    with parts.display.phase("meta-test", episodes * len(modes)) as phase:
        for i, mode in enumerate(modes):

            def tick(done: int, before: int = i * episodes) -> None:
                phase.update(before + done)
                stop.listen()
                stop.check()  # should something have swallowed what the handler raised

            figures = parts.evaluate("test", episodes, mode=mode, tick=tick)[parts.metric]
            if rounds:
                outcome, figures = rounds.outcome(figures[:, -1]), rounds.found
                for line in rounds.in_hindsight(outcome):
                    training.record({"step": training.step, "split": "hindsight", **line})
                online = {"online": outcome}
            results[mode] = summarise(figures, parts.algo.axis)
            finals[mode] = figures[:, -1].tolist()
    directory.save_episodes(parts.metric, finals)
    return {
        "metric": parts.metric,
        **results[modes[0]],
        "seconds": round(time.monotonic() - began, 3),
        "prediction": modes[0],
        "interval": FORMULA,
        "modes": {mode: {k: r[k] for k in ("mean", "ci95", "episodes")} for mode, r in results.items()},
        **online,
    }
