"""The protocol card: everything that decides a number, explicit, and a hash of what must agree for comparison."""

from __future__ import annotations

from typing import Any

from metabench.algo.base import Algorithm
from metabench.config.schema import Config
from metabench.data.base import TaskSource
from metabench.evaluation.evaluate import FORMULA
from metabench.runs.run_id import digest


def protocol_card(
    config: Config, source: TaskSource, algo: Algorithm, init: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The card of a run, which began with the weights that `init` names, if any.

    `test` is what two numbers must share to be comparable, and `hash` is of it alone: the episodes (data, split,
    rotations, sizes, seed), how predictions are made, how the checkpoint was chosen, and the statistics.
    """
    episode = source.spec.eval
    train = source.spec.train
    unit = "ways" if source.spec.objective == "cross_entropy" else "outputs"
    test = {
        "data": {"name": type(source).__name__, **source.card()},
        unit: episode.outputs,
        "shots": episode.shots,
        "queries": episode.queries,
        "episodes": source.test_episodes(config.test.episodes),
        "metric": algo.objective.metric_name,
        "prediction": algo.modes[0],
        **_one_by_one(config, source, algo),
        "selection": _selection(config, source, algo),
        "interval": FORMULA,
    }
    training = {
        **source.training_card(),
        unit: train.outputs,
        "shots": train.shots,
        "queries": train.queries,
        "meta_steps": config.train.steps,
        "tasks_per_step": config.train.tasks,
        "inner_steps": getattr(algo, "inner_steps", None),
        "test_inner_steps": getattr(algo, "eval_inner_steps", None),
        "learning_rate": config.optim.get("lr"),
        "schedule": config.train.schedule,
        **_early_stopping(config),
        "inner_learning_rate": config.algo.get("inner_lr"),
        "init": init,
        "parameters": sum(p.numel() for p in algo.parameters() if p.requires_grad),
        "normalisation": {k: v for k, v in config.backbone.items() if k in ("norm", "statistics")},
        "seed": config.seed,
        "precision": config.device.precision,
    }
    return {"hash": digest(test)[:12], "test": test, "training": training}


def _one_by_one(config: Config, source: TaskSource, algo: Algorithm) -> dict[str, int]:
    """The number of queries of a class that are predicted one by one; empty where all or none are."""
    count = config.test.inductive_queries
    if count in (None, source.spec.eval.queries) or source.online is not None or algo.modes[0] == "inductive":
        return {}
    return {"inductive_queries": count}


def _early_stopping(config: Config) -> dict[str, str]:
    """Empty where training goes to its last meta-step, so that the cards of such runs have no other keys."""
    allowed = config.validation.early_stopping
    return {} if allowed is None else {"early_stopping": f"after {allowed} validations without a better one"}


def _selection(config: Config, source: TaskSource, algo: Algorithm) -> str:
    if source.online is not None:
        return "none: each task is met while its examples come, by the learner as it stands"
    if config.validation.select == "last":
        return "last iterate"
    columns = algo.axis.selection(source.spec.eval.shots)
    by = f", by the mean over instances {columns[0]} to {columns[-1]}" if len(columns) > 1 else ""
    return f"best of {config.validation.episodes} validation tasks{by}, never test tasks"
