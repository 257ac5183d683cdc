r"""The report in LaTeX: a `table` for each paper, board or data set, one line per method.

Needs \usepackage{booktabs,siunitx,graphicx} and UTF-8 input. Results stand in columns of siunitx, aligned at the
point. A table wider than the text is scaled down to it, and a long one goes on in the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from metabench.report.cells import Cell
from metabench.report.tables import Report, Table
from metabench.report.verdict import DEFINITION, Kind
from metabench.report.wording import footnotes, intervals, origin, test_card
from metabench.utils.console import decimals

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
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"  # scales a table down to the text's width
LARGEST = 1e5  # greater numbers are written 3.54e+06
ROWS = 40  # of a table that fits a page
COLUMNS, PAPER_COLUMNS = 6, 3  # of one that can be read; a value beside its paper's takes two
Row = tuple[tuple[str, str], list[Cell | None]]


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
    """The table in parts that fit a page and can be read."""
    papers = any(cell.paper is not None for cell in table.cells)
    rows, columns = list(table.rows.items()), list(table.columns)
    width = PAPER_COLUMNS if papers else COLUMNS
    parts = [(i, j) for j in range(0, len(columns), width) for i in range(0, len(rows), ROWS)]
    for i, j in parts:
        title = plain(table.title) + (" (continued)" if (i, j) != (0, 0) else "")
        chosen = columns[j : j + width]
        lines = [(name, [cells.get(column) for column in chosen]) for name, cells in rows[i : i + ROWS]]
        yield _part(f"{title}. {_caption(table, papers)}", chosen, [x for x in lines if any(x[1])], papers)


def _part(caption: str, columns: list[str], rows: list[Row], papers: bool) -> str:
    span, more = (3, "rc") if papers else (1, "")
    form = "".join(f"S[table-format={_digits([cells[i] for _, cells in rows])}]{more}" for i in range(len(columns)))
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        r"\sisetup{separate-uncertainty=true,group-digits=none}",
        FIT,
        rf"\begin{{tabular}}{{l{form}}}",
        r"\toprule",
        " & ".join(["", *(rf"\multicolumn{{{span}}}{{c}}{{{plain(column)}}}" for column in columns)]) + r" \\",
    ]
    if papers:
        lines.append(" & ".join(["", *["{ours} & {paper} & "] * len(columns)]) + r" \\")
    lines.append(r"\midrule")
    for (row, variant), cells in rows:
        name = plain(row) + (rf" {{\small {plain(variant)}}}" if variant else "")
        lines.append(" & ".join([name, *(_cell(cell, papers) for cell in cells)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table}"])


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
    ours = f"{{{cell.ours.mean:.2e}}}" if _diverged(cell) else _number(cell.metric, cell.ours.mean, cell.ours.ci95)
    if not papers:
        return ours
    if cell.paper is None:
        return f"{ours} &  & "
    value = _number(cell.paper.metric, cell.paper.value, cell.paper.ci95)
    return rf"{ours} & \num{{{value}}}{plain(cell.paper.mark)} & {SIGNS[cell.verdict.kind]}"


def _digits(cells: Iterable[Cell | None]) -> str:
    """The digits that siunitx keeps room for in a column: before and after the point, and of the interval."""
    found = [cell for cell in cells if cell is not None and not _diverged(cell)]
    numbers = [_number(cell.metric, cell.ours.mean, cell.ours.ci95).partition(r" \pm ")[::2] for cell in found]
    decimals = max((len(mean.partition(".")[2]) for mean, _ in numbers), default=0)
    whole = max((len(mean.partition(".")[0]) for mean, _ in numbers), default=1)
    of_half = max((len(half.partition(".")[0]) for _, half in numbers), default=0)
    if not of_half:
        return f"{whole}.{decimals}"
    return f"{whole}.{decimals}({decimals + (of_half if of_half > 1 else 0)})"  # siunitx has room for a 0 in any case


def _diverged(cell: Cell) -> bool:
    """True for an error that no column of others has room for."""
    return cell.ours.mean >= LARGEST


def _number(metric: str, mean: float, ci95: float | None) -> str:
    """A result as siunitx reads it, to the decimals that every format shows."""
    scale, digits = 100 if metric == "accuracy" else 1, decimals(metric, mean, ci95)
    half = "" if ci95 is None else rf" \pm {scale * ci95:.{digits}f}"
    return f"{scale * mean:.{digits}f}{half}"


def plain(text: str) -> str:
    """`text` with nothing in it that LaTeX would obey."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)
