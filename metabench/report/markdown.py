"""The report in Markdown: tables that GitHub shows, and everything that decides the numbers below them."""

from __future__ import annotations

import re

from metabench.report.cells import Cell
from metabench.report.tables import Report, Table
from metabench.report.wording import count, difference, origin, ours, paper, test_card, verdict_word


def as_md(report: Report) -> str:
    """The whole of it."""
    parts = [_table(table, report.marks) for table in report.tables]
    for title, lines in report.sections():
        parts.append("\n".join([f"**{title}**", "", *(f"- {plain(line)}" for line in lines)]))
    for protocol, mark in report.marks.items():
        models = report.models(protocol)
        lines = [f"**[{mark}] protocol {protocol}**", ""]
        lines += [f"- {key}: {plain(value)}" for key, value in test_card(models[0][1]).items()]
        for name, cell in models:
            facts = "; ".join(f"{key}: {plain(value)}" for key, value in origin(cell).items())
            lines.append(f"- **{plain(name)}**: {facts}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _table(table: Table, marks: dict[str, str]) -> str:
    lines = [["", *map(plain, table.columns)], ["---"] * (1 + len(table.columns))]
    for (row, variant), cells in table.rows.items():
        name = f"**{plain(row)}**" + (f"<br>{plain(variant)}" if variant else "")
        lines.append([name, *(_cell(cells.get(column), marks) for column in table.columns)])
    return "\n".join([f"### {plain(table.title)}", "", *(f"| {' | '.join(line)} |" for line in lines)])


def _cell(cell: Cell | None, marks: dict[str, str]) -> str:
    if cell is None:
        return ""
    parts = [f"**{ours(cell)}** [{marks[cell.protocol]}]"]
    if cell.paper is not None:
        parts.append(f"paper {paper(cell)}" + (f" ({difference(cell)})" if difference(cell) else ""))
    parts.append(" · ".join(filter(None, (verdict_word(cell), count(cell)))))
    return "<br>".join(parts)


def plain(text: str) -> str:
    """`text` with nothing in it that Markdown, or HTML within it, would obey."""
    return re.sub(r"([\\`*_\[\]<>|&#~])", r"\\\1", text)
