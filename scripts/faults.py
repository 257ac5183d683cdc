"""Every fault as often as it is to be survived; prints a table, and writes RELIABILITY.md.

    python scripts/faults.py                            # all of them
    python scripts/faults.py --tries 3                  # of each kind three at most; writes nothing
    python scripts/faults.py --only "kill -9"           # those rows of RELIABILITY.md anew

Exits with 1 if an attempt did not hold. As root it also fills a small disk of its own and makes one read-only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

HOME = Path(__file__).resolve().parents[1]
sys.path[:0] = [
    str(HOME / "tests"),
    str(HOME / "tests/helpers"),
]  # the faults are the tests', and so is what they do them with

from faults.all import FAULTS  # noqa: E402
from faults.fault import Fault, Outcome, carry_out  # noqa: E402

from metabench.training.environment import environment  # noqa: E402

FOLDER = HOME / "outputs" / "reference" / "reliability"
RECORD, PICTURE = FOLDER / "faults.json", FOLDER / "memory.png"
Row = dict[str, Any]

INTRODUCTION = """# Reliability

What was done to the program, how often, and how often it held what it promises: written by `python scripts/faults.py`,
which does all of it again, and with `--only` some. Torch {torch}, {device}, beside other work; what a clock
measures was done alone. A few of each are in the test suite (`pytest -m faults`).

The processes are real, the signals are the kernel's, the full disk is one that was filled. "Identical" is bit for bit:
weights, optimiser, `metrics.jsonl`, `episodes.json` and summary, but for times.

| fault | tries | held | time | what must hold | commit, date |
|---|---|---|---|---|---|
"""


def main() -> None:
    options = _options()
    memory = Path("/dev/shm")  # a folder in memory, where there is one: thousands of files are synced
    work = Path(tempfile.mkdtemp(prefix="faults-", dir=memory if memory.is_dir() else None))
    tempfile.tempdir, series = str(work), work / "series.json"
    os.environ |= {"TMPDIR": str(work), "METABENCH_CACHE": str(work / "cache"), "METABENCH_MEMORY": str(series)}
    chosen = [fault for fault in FAULTS if options.only in fault.name]
    about = environment(torch.device("cpu"), [])
    rows: dict[str, Row] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    wrong = False
    for fault, outcome in _outcomes(chosen, options, work):
        row = {**vars(outcome), "git": about["git"], "date": time.strftime("%Y-%m-%d")}
        print(_line(fault, row), *_failures(fault, row), sep="\n", flush=True)
        wrong |= bool(_failures(fault, row))
        if options.tries is None:
            rows[fault.name] = row
            _write(rows, about)
    if series.exists() and options.tries is None:
        _draw(series)
    if not wrong:
        shutil.rmtree(work)
    sys.exit(wrong)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--tries", type=int, help="of each at most")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="faults at a time")
    return parser.parse_args()


def _outcomes(chosen: list[Fault], options: argparse.Namespace, work: Path) -> Iterator[tuple[Fault, Outcome]]:
    """Each fault and what came of it: several at a time, then, one after the other, those that a clock measures."""
    for alone in (False, True):
        faults = [fault for fault in chosen if fault.alone is alone]
        tries = [min(options.tries or fault.tries, fault.tries) for fault in faults]
        folders = [work / f"{alone:d}-{number}" for number in range(len(faults))]
        with ProcessPoolExecutor(1 if alone else options.workers) as pool:
            yield from zip(faults, pool.map(carry_out, faults, tries, folders), strict=True)


def _line(fault: Fault, row: Row) -> str:
    """A row of the table."""
    figures = "; ".join(f"{name}: {_figure(value)}" for name, value in row["figures"].items())
    holds = fault.holds + (f" ({figures})" if figures else "")
    held = row["skipped"] or row["held"]
    return (
        f"| {fault.name} | {row['tries']} | {held} | {row['seconds']:.0f} s | {holds} | `{row['git']}`, {row['date']} |"
    )


def _failures(fault: Fault, row: Row) -> list[str]:
    return [f"- {fault.name}: {line}" for line in (*row["failures"], *row["exceeded"])]


def _figure(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else f"{value:.3g}"


def _write(rows: dict[str, Row], about: Row) -> None:
    """Keep the rows, and RELIABILITY.md of them."""
    known = [(fault, rows[fault.name]) for fault in FAULTS if fault.name in rows]
    lines = [_line(fault, row) for fault, row in known]
    wrong = [line for fault, row in known for line in _failures(fault, row)]
    failed = ["", "Did not hold:", "", *wrong] if wrong else []
    missing = [fault.name for fault in FAULTS if fault.name not in rows]
    undone = ["", f"Not done yet: {', '.join(missing)}."] if missing else []
    picture = ["", f"![memory of a run of 100,000 meta-steps]({PICTURE.relative_to(HOME)})"]
    device = f"{about['device'].rpartition(',')[0]}, {about['cpus']} cores"
    FOLDER.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps({fault.name: row for fault, row in known}, indent=1) + "\n")
    text = INTRODUCTION.format(torch=torch.__version__, device=device)
    (HOME / "RELIABILITY.md").write_text(text + "\n".join([*lines, *failed, *undone, *picture]) + "\n")


def _draw(series: Path) -> None:
    """The memory of the long run over time."""
    from matplotlib import style
    from matplotlib.figure import Figure

    from metabench.plots.theme import DPI, STYLE, WIDTH

    memory = json.loads(series.read_text())["seconds_mb"]
    with style.context(STYLE):
        figure = Figure(figsize=(WIDTH, WIDTH / 3), layout="constrained")
        axes = figure.subplots()
        axes.plot(*zip(*memory, strict=True))
        axes.set_xlabel("seconds")
        axes.set_ylabel("MB in memory")
        axes.set_ylim(bottom=0)
        figure.savefig(PICTURE, dpi=DPI)


if __name__ == "__main__":
    main()
