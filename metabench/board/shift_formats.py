"""Task shift in every format: one table of losses for people, one record of numbers for programs."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from metabench import __version__
from metabench.board.columns import TITLES
from metabench.board.formats import Sheet
from metabench.board.row import Row
from metabench.board.shift import HOME, Shifted
from metabench.report.csv_text import csv_text
from metabench.report.verdict import Figure
from metabench.runs.untrusted import clean_text
from metabench.utils.console import format_metric
from metabench.utils.files import plain

HEADING = (
    "# Task shift",
    "Written by `metabench leaderboard --suite shift`; `metabench test RUN suite=shift` tests a model of a board.",
)
CANNOT = "–"
LARGE = 1000  # from here on errors are written with an exponent


def sheet(shifted: Shifted) -> Sheet:
    """The losses of each method; the first column is its home test."""
    board = shifted.board
    headings = ["method", HOME, *shifted.names]
    lines, short = [], []
    for row in shifted.rows:
        home = row.cells.get(board.columns[0].title)
        losses, refused = shifted.losses[row.name], shifted.refused.get(row.name, {})
        texts = [
            CANNOT if name in refused else loss_text(board.metric, losses[name].loss) if name in losses else ""
            for name in shifted.names
        ]
        lines.append([row.name, _text(board.metric, home), *texts])
        short.append([text.partition(" ±")[0] for text in lines[-1]])
    accuracy = board.metric == "accuracy"
    title = (
        f"{TITLES[board.name]}: {'loss of accuracy (%)' if accuracy else 'increase of mean squared error'} under shift"
    )
    return Sheet(
        board.name, title, headings, lines, short, [*reversed(range(2, len(headings)))], notes(shifted), [],
        shifted.left_out,
    )  # fmt: skip


def loss_text(metric: str, loss: Figure) -> str:
    """A loss with its interval, as results of the metric are written; an improvement has a minus."""
    sign = "−" if loss.mean < 0 else ""
    if abs(loss.mean) >= LARGE:
        return f"{sign}{abs(loss.mean):.1e}" + ("" if loss.ci95 is None else f" ± {loss.ci95:.1e}")
    return sign + format_metric(metric, abs(loss.mean), loss.ci95).removesuffix("%")


def _text(metric: str, figure: Figure | None) -> str:
    return "" if figure is None else format_metric(metric, figure.mean, figure.ci95).removesuffix("%")


def notes(shifted: Shifted) -> list[str]:
    """Explanations of the numbers, one line each."""
    board = shifted.board
    what = "accuracy at home less accuracy under the shift" if board.metric == "accuracy" else (
        "mean squared error under the shift less that at home"
    )  # fmt: skip
    against = ", ".join(f"{name} against {other}" for name, other in shifted.against.items())
    lines = [
        f"{HOME}: {board.columns[0].title}, the test of the board. Others: {what}, over the same test tasks; a minus "
        "is an improvement. ± is the 95% interval of the mean of the paired differences, of three seeds or more over "
        f"seeds and tasks. A row is of the seeds that have all its tests: {_seeds(shifted.rows)}.",
        f"{board.prediction} prediction. The shifts are those of conf/suite/shift/{board.name}.yaml.",
    ]
    if against:
        lines.append(f"Set against a test of the same size in place of {HOME}: {against}.")
    causes: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in shifted.rows:
        for name, reason in shifted.refused.get(row.name, {}).items():
            if name in shifted.names:
                causes[cause(reason)][row.name].append(name)
    for why, rows in causes.items():
        lines.append(
            f"{CANNOT}: {why}: " + ", ".join(f"{row} ({', '.join(names)})" for row, names in rows.items()) + "."
        )
    return lines


def _seeds(rows: Sequence[Row]) -> str:
    """The number of rows by their number of seeds."""
    counts = sorted(Counter(len(row.runs) for row in rows).items())
    return ", ".join(f"{count} row{'s' * (count > 1)} of {n} seed{'s' * (n > 1)}" for n, count in counts)


def cause(reason: str) -> str:
    """Why a test was not made, in a few words."""
    if "not finite" in reason:
        return "predictions are not finite in some tasks"
    if "no such key" in reason:
        return f"the method has no {reason.partition('=')[0]}"
    return reason.rpartition(": ")[2]


def record(shifted: Shifted, row: Row) -> list[dict[str, Any]]:
    """The losses of a row as plain values; accuracies as fractions."""
    board = shifted.board
    return [
        {
            "board": board.name, "metric": board.metric, "prediction": board.prediction, "method": row.method,
            "variant": row.variant, "test": name, "against": loss.against, "mean": loss.mean, "loss": loss.loss.mean,
            "ci95": loss.loss.ci95, "interval_over": loss.loss.over, "seeds": loss.loss.seeds, "tasks": loss.loss.tasks,
        }
        for name, loss in shifted.losses[row.name].items()
    ]  # fmt: skip


def as_json(shifts: Sequence[Shifted]) -> str:
    """Losses, what methods cannot have, the rules, and what was left out."""
    content = {
        "metabench": __version__,
        "suites": [
            {
                "board": shifted.board.name,
                "losses": [line for row in shifted.rows for line in record(shifted, row)],
                "refused": {row.name: dict(shifted.refused.get(row.name, {})) for row in shifted.rows},
                "notes": notes(shifted),
                "left_out": [{"path": clean_text(s.path.as_posix()), "reason": s.reason} for s in shifted.left_out],
            }
            for shifted in shifts
        ],
    }
    return json.dumps(plain(content), indent=2, ensure_ascii=False) + "\n"


def as_csv(shifts: Sequence[Shifted]) -> str:
    """One line per method and test."""
    return csv_text([line for shifted in shifts for row in shifted.rows for line in record(shifted, row)])
