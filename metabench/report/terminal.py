"""The report on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from metabench.report.cells import Cell
from metabench.report.tables import Report, Table, count, difference, origin, ours, paper, test_card, verdict_word
from metabench.report.verdict import Kind

COLOURS = {
    Kind.MATCHES: "green",
    Kind.BETTER: "bold green",
    Kind.WORSE: "red",
    Kind.UNDECIDED: "cyan",
    Kind.SHORT_RUN: "yellow",
    Kind.NOT_COMPARABLE: "magenta",
}
CELL, LABEL = 30, 26  # columns of text that a cell and a row's name are given


def show(report: Report, console: Console) -> None:
    """Print all of it."""
    for table in report.tables:
        across = max(1, (console.width - LABEL) // CELL)
        for start in range(0, len(table.columns), across):
            console.print(_table(table, table.columns[start : start + across], report.marks), "")
    for title, lines in report.sections():
        console.print(Text(title, style="bold"))
        for line in lines:
            console.print(Text(f"  {line}"), soft_wrap=False)
        console.print()
    for protocol, mark in report.marks.items():
        models = report.models(protocol)
        _card(console, f"[{mark}] protocol {protocol}", test_card(models[0][1]))
        for name, cell in models:
            _card(console, name, origin(cell), indent=4)


def _table(table: Table, columns: list[str], marks: dict[str, str]) -> RichTable:
    title = Text(table.title, style="bold")
    shown = RichTable(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 3, 1, 0))
    shown.add_column("", max_width=LABEL)
    for column in columns:
        shown.add_column(Text(column))
    for (row, variant), cells in table.rows.items():
        if any(column in cells for column in columns):
            name = Text(row, style="bold").append(f"\n{variant}" if variant else "", style="dim not bold")
            shown.add_row(name, *(_cell(cells.get(column), marks) for column in columns))
    return shown


def _cell(cell: Cell | None, marks: dict[str, str]) -> Text:
    if cell is None:
        return Text("")
    text = Text(ours(cell), style="bold").append(f" [{marks[cell.protocol]}]", style="dim not bold")
    if cell.paper is not None:
        text.append(f"\npaper {paper(cell)}", style="not bold")
        if difference(cell):
            text.append(f" ({difference(cell)})", style="not bold")
    text.append("\n")
    if verdict_word(cell):
        text.append(verdict_word(cell), style=f"not bold {COLOURS[cell.verdict.kind]}").append(" · ", style="not bold")
    return text.append(count(cell), style="dim not bold")


def _card(console: Console, title: str, card: dict[str, str], indent: int = 0) -> None:
    shown = RichTable(
        title=Text(" " * indent + title, style="bold" if not indent else ""),
        title_justify="left", show_header=False, box=None, pad_edge=False,
    )  # fmt: skip
    shown.add_column(style="dim", no_wrap=True)
    shown.add_column(overflow="fold")
    for key, value in card.items():
        shown.add_row(Text(" " * indent + key), Text(value))
    console.print(shown, "")
