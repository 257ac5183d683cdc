"""A cell in words, and where its numbers come from, for every format of a report."""

from __future__ import annotations

from collections.abc import Iterable

from metabench.config.schema import FOOTNOTE
from metabench.report.cells import Cell
from metabench.report.verdict import METHOD, Kind
from metabench.runs.untrusted import clean_text
from metabench.utils.console import format_metric, inline
from metabench.utils.counted import counted

MOST = 5  # values of different seeds that a card shows


def ours(cell: Cell) -> str:
    """Our result with its interval; of two seeds the result of each."""
    if cell.ours.over == "each seed":
        return " and ".join(format_metric(cell.metric, one.mean, one.ci95) for _, one in cell.by_seed)
    return format_metric(cell.metric, cell.ours.mean, cell.ours.ci95)


def published_value(cell: Cell, interval: bool = True) -> str | None:
    """The published one, with a dagger where it is from memory."""
    if cell.paper is None:
        return None
    half = cell.paper.ci95 if interval else None
    return f"{format_metric(cell.paper.metric, cell.paper.value, half)}{cell.paper.mark}"


def paper(cell: Cell) -> str | None:
    """The published one, with a dagger where it is from memory, and what else it takes to read it."""
    if cell.paper is None:
        return None
    spread = None if cell.paper.spread is None else f"s = {format_metric(cell.metric, cell.paper.spread)}"
    more = "; ".join(filter(None, (spread, cell.paper.note)))
    return f"{published_value(cell)}{f' ({more})' if more else ''}"


def difference(cell: Cell) -> str | None:
    """Ours less the paper's, with its sign."""
    if cell.difference is None:
        return None
    text = format_metric(cell.metric, abs(cell.difference)).removesuffix("%")
    return ("−" if cell.difference < 0 else "+") + text


def count(cell: Cell) -> str:
    """The seeds and tasks that the interval is over: × where they are crossed, + where they are added in squares."""
    seeds, tasks = counted(cell.ours.seeds, "seed"), counted(cell.ours.tasks, "task")
    joined = {"seeds and tasks": f"{seeds} × {tasks}", "seeds plus tasks": f"{seeds} + {tasks}"}
    return joined.get(cell.ours.over, f"{seeds}, {tasks}")


def test_card(cell: Cell) -> dict[str, str]:
    """The protocol in words: all that two numbers must share to be compared."""
    return {key: inline(value) for key, value in cell.card.items()}


def origin(cell: Cell) -> dict[str, str]:
    """All else that decides the number: training, versions, machine, commit, command; each value where seeds differ."""
    summaries = [run.summary for run, _ in cell.by_seed]
    first = summaries[0]
    training = {key: value for key, value in first.protocol.training.items() if key != "seed" and value is not None}
    found = {
        "shown": f"{cell.prediction} predictions, interval over {_interval(cell)}",
        "experiment": _each(s.experiment or "none" for s in summaries),
        "budget": _each(s.budget for s in summaries),
        "published": _source(cell),
        "training": inline(training),
        "seeds": ", ".join(str(s.protocol.training["seed"]) for s in summaries),
        "meta-training": _each(f"{s.train.seconds:,.0f} s" for s in summaries),
        "versions": _each(", ".join(f"{k} {v}" for k, v in s.environment.versions.items()) for s in summaries),
        "device": _each(s.environment.device for s in summaries),
        "commit": _each(s.environment.commits or "not known" for s in summaries),
        "command": _each(s.environment.command for s in summaries),
        "folder": _each(clean_text(run.path.as_posix()) for run in cell.runs),
    }
    return {key: value for key, value in found.items() if value}


def _interval(cell: Cell) -> str:
    seeds, tasks = cell.ours.seeds, counted(cell.ours.tasks, "task")
    return {
        "tasks": tasks,
        "each seed": f"{tasks} for each seed",
        "seeds and tasks": f"{seeds} seeds and {tasks}, crossed",
        "seeds plus tasks": f"{seeds} seeds and {tasks}, added in squares",
    }[cell.ours.over]


def _source(cell: Cell) -> str:
    if cell.paper is None:
        return ""
    arxiv = f", arXiv {cell.paper.arxiv}" if cell.paper.arxiv else ""
    seen = f" ({cell.paper.verified})" if cell.paper.verified else ""
    return f"{paper(cell)}, {cell.paper.source}{arxiv}{seen}; {cell.paper.prediction or 'prediction not stated'}"


def _each(values: Iterable[str]) -> str:
    """Each value once; of many the first."""
    found = list(dict.fromkeys(values))
    return " | ".join(found if len(found) <= MOST else [*found[: MOST - 1], f"… {len(found)} in all"])


def verdict_word(cell: Cell) -> str:
    """The verdict, or nothing where nothing is published."""
    return "" if cell.verdict.kind is Kind.NONE else str(cell.verdict.kind)


def intervals(cells: Iterable[Cell]) -> list[str]:
    """The formula of each kind of interval that cells have."""
    kinds = {cell.ours.over for cell in cells}
    return [f"± is a 95% interval of the mean {text}" for kind, text in METHOD.items() if kind in kinds]


def footnotes(cells: Iterable[Cell]) -> list[str]:
    """The meaning of the marks at the published values of cells."""
    return [FOOTNOTE] if any(cell.paper is not None and cell.paper.mark for cell in cells) else []
