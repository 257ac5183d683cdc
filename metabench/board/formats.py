"""The boards in every format: one table of texts for people, one record of numbers for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from metabench import __version__
from metabench.board.columns import TITLES
from metabench.board.leaderboard import Board
from metabench.board.row import Row
from metabench.report.csv_text import csv_text
from metabench.report.latex import FIT
from metabench.report.latex import plain as plain_latex
from metabench.report.markdown import plain as plain_md
from metabench.report.verdict import Figure
from metabench.runs.reader import Skipped
from metabench.runs.untrusted import clean_text
from metabench.utils.console import format_metric
from metabench.utils.files import plain

Pictures = Mapping[str, Mapping[str, str]]  # of each board: by title, a path in Markdown, an SVG element on a page
Cost = Callable[[Row], float | None]
COSTS: dict[str, Cost] = {
    "train (s)": lambda row: row.train_seconds,
    "test (s)": lambda row: row.test_seconds,
    "memory (MB)": lambda row: row.memory,
    "parameters": lambda row: row.parameters,
    "meta-steps": lambda row: row.meta_steps,
}
WORDS = ("method", "group")  # columns of words; others have numbers
HEADING = ("# Leaderboard", "Written by `metabench leaderboard`; `bench=NAME` runs a method on a board.")
WIDTH = 80  # of the terminal's table where there is no terminal


@dataclass(frozen=True)
class Sheet:
    """A table for people: texts by heading, what they mean, and what was left out."""

    board: str
    title: str
    headings: Sequence[str]
    lines: Sequence[Sequence[str]]
    short: Sequence[Sequence[str]]  # for a terminal
    first_to_go: Sequence[int]  # columns, where a terminal has not the width
    notes: Sequence[str]
    short_notes: Sequence[str]  # for a terminal alone
    left_out: Sequence[Skipped]


def sheet(board: Board) -> Sheet:
    """The table of a board."""
    costs = {name: cost for name, cost in COSTS.items() if any(cost(row) is not None for row in board.rows)}
    headings = ["rank", "method", "group", *(column.title for column in board.columns), *costs]
    tests, train = range(4, len(headings) - len(costs)), len(headings) - len(costs)
    # costs go first, the last of them before, then the tests from the right; the first test stays
    order = [*reversed(range(train + 1, len(headings))), *reversed(tests[1:]), train, *tests[:1], 2]
    said = "The other mode of prediction differs for some methods; --prediction shows it."
    title = f"{TITLES[board.name]}: {'accuracy (%)' if board.metric == 'accuracy' else 'mean squared error'}"
    lines, short = (_lines(board, list(costs.values()), beside) for beside in (True, False))
    more = [said] if any(row.others for row in board.rows) else []
    return Sheet(board.name, title, headings, lines, short, order, board.notes, more, board.left_out)


def _lines(board: Board, costs: Sequence[Cost], beside: bool) -> list[list[str]]:
    """The rows; `beside` puts the other mode of prediction in brackets where it differs."""
    other = "transductive" if board.prediction == "inductive" else "inductive"
    lines = []
    for row in board.rows:
        cells = []
        for column in board.columns:
            text = _figure(board, row.cells.get(column.title))
            if beside and column.title in row.others:
                text = f"{text} ({other} {_figure(board, row.others[column.title])})".strip()
            cells.append(text)
        values = [_cost(cost(row)) for cost in costs]
        lines.append([str(board.rank(row) or ""), row.name, board.letters.get(row.name, ""), *cells, *values])
    return lines


def _figure(board: Board, figure: Figure | None) -> str:
    return "" if figure is None else format_metric(board.metric, figure.mean, figure.ci95).removesuffix("%")


def _cost(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


# ---- for people


def show(sheets: Sequence[Sheet], console: Console, prediction: str) -> None:
    """Print the tables in the width of the terminal; columns that do not fit are named."""
    width = console.width if console.is_terminal else WIDTH
    for sheet in sheets:
        kept = fitting(sheet, width)
        shown = Table(
            title=Text(f"{sheet.title}, {prediction} prediction", style="bold"),
            title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0),
        )  # fmt: skip
        for i in kept:
            name = sheet.headings[i]
            shown.add_column(Text(name), justify="left" if name in WORDS else "right", no_wrap=True)
        for line in sheet.short:
            shown.add_row(*(Text(line[i]) for i in kept))
        console.print(shown, width=width)
        notes = list(sheet.notes)
        if dropped := [name for i, name in enumerate(sheet.headings) if i not in kept]:
            notes.append(f"Not shown for want of width: {', '.join(dropped)}; --format has all.")
        for note in ["", *notes, *sheet.short_notes, *(f"left out: {skip}" for skip in sheet.left_out), ""]:
            console.print(Text(note), width=width, soft_wrap=False)


def fitting(sheet: Sheet, width: int) -> list[int]:
    """The columns that fit."""
    columns = [[name, *(line[i] for line in sheet.short)] for i, name in enumerate(sheet.headings)]
    sizes = [max(map(len, column)) + 2 for column in columns]
    order = list(sheet.first_to_go)
    kept = list(range(len(columns)))
    while sum(sizes[i] for i in kept) - 2 > width and order:
        kept.remove(order.pop(0))
    for i in [i for i in range(len(columns)) if i not in kept]:  # what fits after all
        if sum(sizes[j] for j in [*kept, i]) - 2 <= width:
            kept.append(i)
    return sorted(kept)


def as_md(sheets: Sequence[Sheet], pictures: Pictures, heading: Sequence[str]) -> str:
    """Tables that GitHub shows below a `heading`, with notes, pictures and what was left out."""
    parts = list(heading)
    for sheet in sheets:
        rule = ["---" if name in WORDS else "---:" for name in sheet.headings]
        lines = [[plain_md(text) for text in line] for line in sheet.lines]
        parts += [f"## {sheet.title}", "\n".join(f"| {' | '.join(line)} |" for line in [sheet.headings, rule, *lines])]
        parts.append("\n".join(f"- {plain_md(note)}" for note in sheet.notes))
        parts += [f"![{name}]({path})" for name, path in pictures.get(sheet.board, {}).items()]
        if sheet.left_out:
            parts.append("\n".join(["Left out:", "", *(f"- {plain_md(str(skip))}" for skip in sheet.left_out)]))
    return "\n\n".join(parts) + "\n"


def as_latex(sheets: Sequence[Sheet]) -> str:
    """One `tabular` per table, with booktabs; notes are the caption, what was left out follows as comments.

    Needs \\usepackage{booktabs,graphicx}: a table wider than the text is scaled down to it.
    """
    parts = []
    for sheet in sheets:
        form = "".join("l" if name in WORDS else "r" for name in sheet.headings)
        lines = [" & ".join(map(plain_latex, line)) + r" \\" for line in [sheet.headings, *sheet.short]]
        caption = " ".join(map(plain_latex, [f"{sheet.title}.", *sheet.notes]))
        parts.append("\n".join([
            r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", FIT,
            rf"\begin{{tabular}}{{{form}}}", r"\toprule",
            lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}}", r"\end{table}",
            *(f"% left out: {skip}" for skip in sheet.left_out),
        ]))  # fmt: skip
    return "\n\n".join(parts) + "\n"


def as_html(sheets: Sequence[Sheet], pictures: Pictures, links: Pictures, name: str) -> str:
    """One page; no script, no network. `links` are the files of pictures that were written too."""
    import jinja2

    from metabench.figures.palette import ON_DARK, PALETTE

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("metabench.report", "templates"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    sections = [(sheet, pictures.get(sheet.board, {}), links.get(sheet.board, {})) for sheet in sheets]
    template = environment.get_template("leaderboard.html")
    return template.render(sections=sections, name=name, light=PALETTE, dark=ON_DARK)


# ---- for programs


def record(board: Board, row: Row) -> dict[str, Any]:
    """A row as plain values; accuracies as fractions, seconds in full."""
    summaries = [run.summary for run in row.runs]
    cells = [
        {"column": column.title, "prediction": mode, "mean": figure.mean, "ci95": figure.ci95,
         "interval_over": figure.over, "seeds": figure.seeds, "tasks": figure.tasks}
        for column in board.columns
        for mode, found in _modes(board, row)
        if (figure := found.get(column.title)) is not None
    ]  # fmt: skip
    return {
        "rank": board.rank(row), "method": row.method, "variant": row.variant, "group": board.letters.get(row.name),
        "cells": cells, "train_core_seconds": row.train_seconds, "test_seconds_per_1000_tasks": row.test_seconds,
        "peak_memory_mb": row.memory, "alone": [s.train.alone for s in summaries],
        "parameters": row.parameters, "meta_steps": row.meta_steps, "seeds": [run.seed for run in row.runs],
        "command": [s.environment.command for s in summaries], "commit": [s.environment.commits for s in summaries],
        "device": [s.environment.device for s in summaries],
        "run": [clean_text(run.path.as_posix()) for run in row.runs],
    }  # fmt: skip


def _modes(board: Board, row: Row) -> list[tuple[str, Mapping[str, Figure]]]:
    other = "transductive" if board.prediction == "inductive" else "inductive"
    return [(board.prediction, row.cells), (other, row.others)]


def as_json(boards: Sequence[Board]) -> str:
    """Everything: rows, the rules and what was left out."""
    content = {
        "metabench": __version__,
        "boards": [
            {
                "board": board.name,
                "metric": board.metric,
                "prediction": board.prediction,
                "rows": [record(board, row) for row in board.rows],
                "notes": board.notes,
                "left_out": [{"path": clean_text(s.path.as_posix()), "reason": s.reason} for s in board.left_out],
            }
            for board in boards
        ],
    }
    return json.dumps(plain(content), indent=2, ensure_ascii=False) + "\n"


def as_csv(boards: Sequence[Board]) -> str:
    """One line per method and column; values that each seed has one of are joined by ' | '."""
    lines = []
    for board in boards:
        for row in board.rows:
            whole = record(board, row)
            cells = whole.pop("cells")
            about = {key: " | ".join(map(str, v)) if isinstance(v, list) else v for key, v in whole.items()}
            seeds = about.pop("seeds")
            lines += [
                {"board": board.name, "metric": board.metric, **about, "run_seeds": seeds, **cell} for cell in cells
            ]
    return csv_text(lines)
