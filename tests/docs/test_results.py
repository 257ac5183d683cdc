"""The figures of README.md and docs/results.md are those that the recorded runs give."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from paths import ROOT

from metabench.report.csv_json import record
from metabench.report.expected import Experiments
from metabench.report.tables import make_report

JUDGED = ("matches", "better", "worse", "undecided")
FIGURE = r"(\d+\.\d+)%? ± (\d+\.\d+)"
ROW = re.compile(rf"^\| .* \| `([\w/.]+)` \| .* \| {FIGURE}.* \| ({'|'.join(JUDGED)}) \|$", re.MULTILINE)
SAID = (
    "Of {} published results rerun at the paper's length, {} match, {} are better, {} are worse and {} are undecided."
)

Cells = list[dict[str, Any]]


@pytest.fixture(scope="module")
def cells() -> Cells:
    return [record(cell) for cell in make_report([ROOT / "outputs/reference"], Experiments(None)).cells]


def is_written(figure: tuple[str, str], cells: Cells) -> bool:
    """True where a cell has that mean and interval, to the digits that are written."""

    def rounded(value: float | None, cell: dict[str, Any], like: str) -> str:
        scale = 100 if cell["metric"] == "accuracy" else 1
        return "" if value is None else f"{scale * value:.{len(like.partition('.')[2])}f}"

    mean, interval = figure
    return any(
        rounded(cell["ours"], cell, mean) == mean and rounded(cell["ours_ci95"], cell, interval) == interval
        for cell in cells
    )


def test_both_count_the_verdicts(cells):
    found = Counter(cell["verdict"] for cell in cells)
    counts = [found[word] for word in JUDGED]
    assert f"| {' | '.join(map(str, [sum(counts), *counts]))} |" in (ROOT / "docs/results.md").read_text()
    assert SAID.format(sum(counts), *counts) in " ".join((ROOT / "README.md").read_text().split())


def test_every_row_of_the_results_is_a_judged_cell(cells):
    page = (ROOT / "docs/results.md").read_text().partition("### Where results differ")[0]
    rows = ROW.findall(page)
    for experiment, mean, interval, verdict in rows:
        of_it = [cell for cell in cells if (cell["experiment"], cell["verdict"]) == (experiment, verdict)]
        assert is_written((mean, interval), of_it), (experiment, mean, interval, verdict)
    assert len(rows) == sum(cell["verdict"] in JUDGED for cell in cells)


def test_every_figure_of_the_readme_is_a_recorded_one(cells):
    section = (ROOT / "README.md").read_text().partition("## Results")[2].partition("| time per meta-step")[0]
    ours = [row.split(" | ")[2] for row in section.splitlines() if row.count(" | ") >= 2]
    figures = [figure for text in ours for figure in re.findall(FIGURE, text)]
    assert len(figures) > 8
    for figure in figures:
        assert is_written(figure, cells), figure
