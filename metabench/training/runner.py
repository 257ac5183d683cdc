"""One run in its directory: meta-train, meta-test, summary; continued where it was stopped. Reads top to bottom."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml

from metabench.config.schema import Config
from metabench.errors import UserError
from metabench.runs.experiment import cell_line, with_names
from metabench.runs.inputs import check_same_data
from metabench.runs.own_files import LOG, TRAINING_CLASSES
from metabench.runs.removal import clear_run
from metabench.runs.run_dir import RunDirectory, checked_state
from metabench.runs.run_spec import RunSpec
from metabench.runs.shared import shared_directory
from metabench.tracker.base import TrackedRun
from metabench.tracker.trackers import Trackers, find_trackers
from metabench.training.components import Components, data_card
from metabench.training.environment import environment, with_earlier
from metabench.training.loop import Training
from metabench.training.metatest import meta_test
from metabench.training.tables import card_lines, card_table, result_table
from metabench.training.threads import settle_threads
from metabench.training.usage import Usage
from metabench.utils.console import Display
from metabench.utils.distributed import Distributed, open_ranks
from metabench.utils.oom import oom_advice
from metabench.utils.progress import in_words
from metabench.utils.signals import Interrupted, LauncherExit, SignalHandler


def run(config: Config, spec: RunSpec, display: Display) -> dict[str, Any]:
    """Run `config` in the spec's directory, or continue, or show what is finished; returns the summary."""
    with open_ranks(config.device.type) as ranks:
        return _run(config, spec, display, ranks)


def _run(config: Config, spec: RunSpec, display: Display, ranks: Distributed) -> dict[str, Any]:
    directory = shared_directory(RunDirectory(spec.path, spec.identity), ranks)
    directory.check(spec.config)
    trackers = ranks.on_every_rank(lambda: _trackers(config, spec, display, ranks))
    finished = directory.summary() if config.resume else None
    if finished is not None:
        _check_finished(finished, config, spec, ranks)
        return _show_finished(finished, spec, directory, trackers, display)
    directory.check_free()
    components = _components(config, spec, directory, display, ranks)
    log = spec.path / LOG if ranks.rank == 0 else None
    with SignalHandler(ranks.all_max if ranks.size > 1 else None) as signals, directory, display.logged(log):
        where = _begin(components, spec, directory)
        try:
            _introduce(components, spec, where)
            training = Training(components, directory, signals, trackers)
            used, test = _train_and_test(training, trackers, spec, where)
            summary = _summary(training, spec, where, used, test)
            if config.log.pictures and ranks.rank == 0:
                _draw(training, test)
            signals.hold()  # what is finished is not stopped
            directory.finish(summary)
        except BaseException as fault:
            _record_fault(fault, directory, trackers, display)
            raise
        trackers.finish(summary, _pictures(directory))
        if display.results:
            display.show(result_table(summary))
        display.say(f"{_took(training, test)}; written to {spec.path}")
        return summary


def _check_finished(summary: dict[str, Any], config: Config, spec: RunSpec, ranks: Distributed) -> None:
    """Raise `UserError` where the data is not that of the finished run."""
    with checked_state(spec.path / "summary.json"):
        held = summary["protocol"]["test"]["data"]
        ranks.on_rank_zero(lambda: check_same_data(spec.path, held, data_card(config)))


def _show_finished(
    summary: dict[str, Any], spec: RunSpec, directory: RunDirectory, trackers: Trackers, display: Display
) -> dict[str, Any]:
    """Show a finished run, and give it to trackers that lack it; returns its summary, with all of its names."""
    if (named := with_names(summary, spec.cell)) != summary:
        summary = named
        with directory:
            directory.finish(summary)
    display.finished_before(spec.path)
    if summary.get("selected"):
        display.trained(summary["selected"]["value"], spec.path)
    if display.results:
        with checked_state(spec.path / "summary.json"):
            display.show(result_table(summary))
    if trackers.open:
        with directory:
            _track(trackers, spec, summary["protocol"], summary["environment"], directory, finished=True)
            trackers.finish(summary, _pictures(directory))
    return summary


def _components(
    config: Config, spec: RunSpec, directory: RunDirectory, display: Display, ranks: Distributed
) -> Components:
    """The components; their card reads the data: nothing is written where that fails, or it is not that of the run."""
    with oom_advice(0):
        components = ranks.on_every_rank(lambda: Components(config, display, ranks))
        card = ranks.on_every_rank(lambda: components.card)
    if config.resume:
        check_same_data(spec.path, (directory.held() or {}).get("data"), card["test"]["data"])
    return components


def _begin(components: Components, spec: RunSpec, directory: RunDirectory) -> dict[str, Any]:
    """Write what the run is and where it is made; returns the latter."""
    if not components.config.resume:
        components.ranks.on_rank_zero(lambda: clear_run(directory.path))
    settle_threads(components, directory)
    where = environment(components.device, spec.command, components.ranks)
    if directory.goes_on:
        where = with_earlier(where, directory.held() or {})
    card = components.card
    about = {"inputs": dict(spec.inputs), "data": card["test"]["data"], "protocol": card}
    if "data" in spec.inputs:  # a folder whose classes may be others when the model is tested
        about[TRAINING_CLASSES] = sorted(components.source.class_names("train"))
    directory.begin(yaml.safe_dump(dict(spec.config), sort_keys=False, allow_unicode=True), {**where, **about})
    components.display.record(f"\n{time.strftime('%Y-%m-%d %H:%M:%S %z')}  {where['command']}")
    return where


def _train_and_test(
    training: Training, trackers: Trackers, spec: RunSpec, where: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Meta-train from where the run stands, then meta-test; returns what the training used, and the test."""
    components = training.components
    if components.config.resume:
        _resume(training)
    usage, whole = Usage(components.device), training.step == 0
    _track(trackers, spec, components.card, where, training.directory)
    training.run()
    used = usage.record(whole=whole, earlier=training.peak)
    if training.best is not None:
        components.display.trained(training.best["value"], training.directory.path)
    return used, meta_test(training)


def _resume(training: Training) -> None:
    """Continue at the last checkpoint that is whole, if there is one."""
    components, directory = training.components, training.directory
    checkpoint, warnings = directory.resume()
    then = "it begins anew" if checkpoint is None else "the checkpoint before it is used"
    for warning in warnings:
        components.display.say(f"warning: {warning}; {then}")
    if checkpoint is not None:
        with checked_state(directory.path / "checkpoints"):
            training.load(checkpoint)
        components.display.say(f"continuing at meta-step {training.step} of {components.steps}")


def _summary(
    training: Training, spec: RunSpec, where: dict[str, Any], used: dict[str, Any], test: dict[str, Any]
) -> dict[str, Any]:
    """The summary of a run that is complete."""
    components = training.components
    stops_early = components.config.validation.early_stopping is not None
    return {
        "status": "complete",
        "identity": spec.identity,
        "inputs": dict(spec.inputs),
        **spec.cell,
        "protocol": components.card,
        "test": test,
        "selected": training.best,
        "train": {
            "steps": training.step,
            "seconds": round(training.seconds, 3),
            **components.engine(),
            **used,
            **({"stopped_early": training.stopped_early} if stops_early else {}),
        },
        "environment": where,
    }


def _record_fault(fault: BaseException, directory: RunDirectory, trackers: Trackers, display: Display) -> None:
    """Write how the run ended."""
    status, reason = _ending(fault)
    display.record(f"{status}: {reason}")
    with suppress(UserError):  # where the disk is full the fault itself is what is to be said
        directory.status(status, reason)
    trackers.end(status)


def _trackers(config: Config, spec: RunSpec, display: Display, ranks: Distributed) -> Trackers:
    """The trackers that are asked for; of several ranks the first has them."""
    found = find_trackers(config)
    return Trackers(found if ranks.rank == 0 else {}, spec.path, display.say)


def _track(
    trackers: Trackers,
    spec: RunSpec,
    card: Mapping[str, Any],
    where: Mapping[str, Any],
    directory: RunDirectory,
    finished: bool = False,
) -> None:
    """Open the trackers for a run, and give them what its metrics.jsonl has."""
    name = spec.path.name if spec.config["run_dir"] else "/".join(spec.path.parts[-3:])
    trackers.begin(TrackedRun(name, spec.path, spec.config, card, where), directory.records(), finished)


def _pictures(directory: RunDirectory) -> list[Path]:
    return sorted((directory.path / "pictures").glob("*.png"))


def _introduce(components: Components, spec: RunSpec, where: dict[str, Any]) -> None:
    """Print what is about to run: its folder, what it is for, versions, device and protocol card."""
    card, display, ranks = components.card, components.display, components.ranks
    display.say(f"run {spec.path}")
    if line := cell_line(spec.cell):
        display.say(line)
    if published := spec.cell.get("published"):
        display.say(f"cost: {published['cost']}")
    display.say(
        f"metabench {where['metabench']} ({where['git'] or 'no git'}), torch {torch.__version__}, {where['device']}"
    )
    if ranks.size > 1:
        display.say(f"{ranks.size} ranks share the {components.config.train.tasks} tasks of a meta-step")
    if display.full:
        display.console.print(card_table(card))
        return
    lines = card_lines(card, spec.command)
    for line in lines:
        display.say(line)
    if display.tell is not None:
        display.tell(card=lines[:-1])
    display.say(f"the whole protocol: --full, or {spec.path}/environment.json")


def _took(training: Training, test: dict[str, Any]) -> str:
    """The time that it took, and which weights were tested."""
    tested = f"tested in {in_words(test['seconds'])}"
    if not training.components.steps:
        return tested
    best = training.best or {"step": training.step}
    return f"best at meta-step {best['step']} of {training.step}; trained in {in_words(training.seconds)}, {tested}"


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
