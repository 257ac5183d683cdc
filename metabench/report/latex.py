r"""The report in LaTeX: a `table` for each paper, board or data set, one line a method.

Needs \usepackage{booktabs,siunitx,graphicx} and UTF-8 input. Results stand in columns of siunitx, aligned at the
point. A table wider than the text is scaled down to it, and a long one goes on in the next.
"""

from __future__ import annotations

from collections.abc import Iterator

from metabench.report.cells import Cell
from metabench.report.tables import Report, Table, footnotes, intervals, origin, test_card
from metabench.report.verdict import DEFINITION, Kind

SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{letter: rf"\{letter}" for letter in "&%$#_{}"},
    "±": r"$\pm$", "−": "$-$", "·": r"$\cdot$", "√": r"$\surd$", "×": r"$\times$", "<": "$<$", ">": "$>$", "|": "$|$",
    "†": r"$\dagger$", "²": "$^2$", "–": "--", "…": r"\dots{}",
}  # fmt: skip
SIGNS = {
    Kind.MATCHES: "$=$",
    Kind.BETTER: "$+$",
    Kind.WORSE: "$-$",
    Kind.UNDECIDED: "?",
    Kind.SHORT_RUN: "s",
    Kind.NOT_COMPARABLE: "n",
    Kind.NONE: "",
}
PREAMBLE = r"\usepackage{booktabs,siunitx,graphicx} % in the preamble"
ROWS = 40  # of a table that fits a page


def as_latex(report: Report) -> str:
    """Tables to be copied into a paper; what decides the numbers follows as comments, and the rules as a caption."""
    parts = [f"% {PREAMBLE}", *(part for table in report.tables for part in _tables(table))]
    for title, lines in report.sections():
        parts.append("\n".join([f"% {title}", *(f"%   {line}" for line in lines)]))
    for protocol, mark in report.marks.items():
        models = report.models(protocol)
        lines = [f"% [{mark}] protocol {protocol}", *(f"%   {k}: {v}" for k, v in test_card(models[0][1]).items())]
        for name, cell in models:
            lines += [f"%   {name}", *(f"%     {key}: {value}" for key, value in origin(cell).items())]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _tables(table: Table) -> Iterator[str]:
    rows = list(table.rows.items())
    papers = any(cell.paper is not None for cell in table.cells)
    for start in range(0, len(rows), ROWS):
        more = " (continued)" if start else ""
        span, kind = (3, "S[table-format=2.4(4)]rc") if papers else (1, "S[table-format=2.4(4)]")
        heads = [rf"\multicolumn{{{span}}}{{c}}{{{plain(column)}}}" for column in table.columns]
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{plain(table.title)}{more}. {_caption(table, papers)}}}",
            r"\sisetup{separate-uncertainty=true}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{kind * len(table.columns)}}}",
            r"\toprule",
            " & ".join(["", *heads]) + r" \\",
        ]
        if papers:
            lines.append(" & ".join(["", *["{ours} & {paper} & "] * len(table.columns)]) + r" \\")
        lines.append(r"\midrule")
        for (row, variant), cells in rows[start : start + ROWS]:
            name = plain(row) + (rf" {{\small {plain(variant)}}}" if variant else "")
            each = [_cell(cells.get(column), papers) for column in table.columns]
            lines.append(" & ".join([name, *each]) + r" \\")
        yield "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table}"])


def _caption(table: Table, papers: bool) -> str:
    """The units, the rules, and the signs of the verdicts that the table has."""
    unit = "Accuracies in percent. " if any(cell.metric == "accuracy" for cell in table.cells) else ""
    kinds = {cell.verdict.kind for cell in table.cells}
    signs = "; ".join(f"{SIGNS[kind]} {kind}" for kind in DEFINITION if kind in kinds)
    rules = " ".join(plain(line) + "." for line in (*intervals(table.cells), *footnotes(table.cells)))
    return unit + (f"{signs}. " if papers and signs else "") + rules


def _cell(cell: Cell | None, papers: bool) -> str:
    """Ours, and in two further columns the paper's and the sign of the verdict."""
    if cell is None:
        return " &  & " if papers else ""
    ours = _number(cell.metric, cell.ours.mean, cell.ours.ci95)
    if not papers:
        return ours
    if cell.paper is None:
        return f"{ours} &  & "
    value = _number(cell.paper.metric, cell.paper.value, cell.paper.ci95)
    return rf"{ours} & \num{{{value}}}{plain(cell.paper.mark)} & {SIGNS[cell.verdict.kind]}"


def _number(metric: str, mean: float, ci95: float | None) -> str:
    """A result as siunitx reads it: percent for an accuracy, four digits for an error."""
    scale, digits = (100, 2) if metric == "accuracy" else (1, 4)
    half = "" if ci95 is None else rf" \pm {scale * ci95:.{digits}f}"
    return f"{scale * mean:.{digits}f}{half}"


def plain(text: str) -> str:
    """`text` with nothing in it that LaTeX would obey."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)
