"""Run directories without a run: a composed configuration, and figures that a test chooses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from scipy import stats

from metabench.config.compose import compose_plain
from metabench.runs.run_id import digest, identity

composed = cache(compose_plain)
INTERVAL = "mean ± t(0.975, n-1) · s / √n over n test tasks"


def write_run(
    path: Path,
    *overrides: str,
    values: Sequence[float] = (0.4, 0.5, 0.6, 0.7),
    metric: str = "mse",
    modes: Sequence[str] = ("inductive",),
    validations: Sequence[float] = (),
    per_step: Sequence[dict[str, Any]] = (),
    card: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    **summary: Any,
) -> Path:
    """A finished run of `metabench OVERRIDES…` whose test tasks had these values.

    `card` changes its protocol, `training` the part of it that is about training.
    """
    config = composed(*overrides)
    experiment = next((o.partition("=")[2] for o in overrides if o.startswith("experiment=")), None)
    test = {
        "data": {"source": config["data"]["_target_"].rpartition(".")[2].lower(), "eval_seed": 0},
        **({"ways": config["data"]["ways"]} if "ways" in config["data"] else {"outputs": 1}),
        "shots": config["data"]["shots"],
        "episodes": len(values),
        "metric": metric,
        "prediction": modes[0],
        "selection": f"{config['validate']['select']}",
        "interval": INTERVAL,
        **(card or {}),
    }
    n = len(values)
    estimate = {"mean": sum(values) / n, "ci95": stats.t.ppf(0.975, n - 1) * stats.sem(values), "episodes": n}
    trained = {"seed": config["seed"], "meta_steps": 1, **(training or {})}
    content = {
        "status": "complete",
        "identity": identity(config, summary.get("inputs")),
        "experiment": experiment,
        "budget": config["budget"],
        "published": config["published"],
        "protocol": {
            "hash": digest(test)[:12],
            "test": test,
            "training": trained,
        },
        "test": {
            "metric": metric,
            **estimate,
            "per_step": list(per_step),
            "prediction": modes[0],
            "interval": INTERVAL,
            "modes": dict.fromkeys(modes, estimate),
        },
        "train": {"steps": config["train"]["steps"], "seconds": 100.0 * (1 + config["seed"])},
        "environment": {
            "command": "metabench " + " ".join(overrides),
            "git": "0123456789ab",
            "versions": {"torch": "2.15.0"},
            "device": "abacus",
        },
        **summary,
    }
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    lines = [
        {"step": 100 * i, "split": "validation", metric: value, "ci95": 0.1 * value}
        for i, value in enumerate(validations, start=1)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "episodes.json").write_text(json.dumps({"metric": metric, "modes": {key: list(values) for key in modes}}))
    (path / "summary.json").write_text(json.dumps(content))
    return path


def change(path: Path, *keys: str, to: Any) -> None:
    """Set one value of a run's summary."""
    content = json.loads((path / "summary.json").read_text())
    node = content
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = to
    (path / "summary.json").write_text(json.dumps(content))
