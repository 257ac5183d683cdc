"""The report on a terminal: one line per cell on one screen, or with `full` everything."""

from __future__ import annotations

from itertools import groupby

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from metabench.report.cells import Cell
from metabench.report.tables import Part, Report, Table
from metabench.report.verdict import DEFINITION, Kind
from metabench.report.wording import count, difference, origin, ours, paper, published_value, test_card, verdict_word
from metabench.utils.counted import counted

COLOURS = {
    Kind.MATCHES: "green",
    Kind.BETTER: "bold green",
    Kind.WORSE: "red",
    Kind.UNDECIDED: "cyan",
    Kind.SHORT_RUN: "yellow",
    Kind.NOT_COMPARABLE: "magenta",
}
CELL, LABEL = 30, 26  # columns of text that a cell and a row's name are given, with `full`
FEW = 3  # folders that were left out, with their reasons
WIDE = 100  # columns of text from which the short form has the paper's intervals


def show(report: Report, console: Console, *, full: bool = False) -> None:
    """Print the tables of papers and the counts; boards and exploratory runs where there is room, all with `full`.

    No line is wider than the console.
    """
    console.soft_wrap = False
    if full:
        _show_all(report, console)
        return
    room = console.height - 5 if console.is_terminal else None  # a pipe has no end
    hidden: list[Table] = []
    for part, tables in groupby(report.tables, key=lambda table: table.part):
        for table in tables:
            lines = len(table.cells) + 2
            first = table is report.tables[0]
            if room is not None and lines > room and part is not Part.PAPERS and not first:
                hidden.append(table)
                continue
            room = None if room is None else room - lines
            console.print(_short(table, console.width), "")
    console.print(*_counts(report, hidden), sep="\n")


def _short(table: Table, width: int) -> RichTable:
    """A line for each cell: the row, the column, ours, the paper's, and the verdict as a word."""
    shown = RichTable(
        title=Text(table.title, style="bold", overflow="ellipsis", no_wrap=True), title_justify="left",
        show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=False,
    )  # fmt: skip
    papers = any(cell.paper is not None for cell in table.cells)
    shown.add_column(overflow="fold", max_width=width // 3)
    shown.add_column(overflow="fold")
    shown.add_column(no_wrap=True, justify="right")
    if papers:
        shown.add_column(no_wrap=True, justify="right")
        shown.add_column(no_wrap=True)
    for (row, variant), cells in table.rows.items():
        name = Text(row, style="bold").append(f" {variant}" if variant else "", style="dim not bold")
        for column in table.columns:
            if (cell := cells.get(column)) is None:
                continue
            line = [name, Text(column), Text(ours(cell))]
            if papers:
                word = Text(verdict_word(cell), style=COLOURS.get(cell.verdict.kind, ""))
                line += [Text(published_value(cell, interval=width >= WIDE) or ""), word]
            shown.add_row(*line)
            name = Text("")
    return shown


def _counts(report: Report, hidden: list[Table]) -> list[Text]:
    """The last lines: how many cells have which verdict, and what is not shown."""
    kinds = [cell.verdict.kind for cell in report.cells]
    said = Text(counted(len(kinds), "cell"), style="bold")
    for kind in DEFINITION:
        if number := kinds.count(kind):
            said.append(" · ", style="not bold").append(f"{number} {kind}", style=f"not bold {COLOURS[kind]}")
    if bare := kinds.count(Kind.NONE):
        said.append(f" · {bare} without a published value", style="not bold")
    lines = [said]
    if hidden:
        cells = counted(sum(len(table.cells) for table in hidden), "cell")
        lines.append(Text(f"not shown: {cells} of boards and exploratory runs; `metabench leaderboard` ranks boards"))
    if report.skipped:
        lines += [Text(f"left out: {line}") for line in report.skips[:FEW]]
        if (more := len(report.skipped) - FEW) > 0:
            lines.append(Text(f"and {more} more left out"))
    marks = " ".join(report.footnotes)
    if marks:
        lines.append(Text(marks, style="dim"))
    lines.append(Text("--full: reasons, protocols and where each number comes from", style="dim"))
    return lines


def _show_all(report: Report, console: Console) -> None:
    for table in report.tables:
        across = max(1, (console.width - LABEL) // CELL)
        for start in range(0, len(table.columns), across):
            console.print(_table(table, table.columns[start : start + across], report.marks), "")
    for title, lines in report.sections():
        console.print(Text(title, style="bold"))
        for line in lines:
            console.print(Text(f"  {line}"))
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
