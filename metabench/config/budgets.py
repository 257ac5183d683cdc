"""Budgets in the unit that all methods share: images or points sampled in meta-training."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf


def meta_steps(examples: int, tasks: int, ways: int, shots: int, queries: int) -> int:
    """Meta-steps that sample about so many examples, at least one: `tasks` of `ways` classes with `shots + queries`."""
    return max(1, round(examples / (tasks * ways * (shots + queries))))


def register_budgets() -> None:
    """Let a configuration say `train: {steps: "${meta_steps:500000}"}`."""

    def resolve(examples: int, *, _root_: Any) -> int:
        train = _root_.data.train
        return meta_steps(examples, _root_.train.tasks, train.get("ways") or 1, train.shots, train.queries)

    OmegaConf.register_new_resolver("meta_steps", resolve, replace=True)
