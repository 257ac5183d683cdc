"""The published result or board that a run is for, as its summary says beside its numbers.

None of it is part of a run's identity: the same configuration given by plain overrides is the same run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from metabench.config.schema import Config
from metabench.utils.counted import counted

FULL = "full"
# What may be given beside an experiment and leaves it the experiment: where and how it is computed, and its seed.
FREE = (
    *("experiment", "bench", "suite", "budget", "seed"),
    *("device", "engine", "chunk", "remat", "resume", "run_dir", "name", "log", "tracker", "checkpoint"),
)
FREE_PARTS = ("data.root", "data.download", "data.memory")
OF_NAME = {"experiment": ("experiment", "published"), "board": ("board", "tuned")}  # what a cell says of each name


def cell(config: Config, experiment: str | None, overrides: Iterable[str]) -> dict[str, Any]:
    """`experiment`, `board`, `budget`, `changes` (overrides that make it another run), `tuned` and `published`.

    On a board the algorithm is free. Values of it that are set (`algo.KEY=…`) are `tuned`: a row of their own.

    `published` is what the paper reports of the experiment as it is: with changes or a smaller budget of another run.
    """
    overrides = list(overrides)
    tuned = [override for override in overrides if config.board and override.lstrip("+~").startswith("algo.")]
    also = {"algo"} if config.board else ()
    changes = [override for override in overrides if (experiment or config.board) and not _free(override, also)]
    published = {**config.published.model_dump(), "cost": cost(config)} if config.published else None
    return {
        "experiment": experiment,
        "board": config.board,
        "budget": config.budget,
        "changes": changes,
        **({"tuned": tuned} if tuned else {}),
        "published": published,
    }


def with_names(held: Mapping[str, Any], cell: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of a finished run with all that it is called: the same configuration, asked for as `cell` says.

    An experiment or a board names a run of plain overrides, and as it stands one of changes; a run may be of both. A
    suite names a test.
    """
    found = dict(held)
    asked, named = ([name for name in OF_NAME if one.get(name)] for one in (cell, held))
    if asked and (not named or (held.get("changes") and not cell["changes"])):
        found = {key: value for key, value in held.items() if key != "tuned"} | dict(cell)
    elif asked and not cell["changes"]:
        found |= {key: cell[key] for name in asked if name not in named for key in OF_NAME[name] if key in cell}
    if cell.get("test_of") and (new := names_of(cell["test_of"])):
        names = dict.fromkeys([*names_of(held.get("test_of") or {}), *new])
        found["test_of"] = {**cell["test_of"], "names": list(names)}
    return found


def names_of(test: Mapping[str, Any]) -> list[str]:
    """The names by which suites call a test, `test_of` of a summary; one of an early version has one or none."""
    names = test.get("names", [test.get("name")])
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def cost(config: Config) -> str:
    """Cost of a run, in numbers that do not depend on the machine."""
    train, episodes = config.train, config.test.episodes
    meta_steps = f"{counted(train.steps, 'meta-step')} of {counted(train.tasks, 'task')}"
    return f"{meta_steps if train.steps else 'nothing trained'}, {counted(episodes, 'test task')}"


def _free(override: str, also: Collection[str]) -> bool:
    """True where an override leaves a run what it is: where and how it is computed, its seed, and keys of `also`."""
    key = override.lstrip("+~").partition("=")[0].partition("@")[0]
    return key in FREE_PARTS or key.split(".")[0].split("/")[0] in (*FREE, *also, "hydra")


def cell_line(cell: dict[str, Any]) -> str | None:
    """One line on the experiment or board of a run; None where there is nothing to say."""
    parts = [f"{kind} {cell[kind]}" for kind in ("experiment", "board") if cell.get(kind)]
    if cell["changes"]:
        parts.append(f"changed by {' '.join(cell['changes'])}")
    if cell.get("tuned"):
        parts.append(f"with {' '.join(cell['tuned'])}")
    if cell["budget"] != FULL:
        parts.append(f"budget {cell['budget']}: shorter than published runs")
    return ", ".join(parts) or None
