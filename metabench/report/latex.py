r"""The report in LaTeX: one `tabular` per data set, with booktabs; needs \usepackage{booktabs} and UTF-8 input."""

from __future__ import annotations

from metabench.report.cells import Cell
from metabench.report.tables import Report, Table, count, difference, origin, ours, paper, test_card, verdict_word

SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{letter: rf"\{letter}" for letter in "&%$#_{}"},
    "±": r"$\pm$", "−": "$-$", "·": r"$\cdot$", "√": r"$\surd$", "×": r"$\times$", "<": "$<$", ">": "$>$", "|": "$|$",
    "†": r"$\dagger$", "²": "$^2$", "–": "--", "…": r"\dots{}",
}  # fmt: skip


def as_latex(report: Report) -> str:
    """Tables to be copied into a paper; what decides the numbers follows as comments, and the rules as a caption."""
    parts = [_table(table, report) for table in report.tables]
    for title, lines in report.sections():
        parts.append("\n".join([f"% {title}", *(f"%   {line}" for line in lines)]))
    for protocol, mark in report.marks.items():
        models = report.models(protocol)
        lines = [f"% [{mark}] protocol {protocol}", *(f"%   {k}: {v}" for k, v in test_card(models[0][1]).items())]
        for name, cell in models:
            lines += [f"%   {name}", *(f"%     {key}: {value}" for key, value in origin(cell).items())]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _table(table: Table, report: Report) -> str:
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{plain(table.title)}. {' '.join(plain(note) + '.' for note in report.notes)}}}",
        rf"\begin{{tabular}}{{l{'l' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(["", *map(plain, table.columns)]) + r" \\",
        r"\midrule",
    ]
    for (row, variant), cells in table.rows.items():
        each = [cells.get(column) for column in table.columns]
        name = plain(row) + (rf" {{\small {plain(variant)}}}" if variant else "")
        lines.append(" & ".join([name, *(_ours(cell, report.marks) for cell in each)]) + r" \\")
        if any(cell is not None and cell.paper is not None for cell in each):
            lines.append(" & ".join([r"\quad paper", *map(_paper, each)]) + r" \\")
        lines.append(" & ".join([r"\quad verdict", *map(_verdict, each)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _ours(cell: Cell | None, marks: dict[str, str]) -> str:
    return "" if cell is None else rf"{plain(ours(cell))}\textsuperscript{{{marks[cell.protocol]}}}"


def _paper(cell: Cell | None) -> str:
    return "" if cell is None or cell.paper is None else plain(paper(cell) or "")


def _verdict(cell: Cell | None) -> str:
    return "" if cell is None else plain(" · ".join(filter(None, (difference(cell), verdict_word(cell), count(cell)))))


def plain(text: str) -> str:
    """`text` with nothing in it that LaTeX would obey."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)
