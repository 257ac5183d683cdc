"""The one answer to which runs may be averaged: those of one cell, which differ in nothing but their seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from metabench.errors import format_value
from metabench.runs import experiment
from metabench.runs.reader import RunReader, Skipped
from metabench.runs.run_id import NOT_IDENTITY, digest, flat

# What may differ between two runs of one cell; of the device, the precision may not.
FREE = {*experiment.FREE, *NOT_IDENTITY} - {"device"}
FREE_PARTS = {
    *experiment.FREE_PARTS,
    *("device.type", "device.index", "device.threads", "device.keep_memory", "train.chunk"),
}
SELECTION = ("validate.every", "validate.episodes")  # which play no part where the last iterate is tested


def decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide the number: dotted keys and values. `init` says only that a run starts from another."""
    found = {
        key: value
        for key, value in flat(config).items()
        if key.split(".")[0] not in FREE and key not in FREE_PARTS and not key.startswith("init.")
    }
    if found.get("validate.select") == "last":
        found = {key: value for key, value in found.items() if key not in SELECTION}
    found["init"] = found.get("init") is not None
    return found


OF_TEST = ("data.shots", "data.ways", "data.queries", "data.eval_grid", "data.eval_seed")
LENGTHS_OF_TRAINING = ("train.steps", "validate.every", "validate.episodes", "validate.select")


def training_differences(config: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The settings that decide a training, its length aside, and differ between two configurations: a line each."""

    def of_training(values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: _plain(value)
            for key, value in decisive(values).items()
            if not (key in (*OF_TEST, *LENGTHS_OF_TRAINING) or key.startswith(("test.", "algo.eval_")))
        }

    ours, theirs = of_training(config), of_training(other)
    return [
        f"{key} {format_value(ours.get(key), 40)} for {format_value(theirs.get(key), 40)}"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    ]


def with_training(run: RunReader) -> Mapping[str, Any]:
    """The configuration of a run; of a test, with the training of the run that it is a test of."""
    if (tested := run.tested) is None:
        return run.config
    return {**run.config, "train": tested.config["train"], "init": tested.config.get("init")}


def facts(run: RunReader) -> dict[str, Any]:
    """All that two runs of one protocol may differ in and not be averaged: dotted keys and values, without nulls.

    `init` is the model that the run starts from: the digest of the checkpoint where its protocol card has it, else
    the path in its configuration. `sources` has a digest for each class from outside the package.
    """
    config = run.sound_config
    if config is None:
        training = {key: value for key, value in run.summary.protocol.training.items() if key not in ("seed", "init")}
        found = decisive({"training": training})
    else:
        found = decisive(config)
    found |= {"init": start(run), **flat({"sources": sources(run)})}
    return {key: _plain(value) for key, value in found.items() if value is not None and value != {}}


def start(run: RunReader) -> str | None:
    """The model that a run starts from, by digest or by path; None where it starts anew.

    A test of a finished run starts from what that run is a seed of, so that tests of all its seeds are one cell.
    """
    if (tested := run.tested) is not None:
        return f"a test of {digest(key(tested))[:12]}"
    init = run.inputs.get("init")
    if init is None and run.finished:
        init = run.summary.protocol.training.get("init")
    if init is None:
        init = (run.sound_config or {}).get("init")
    init = init.get("digest", init) if isinstance(init, dict) else init
    return None if init is None else str(init)


def sources(run: RunReader) -> dict[str, Any]:
    """The digest of each class from outside the package, by its name."""
    found = run.inputs.get("sources")
    return found if isinstance(found, dict) else {}


def _plain(value: Any) -> Any:
    """`value` with whole numbers as such: 2.0 and 2 are one setting."""
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def key(run: RunReader) -> tuple[str | None, str]:
    """The protocol, and the digest of all that decides a number but the seed: runs of one cell share both."""
    return run.protocol, digest(facts(run))


def same_cell(a: RunReader, b: RunReader) -> bool:
    """True where two finished runs may be averaged."""
    return key(a) == key(b)


def gather(runs: Iterable[RunReader]) -> tuple[list[dict[int, RunReader]], list[Skipped]]:
    """The runs of each cell by seed, and those left out because their seed is there already.

    A run that is not finished has no protocol card yet: it joins the finished ones that it agrees with in all else.
    """
    runs = list(runs)
    cells: dict[Any, dict[int, RunReader]] = {}
    of_facts: dict[str, dict[int, RunReader]] = {}
    spare = []
    for run in sorted(runs, key=lambda run: not run.finished):
        protocol, known = key(run)
        cell = cells.get((protocol, known)) if run.finished else of_facts.get(known)
        if cell is None:
            cell = cells[protocol, known] = {}
            of_facts.setdefault(known, cell)
        if run.seed in cell:
            spare.append(Skipped(run.path, f"seed {run.seed} is there already: {cell[run.seed].path}"))
        else:
            cell[run.seed] = run
    order = {id(run): i for i, run in enumerate(runs)}
    found = sorted(cells.values(), key=lambda cell: min(order[id(run)] for run in cell.values()))
    return found, spare
