"""Every fault as often as it is to be survived; prints a table, and writes RELIABILITY.md if it made all kinds of them.

    python scripts/faults.py                            # all of them
    python scripts/faults.py --tries 3                  # of each kind three at most
    python scripts/faults.py --only "kill -9"

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
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME / "tests"))  # the faults are the tests', and so is what they do them with

from faults.all import FAULTS  # noqa: E402
from faults.fault import carry_out  # noqa: E402

from metabench.protocol import environment  # noqa: E402

INTRODUCTION = """# Reliability

What was done to the program, how often, and how often it held what it promises. `python scripts/faults.py{tries}` did
it and wrote this file: commit `{git}`, {date}, torch {torch}, {device}, {minutes:.0f} minutes beside other work.{part}
A few of each are in the test suite (`pytest -m faults`).

The processes are real, the signals are the kernel's, the full disk is one that was filled. "Identical" is bit for bit:
weights, optimiser, `metrics.jsonl`, `episodes.json` and summary, but for times.

| fault | tries | held | time | what must hold |
|---|---|---|---|---|
"""


def main() -> None:
    options = _options()
    memory = Path("/dev/shm")  # a folder in memory, where there is one: thousands of files are synced
    work = Path(tempfile.mkdtemp(prefix="faults-", dir=memory if memory.is_dir() else None))
    tempfile.tempdir, series = str(work), work / "series.json"
    os.environ |= {"TMPDIR": str(work), "METABENCH_CACHE": str(work / "cache"), "METABENCH_MEMORY": str(series)}
    chosen = [fault for fault in FAULTS if options.only in fault.name]
    began, rows, wrong = time.monotonic(), [], []
    with ProcessPoolExecutor(options.workers) as pool:
        tries = [min(options.tries or fault.tries, fault.tries) for fault in chosen]
        folders = [work / str(number) for number in range(len(chosen))]
        for fault, outcome in zip(chosen, pool.map(carry_out, chosen, tries, folders), strict=True):
            figures = "; ".join(f"{name}: {_figure(value)}" for name, value in outcome.figures.items())
            held = outcome.skipped or outcome.held
            holds = fault.holds + (f" ({figures})" if figures else "")
            rows.append(f"| {fault.name} | {outcome.tries} | {held} | {outcome.seconds:.0f} s | {holds} |")
            print(rows[-1], flush=True)
            for line in (*outcome.failures, *outcome.exceeded):
                wrong.append(f"- {fault.name}: {line}")
                print(f"    {line}", flush=True)
    if not options.only:
        about, minutes = environment(torch.device("cpu"), []), (time.monotonic() - began) / 60
        device = f"{about['device'].rpartition(',')[0]}, {about['cpus']} cores"
        date = time.strftime("%Y-%m-%d")
        introduction = INTRODUCTION.format(
            tries=f" --tries {options.tries}" if options.tries else "",
            part=" Without `--tries` faults are made more often: up to 127 times." if options.tries else "",
            git=about["git"],
            date=date,
            torch=torch.__version__,
            device=device,
            minutes=minutes,
        )
        picture = _draw(series, HOME / "outputs/reference/reliability/memory.png") if series.exists() else ""
        failed = "\n".join(("", "Did not hold:", "", *wrong)) if wrong else ""
        (HOME / "RELIABILITY.md").write_text(introduction + "\n".join(rows) + "\n" + failed + picture)
    if not wrong:
        shutil.rmtree(work)
    sys.exit(bool(wrong))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--tries", type=int, help="of each at most")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="faults at a time")
    return parser.parse_args()


def _figure(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else f"{value:.3g}"


def _draw(series: Path, path: Path) -> str:
    """The memory of the long run over time, and how it is shown."""
    from matplotlib import style
    from matplotlib.figure import Figure

    from metabench.pictures.look import DPI, STYLE, WIDTH

    memory = json.loads(series.read_text())["seconds_mb"]
    with style.context(STYLE):
        figure = Figure(figsize=(WIDTH, WIDTH / 3), layout="constrained")
        axes = figure.subplots()
        axes.plot(*zip(*memory, strict=True))
        axes.set_xlabel("seconds")
        axes.set_ylabel("MB in memory")
        axes.set_ylim(bottom=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI)
    return f"\n![memory of a run of 100,000 meta-steps]({path.relative_to(HOME)})\n"


if __name__ == "__main__":
    main()
