"""The boards in every format: one table of texts for people, one record of numbers for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from metabench import __version__
from metabench.report.latex import plain as plain_latex
from metabench.report.leaderboard import Board, Row
from metabench.report.markdown import plain as plain_md
from metabench.report.verdict import Figure
from metabench.runs.untrusted import clean_text
from metabench.utils.console import format_metric
from metabench.utils.files import plain

Pictures = Mapping[str, Mapping[str, str]]  # of each board: by title, a path in Markdown, an SVG element on a page
COSTS: dict[str, Callable[[Row], float | None]] = {
    "train (s)": lambda row: row.train_seconds,
    "test (s)": lambda row: row.test_seconds,
    "parameters": lambda row: row.parameters,
    "meta-steps": lambda row: row.meta_steps,
}
TITLES = {"omniglot": "Omniglot", "sinusoid": "Sinusoids"}
WIDTH = 80  # of the terminal's table where there is no terminal


def title(board: Board) -> str:
    """The board and what is measured."""
    return f"{TITLES[board.name]}: {'accuracy (%)' if board.metric == 'accuracy' else 'mean squared error'}"


def headings(board: Board) -> list[str]:
    """The headings of `texts`."""
    return ["rank", "method", "group", *(column.title for column in board.columns), *COSTS]


def texts(board: Board, beside: bool = True) -> list[list[str]]:
    """The table for people, by `headings`; `beside` puts the other mode of prediction in brackets where it differs."""
    other = "transductive" if board.prediction == "inductive" else "inductive"
    lines = []
    for row in board.rows:
        cells = []
        for column in board.columns:
            text = _figure(board, row.cells.get(column.title))
            if beside and column.title in row.others:
                text = f"{text} ({other} {_figure(board, row.others[column.title])})".strip()
            cells.append(text)
        costs = [_cost(cost(row)) for cost in COSTS.values()]
        lines.append([str(board.rank(row) or ""), row.name, board.letters.get(row.name, ""), *cells, *costs])
    return lines


def _figure(board: Board, figure: Figure | None) -> str:
    return "" if figure is None else format_metric(board.metric, figure.mean, figure.ci95).removesuffix("%")


def _cost(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


# ---- for people


def show(boards: Sequence[Board], console: Console) -> None:
    """Print the tables in the width of the terminal; columns that do not fit are named."""
    width = console.width if console.is_terminal else WIDTH
    for board in boards:
        names, lines = headings(board), texts(board, beside=False)
        kept = fitting(names, lines, width)
        shown = Table(
            title=Text(f"{title(board)}, {board.prediction} prediction", style="bold"),
            title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0),
        )  # fmt: skip
        for i in kept:
            shown.add_column(
                Text(names[i]), justify="left" if names[i] in ("method", "group") else "right", no_wrap=True
            )
        for line in lines:
            shown.add_row(*(Text(line[i]) for i in kept))
        console.print(shown, width=width)
        notes = list(board.notes)
        if dropped := [name for i, name in enumerate(names) if i not in kept]:
            notes.append(f"Not shown for want of width: {', '.join(dropped)}; --format has all.")
        if any(row.others for row in board.rows):
            notes.append("The other mode of prediction differs for some methods; --prediction shows it.")
        for note in ["", *notes, *(f"left out: {skip}" for skip in board.left_out), ""]:
            console.print(Text(note), width=width, soft_wrap=False)


def fitting(names: Sequence[str], lines: Sequence[Sequence[str]], width: int) -> list[int]:
    """The columns that fit: costs go first, the last of them before, then the tests from the right, then the group."""
    sizes = [max(map(len, (name, *(line[i] for line in lines)))) + 2 for i, name in enumerate(names)]
    tests = range(4, len(names) - len(COSTS))  # the first test stays
    train = len(names) - len(COSTS)
    order = [*reversed(range(train + 1, len(names))), *reversed(tests[1:]), train, *tests[:1], 2]
    kept = list(range(len(names)))
    while sum(sizes[i] for i in kept) - 2 > width and order:
        kept.remove(order.pop(0))
    for i in [i for i in range(len(names)) if i not in kept]:  # what fits after all
        if sum(sizes[j] for j in [*kept, i]) - 2 <= width:
            kept.append(i)
    return sorted(kept)


def as_md(boards: Sequence[Board], pictures: Pictures) -> str:
    """Tables that GitHub shows, with notes, pictures and what was left out."""
    parts = ["# Leaderboard", "Written by `metabench leaderboard`; `bench=NAME` runs a method on a board."]
    for board in boards:
        names = headings(board)
        rule = ["---" if name in ("method", "group") else "---:" for name in names]
        lines = [[plain_md(text) for text in line] for line in texts(board)]
        parts += [f"## {title(board)}", "\n".join(f"| {' | '.join(line)} |" for line in [names, rule, *lines])]
        parts.append("\n".join(f"- {plain_md(note)}" for note in board.notes))
        parts += [f"![{name}]({path})" for name, path in pictures.get(board.name, {}).items()]
        if board.left_out:
            parts.append("\n".join(["Left out:", "", *(f"- {plain_md(str(skip))}" for skip in board.left_out)]))
    return "\n\n".join(parts) + "\n"


def as_latex(boards: Sequence[Board], pictures: Pictures) -> str:
    """One `tabular` per board, with booktabs; notes are the caption, what was left out follows as comments."""
    parts = []
    for board in boards:
        names = headings(board)
        form = "".join("l" if name in ("method", "group") else "r" for name in names)
        lines = [" & ".join(map(plain_latex, line)) + r" \\" for line in [names, *texts(board)]]
        caption = " ".join(map(plain_latex, [f"{title(board)}.", *board.notes]))
        parts.append("\n".join([
            r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", rf"\begin{{tabular}}{{{form}}}", r"\toprule",
            lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}", r"\end{table}",
            *(f"% left out: {skip}" for skip in board.left_out),
        ]))  # fmt: skip
    return "\n\n".join(parts) + "\n"


def as_html(boards: Sequence[Board], pictures: Pictures) -> str:
    """One page; no script, no network."""
    import jinja2

    from metabench.utils.palette import ON_DARK, PALETTE

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("metabench.report", "templates"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    sections = [(title(board), headings(board), texts(board), board, pictures.get(board.name, {})) for board in boards]
    return environment.get_template("leaderboard.html").render(sections=sections, light=PALETTE, dark=ON_DARK)


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
        "parameters": row.parameters, "meta_steps": row.meta_steps, "seeds": [run.seed for run in row.runs],
        "command": [s.environment.command for s in summaries], "commit": [s.environment.git for s in summaries],
        "device": [s.environment.device for s in summaries],
        "run": [clean_text(run.path.as_posix()) for run in row.runs],
    }  # fmt: skip


def _modes(board: Board, row: Row) -> list[tuple[str, Mapping[str, Figure]]]:
    other = "transductive" if board.prediction == "inductive" else "inductive"
    return [(board.prediction, row.cells), (other, row.others)]


def as_json(boards: Sequence[Board], pictures: Pictures) -> str:
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


def as_csv(boards: Sequence[Board], pictures: Pictures) -> str:
    """One line per method and column; values that each seed has one of are joined by ' | '."""
    text, writer = io.StringIO(), None
    for board in boards:
        for row in board.rows:
            whole = record(board, row)
            cells = whole.pop("cells")
            about = {key: " | ".join(map(str, v)) if isinstance(v, list) else v for key, v in whole.items()}
            seeds = about.pop("seeds")
            for cell in cells:
                line = {"board": board.name, "metric": board.metric, **about, "run_seeds": seeds, **cell}
                if writer is None:
                    writer = csv.DictWriter(text, line.keys(), lineterminator="\n")
                    writer.writeheader()
                writer.writerow(line)
    return text.getvalue()


WRITERS = {"md": as_md, "csv": as_csv, "json": as_json, "latex": as_latex, "html": as_html}
