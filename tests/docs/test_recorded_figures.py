"""The figures of README.md, docs/results.md and docs/findings.md are those that the recorded runs give."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from metabench.config.published import rows as published_rows
from metabench.config.schema import mark
from metabench.report.csv_json import record
from metabench.report.expected import Experiments
from metabench.report.tables import make_report

pytestmark = pytest.mark.slow  # all recorded runs are read

JUDGED = ("matches", "better", "worse", "undecided")
FIGURE = r"(\d+\.\d+)%? ± (\d+\.\d+)"
ROW = re.compile(rf"^\| .* \| `([\w/.]+)` \| .* \| {FIGURE}.* \| ({'|'.join(JUDGED)}) \|$", re.MULTILINE)
SAID = (
    "Of {} published results rerun at the paper's length, {} match, {} are better, {} are worse and {} are undecided."
)

SHIFTS = ("wrong_labels", "rotated", "inverted", "thicker", "noise", "coarse", "glyphs")  # of the table on Omniglot

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


README_RUNS = {  # its rows on Omniglot: run, published cell
    "ProtoNet": ("omniglot_protonet_5w1s", "protonet_5w1s"),
    "MAML": ("omniglot_maml_5w1s", "maml_5w1s"),
    "relation network": ("omniglot/relationnet", "relationnet_5w1s"),
    "SNAIL": ("omniglot/snail", "snail_5w1s"),
    "Baseline": ("omniglot/baseline_5w1s/seed0", "baseline_5w1s"),
}


def readme_rows(heading: str) -> list[list[str]]:
    """The rows of the table of README.md whose head begins so."""
    _, _, table = (ROOT / "README.md").read_text().partition(f"| {heading}")
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.partition("\n\n")[0].splitlines()[2:]]


def test_the_omniglot_rows_of_the_readme_are_recorded():
    rows = readme_rows("Omniglot 5-way 1-shot")
    assert [row[0] for row in rows] == list(README_RUNS)
    for method, published, ours, mode, _ in rows:
        run, name = README_RUNS[method]
        assert ours == in_words(ROOT / "outputs/reference" / run, mode), method
        (paper,) = [row for row in published_rows() if row["experiment"] == f"omniglot/{name}"]
        interval = f" ± {paper['ci95']}" if paper["ci95"] else ""
        assert published == f"{paper['value']}{interval}{mark(paper['verified'])}", method


def test_the_sinusoid_rows_of_the_readme_are_recorded(cells):
    figures = [figure for row in readme_rows("sinusoid mean squared error") for figure in re.findall(FIGURE, row[2])]
    assert len(figures) == 3 + 2 + 3
    for figure in figures:
        assert is_written(figure, [cell for cell in cells if cell["data"] == "sinusoid"]), figure


def section(heading: str) -> list[list[str]]:
    """The rows of the table below a heading of docs/findings.md, its own head left out."""
    _, _, after = (ROOT / "docs/findings.md").read_text().partition(f"## {heading}")
    table = [line for line in after.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    return [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in table[1:]]


def test_the_boards_of_the_findings_are_recorded(cells):
    rows = section("Sinusoids: who leads")
    figures = [(row[0], figure) for row in rows for text in row[1:] for figure in re.findall(FIGURE, text)]
    assert len(figures) == 3 * len(rows) > 60
    for method, figure in figures:
        assert is_written(figure, [cell for cell in cells if cell["row"] == method]), (method, figure)


def test_omniglot_in_the_findings_is_recorded():
    rows = section("Omniglot: the rows so far")
    assert {row[0] for row in rows} == {path.name for path in (ROOT / "outputs/reference/bench/omniglot").iterdir()}
    for method, *figures, _ in rows:
        run = ROOT / f"outputs/reference/bench/omniglot/{method}/seed0"
        for place, figure in zip(
            (run, *(run / f"tests/{test}" for test in ("5w5s", "20w1s", "20w5s"))), figures, strict=True
        ):
            assert figure == (in_words(place, "inductive") if place.is_dir() else "")


def in_words(run: Path, mode: str) -> str:
    found = json.loads((run / "summary.json").read_text())["test"]["modes"][mode]
    return f"{100 * found['mean']:.2f} ± {100 * found['ci95']:.2f}"


def test_the_shifts_of_omniglot_in_the_findings_are_recorded():
    tests = ("", *(f"tests/{name}" for name in SHIFTS))
    rows = section("Omniglot: what shift breaks")
    assert len(rows) > 4
    for method, *figures in rows:
        for test, figure in zip(tests, figures, strict=True):
            mean = in_words(ROOT / f"outputs/reference/bench/omniglot/{method}/seed0" / test, "inductive").split()[0]
            assert float(figure) == pytest.approx(float(mean), abs=0.051), (method, test)


@pytest.mark.parametrize("heading", ["Sinusoids: inner steps at test", "Sinusoids: what shift breaks"])
def test_the_shifts_of_the_findings_are_recorded(heading):
    tests = {
        "Sinusoids: inner steps at test": ("steps1", "steps10", "steps100"),
        "Sinusoids: what shift breaks": ("amplitude", "x_outside", "queries_outside", "frequency", "noise", "k2"),
    }[heading]
    rows = section(heading)
    assert len(rows) > 10
    for method, *figures in rows:
        for test, figure in zip(tests, figures, strict=True):
            path = ROOT / f"outputs/reference/bench/sinusoid/{method}/seed0/tests/{test}/summary.json"
            if figure == "–":
                assert not path.exists()
            else:
                mean = json.loads(path.read_text())["test"]["modes"]["inductive"]["mean"]
                assert float(figure) == pytest.approx(mean, rel=0.06), (method, test)


def test_the_modes_of_the_findings_are_recorded():
    rows = section("Where transduction decides")
    assert len(rows) > 4
    for method, inductive, transductive, run in rows:
        for mode, figure in (("inductive", inductive), ("transductive", transductive)):
            assert figure == in_words(ROOT / f"outputs/reference/{run}", mode), (method, mode)
