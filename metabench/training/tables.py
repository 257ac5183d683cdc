"""The tables that a run prints: its protocol card, and the result of its test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from metabench.axis import AXES, INNER_STEPS
from metabench.config.schema import FOOTNOTE, mark
from metabench.utils.console import format_metric, inline
from metabench.utils.counted import counted


def card_table(card: dict[str, Any]) -> Table:
    """The protocol card as a table."""
    table = Table(title=f"protocol {card['hash']}", title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for part in ("test", "training"):
        for key, value in card[part].items():
            table.add_row(f"{part}.{key}", inline(value))
    return table


def card_lines(card: dict[str, Any], command: Sequence[str]) -> list[str]:
    """The protocol card in four lines: the test, the training, and what the command chose."""
    test, training = card["test"], card["training"]
    data = test["data"]
    held = [f"rotations {data['rotations']}"] if data.get("rotations") else []
    chosen = [word for word in command if "=" in word and not word.startswith("-")]
    return [
        f"protocol {card['hash']}: {', '.join([data['name'], *_episode(test), *held])}, "
        f"{counted(test['episodes'], 'test task')}, {test['metric']}, {test['prediction']}",
        f"selection: {test['selection']}; 95% interval over test tasks",
        f"training: {', '.join(_training(training))}",
        f"chosen: {' '.join(chosen) or 'nothing but the defaults'}",
    ]


def _training(training: dict[str, Any]) -> list[str]:
    """The length of training, its tasks and learning rate, what it began with, and the model."""
    steps, init = training["meta_steps"], training.get("init")
    schedule = [f"{counted(steps, 'meta-step')} of {counted(training['tasks_per_step'], 'task')}", *_episode(training)]
    how = [*schedule, f"learning rate {training['learning_rate']}"] if steps else ["none"]
    start = [f"from checkpoint {init['digest']}"] if init else []
    if init and init["meta_steps"] is not None:  # a checkpoint may not say
        start = [f"{start[0]} of {counted(init['meta_steps'], 'meta-step')}"]
    return [*how, *start, f"{training['parameters']:,} parameters", f"seed {training['seed']}"]


def _episode(part: dict[str, Any]) -> list[str]:
    ways = [f"{part['ways']}-way"] if "ways" in part else []
    return [" ".join([*ways, f"{part['shots']}-shot"]), counted(part["queries"], "query", "queries")]


def result_table(summary: dict[str, Any]) -> Table:
    """The test of a finished run as a table."""
    test = summary["test"]
    name = test["metric"]
    budget = summary.get("budget", "full")
    title = "meta-test" if budget == "full" else f"meta-test of a {budget} run"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("", name, "95% interval of the mean, tasks"):
        table.add_column(heading)
    some = summary["protocol"]["test"].get("inductive_queries")
    for mode, result in test["modes"].items():
        of = f", {counted(some, 'query', 'queries')} of each class" if some and mode == "inductive" else ""
        value = format_metric(name, result["mean"], result["ci95"])
        table.add_row(mode, value, f"{result['episodes']}{of}{_lost(result)}")
    axis = AXES[test.get("axis", INNER_STEPS.name)]  # older summaries have no other
    if len(test["per_step"]) > 1:
        for entry in test["per_step"]:
            value = format_metric(name, entry["mean"], entry["ci95"])
            table.add_row(axis.row.format(entry["step"]), value, _lost(entry).removeprefix(", "))
    if summary.get("train", {}).get("stopped_early"):
        steps = summary["protocol"]["training"]["meta_steps"]
        table.add_row("stopped early", f"meta-step {summary['train']['steps']:,}", f"of {steps:,}")
    if online := test.get("online"):
        needed, learned = online["mean_examples_to_threshold"], online["learned"]
        of = format_metric(name, online["threshold"])
        table.add_row(f"examples to {of}, mean", f"{needed:.2f}", f"{learned:.0%} of tasks learned")
        error, regret = (format_metric("error", online[key][-1]) for key in ("cumulative_error", "regret"))
        table.add_row("cumulative error", error, f"regret {regret}")
    if published := summary.get("published"):
        whole = budget == "full" and not summary.get("changes")
        for one in (published, *published.get("also", ())):
            label = f"published{'' if whole else ', of the whole'}: {one['row']}, {one['column']}"
            value = format_metric(name, one["value"], one["ci95"]) + mark(one["verified"])
            table.add_row(label, value, "; ".join(filter(None, (one["source"], one.get("note")))))
        if any(mark(one["verified"]) for one in (published, *published.get("also", ()))):
            table.add_row("", "", FOOTNOTE)
    return table


def _lost(result: dict[str, Any]) -> str:
    return f", {result['nonfinite']} not finite" if result.get("nonfinite") else ""
