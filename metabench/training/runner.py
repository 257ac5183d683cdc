"""One run in its directory: meta-train, meta-test, summary; continued where it was stopped. Reads top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.table import Table

from metabench.config.schema import Config
from metabench.errors import UserError
from metabench.runs.experiment import cell_line
from metabench.runs.inputs import check_same_data
from metabench.runs.run_dir import RunDirectory, checked_state, held_identity
from metabench.runs.run_id import Inputs, first_identity, identity
from metabench.runs.shared import shared_directory
from metabench.training.components import Components, data_card
from metabench.training.environment import environment
from metabench.training.loop import Training
from metabench.training.metatest import meta_test
from metabench.training.tables import card_table, result_table
from metabench.utils.console import Display
from metabench.utils.distributed import Distributed, open_ranks
from metabench.utils.oom import oom_advice
from metabench.utils.paths import expanded
from metabench.utils.signals import Interrupted, LauncherExit, SignalHandler


@dataclass(frozen=True)
class RunSpec:
    """A run to make: directory, identity, inputs, configuration as written there, and its cell of a table."""

    path: Path
    identity: str
    config: Mapping[str, Any]
    inputs: Inputs
    cell: dict[str, Any]  # as `metabench.runs.experiment.cell` says it
    command: Sequence[str]  # what a person gives the program for it

    @classmethod
    def of(
        cls,
        config: Mapping[str, Any],
        written: Mapping[str, Any],
        inputs: Inputs,
        folder: Path,
        cell: dict[str, Any],
        command: Sequence[str],
    ) -> RunSpec:
        """The run of a settled configuration, in `run_dir` or below `folder`; `written` has the values as given.

        A run of version 0.1.0 that lies there is continued under its own id, where nothing but its configuration
        decided it.
        """
        key, first = identity(config, inputs), first_identity(written)
        path, earlier = (expanded(config["run_dir"] or folder / name) for name in (key, first))
        if not inputs and held_identity(earlier) == first:
            return cls(earlier, first, written, inputs, cell, command)
        return cls(path, key, config, inputs, cell, command)


def run(config: Config, spec: RunSpec, display: Display) -> dict[str, Any]:
    """Run `config` in the spec's directory, or continue, or show what is finished; returns the summary."""
    with open_ranks(config.device.type) as ranks:
        return _run(config, spec, display, ranks)


def _run(config: Config, spec: RunSpec, display: Display, ranks: Distributed) -> dict[str, Any]:
    path, cell = spec.path, spec.cell
    directory = shared_directory(RunDirectory(path, spec.identity), ranks)
    directory.check(spec.config)
    summary = directory.summary() if config.resume else None
    if summary is not None:
        with checked_state(path / "summary.json"):
            held = summary["protocol"]["test"]["data"]
            ranks.on_rank_zero(lambda: check_same_data(path, held, data_card(config)))
        if cell["experiment"] and not summary.get("experiment"):  # it was run by plain overrides before
            summary |= cell
            with directory:
                directory.finish(summary)
        display.say(f"{path}: finished before; resume=false runs it again")
        with checked_state(path / "summary.json"):
            display.console.print(result_table(summary))
        return summary
    directory.check_free()
    with oom_advice(0):
        components = ranks.on_every_rank(lambda: Components(config, display, ranks))
        # The card reads the data: nothing is written where that fails, or where the data is not that of the run.
        card = ranks.on_every_rank(lambda: card_table(components.card))
    if config.resume:
        check_same_data(path, (directory.held() or {}).get("data"), components.card["test"]["data"])
    with SignalHandler(ranks.all_max if ranks.size > 1 else None) as signals, directory:
        if not config.resume:
            directory.clear()
        where = environment(components.device, spec.command, ranks)
        about = {"inputs": dict(spec.inputs), "data": components.card["test"]["data"]}
        directory.begin(yaml.safe_dump(dict(spec.config), sort_keys=False, allow_unicode=True), {**where, **about})
        try:
            _introduce(spec, where, card, display, ranks, config.train.tasks)
            training = Training(components, directory, signals)
            checkpoint, warnings = directory.resume()
            then = "it begins anew" if checkpoint is None else "the checkpoint before it is used"
            for warning in warnings:
                display.say(f"warning: {warning}; {then}")
            if checkpoint is not None:
                with checked_state(path / "checkpoints"):
                    training.load(checkpoint)
                display.say(f"continuing at meta-step {training.step} of {components.steps}")
            training.run()
            test = meta_test(training)
            summary = {
                "status": "complete",
                "identity": spec.identity,
                "inputs": dict(spec.inputs),
                **cell,
                "protocol": components.card,
                "test": test,
                "selected": training.best,
                "train": {"steps": training.step, "seconds": round(training.seconds, 3), **components.engine()},
                "environment": where,
            }
            if config.log.pictures and ranks.rank == 0:
                _draw(training, test)
            signals.hold()  # what is finished is not stopped
            directory.finish(summary)
        except BaseException as fault:
            with suppress(UserError):  # where the disk is full the fault itself is what is to be said
                directory.status(*_ending(fault))
            raise
        display.console.print(result_table(summary))
        display.say(f"written to {path}")
        return summary


def _introduce(
    spec: RunSpec, where: dict[str, Any], card: Table, display: Display, ranks: Distributed, tasks: int
) -> None:
    """Print what is about to run: its folder, what it is for, versions, device and protocol card."""
    display.say(f"run {spec.path}")
    if line := cell_line(spec.cell):
        display.say(line)
    if published := spec.cell.get("published"):
        display.say(f"cost: {published['cost']}")
    display.say(
        f"metabench {where['metabench']} ({where['git'] or 'no git'}), torch {torch.__version__}, {where['device']}"
    )
    if ranks.size > 1:
        display.say(f"{ranks.size} ranks share the {tasks} tasks of a meta-step")
    display.console.print(card)


def _ending(fault: BaseException) -> tuple[str, str]:
    if isinstance(fault, (Interrupted, LauncherExit, UserError)):
        return fault.status, str(fault)
    return "failed", f"{type(fault).__name__}: {fault}"


def _draw(training: Training, test: dict[str, Any]) -> None:
    from metabench.plots import draw_run
    from metabench.plots.rounds import beside

    components, directory = training.components, training.directory
    folder = directory.path / "pictures"
    folder.mkdir(exist_ok=True)
    try:
        others = beside(directory.path, components.card["hash"]) if training.rounds else {}
        draw_run(folder, components.algo, components.source, directory.records(), test, others)
    except Exception as fault:  # a picture is never worth a finished run
        components.display.say(f"warning: pictures: {type(fault).__name__}: {fault}")
