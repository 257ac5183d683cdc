"""Inject every fault as often as it must be survived; print each outcome and write docs/reliability.md.

    python scripts/faults.py                            # all faults
    python scripts/faults.py --tries 3                  # three tries of each at most; writes nothing
    python scripts/faults.py --only "kill -9"           # faults whose name contains this; their rows are renewed
    python scripts/faults.py --page                     # inject nothing; rewrite the page from the record

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

PAGE = HOME / "docs" / "reliability.md"
HEAD = """# Reliability

| fault injected | tries | passed | what must hold | worst measured |
|---|---|---|---|---|
"""
NOTES = """
Written by `python scripts/faults.py`, which injects all faults again; `--only "kill -9"` selects some. Each fault's own
count, time, commit and date is in `{record}`. Commits: {commits}. Device: {device}, torch {torch}; other jobs were
running, except where time or memory is measured. A subset runs in the test suite (`pytest -m faults`).

The processes and the signals are real, and the full disk is a real file system that was filled. *Identical* means
bit-identical weights, optimizer state, `metrics.jsonl`, `episodes.json` and summary, apart from timings.

![memory of a run of 100,000 meta-steps]({picture})
"""


def main() -> None:
    options = _options()
    rows: dict[str, Row] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if options.page:
        return _write(rows)
    memory = Path("/dev/shm")  # a folder in memory, where there is one: thousands of files are synced
    work = Path(tempfile.mkdtemp(prefix="faults-", dir=memory if memory.is_dir() else None))
    tempfile.tempdir, series = str(work), work / "series.json"
    os.environ |= {"TMPDIR": str(work), "METABENCH_CACHE": str(work / "cache"), "METABENCH_MEMORY": str(series)}
    chosen = [fault for fault in FAULTS if options.only in fault.name]
    about = environment(torch.device("cpu"), [])
    wrong = False
    for fault, outcome in _outcomes(chosen, options, work):
        device = f"{about['device'].rpartition(',')[0]}, {about['cpus']} cores"
        row = {
            **vars(outcome),
            "git": about["git"],
            "date": time.strftime("%Y-%m-%d"),
            "torch": torch.__version__,
            "device": device,
        }
        print(_line([(fault, row)]), *_failures(fault, row), sep="\n", flush=True)
        wrong |= bool(_failures(fault, row))
        if options.tries is None:
            rows[fault.name] = row
            _write(rows)
    if series.exists() and options.tries is None:
        _draw(series)
    if not wrong:
        shutil.rmtree(work)
    sys.exit(wrong)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--tries", type=int, help="of each at most")
    parser.add_argument("--page", action="store_true", help="inject nothing, write the page again")
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


def _line(group: list[tuple[Fault, Row]]) -> str:
    """A row of the table: faults after which the same must hold."""
    tries, held = (sum(row[key] for _, row in group) for key in ("tries", "held"))
    skipped = "; ".join(dict.fromkeys(row["skipped"] for _, row in group if row["skipped"]))
    worst: dict[str, float] = {}
    for _, row in group:
        for name, value in row["figures"].items():
            worst[name] = max(value, worst.get(name, value))
    measured = "; ".join(f"{name}: {_figure(value)}" for name, value in worst.items())
    names = _joined([fault.name for fault, _ in group])
    return f"| {names} | {tries} | {skipped or held} | {group[0][0].holds} | {measured} |"


def _joined(names: list[str]) -> str:
    """The names in one line; what stands before a colon is said once."""
    cases: dict[str, list[str]] = {}
    for name in names:
        kind, _, case = name.partition(": ")
        cases.setdefault(kind, []).append(case)
    return "; ".join(f"{kind}: {', '.join(found)}" if any(found) else kind for kind, found in cases.items())


def _failures(fault: Fault, row: Row) -> list[str]:
    return [f"- {fault.name}: {line}" for line in (*row["failures"], *row["exceeded"])]


def _figure(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else f"{value:.3g}"


def _write(rows: dict[str, Row]) -> None:
    """Keep the rows, and write the page of them."""
    known = [(fault, rows[fault.name]) for fault in FAULTS if fault.name in rows]
    groups: dict[str, list[tuple[Fault, Row]]] = {}
    for fault, row in known:
        groups.setdefault(fault.holds, []).append((fault, row))
    wrong = [line for fault, row in known for line in _failures(fault, row)]
    failed = ["", "Failed:", "", *wrong] if wrong else []
    missing = [fault.name for fault in FAULTS if fault.name not in rows]
    undone = ["", f"Not run yet: {', '.join(missing)}."] if missing else []

    def all_of(key: str) -> str:
        return ", ".join(dict.fromkeys(row[key] for _, row in known))

    FOLDER.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps({fault.name: row for fault, row in known}, indent=1) + "\n")
    notes = NOTES.format(
        record=RECORD.relative_to(HOME),
        picture=Path("..") / PICTURE.relative_to(HOME),
        commits=", ".join(f"`{commit}`" for commit in dict.fromkeys(row["git"] for _, row in known)),
        device=all_of("device"),
        torch=all_of("torch"),
    )
    PAGE.write_text(HEAD + "\n".join([*map(_line, groups.values()), *failed, *undone]) + "\n" + notes)


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
