"""Keep finished runs among the references: their small files alone.

    python scripts/record.py RUN... [--name NAME] [--pictures fits learning_curve]

copies summary.json, config.yaml, episodes.json, the lines of metrics.jsonl but those of training, and pictures to
outputs/reference/NAME. A run of an experiment or of a board has a name: the experiment's and its seed, or the board's,
the method's and its seed. The tests of a board's run (RUN/tests) are kept below it, by their names in the suite.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from metabench.runs.experiment import names_of

REFERENCE = Path(__file__).parents[1] / "outputs" / "reference"


def record(run: Path, name: str | None, pictures: list[str]) -> Path:
    """The folder written, in place of what it was; raises `SystemExit` for a run that cannot be a reference."""
    summary = _sound(run)
    folder = REFERENCE / (name or _name(run, summary))
    tests = {name: test for test in _tests(run) for name in names_of(_sound(test).get("test_of") or {})}
    fresh = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    _copy(run, fresh, pictures)
    for test, path in tests.items():
        _copy(path, fresh / "tests" / test, [])
    refused = run / "tests" / "refused.json"  # why others of a suite were not made
    if refused.exists():
        (fresh / "tests").mkdir(exist_ok=True)
        shutil.copy(refused, fresh / "tests")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return folder


def _tests(run: Path) -> list[Path]:
    return [path.parent for path in sorted(run.glob("tests/*/summary.json"))]


def _sound(run: Path) -> dict[str, Any]:
    """The summary of a run of committed code."""
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    if "+changes" in (summary["environment"]["git"] or "+changes"):
        raise SystemExit(f"{run}: ran on code that is in no commit; a reference can be run again")
    return summary


def _name(run: Path, summary: dict[str, Any]) -> str:
    """Where a run that has a place of its own is kept; raises `SystemExit` for another."""
    seed = f"seed{summary['protocol']['training']['seed']}"
    if summary.get("budget") not in (None, "full"):
        raise SystemExit(f"{run}: ran at budget={summary['budget']}; give --name")
    if summary.get("experiment") and not summary["changes"]:
        return f"{summary['experiment']}/{seed}"
    if summary.get("board") and not summary["changes"] and not summary.get("tuned"):
        return f"bench/{summary['board']}/{run.resolve().parent.name}/{seed}"
    raise SystemExit(f"{run}: is no experiment or board as it stands; give --name")


def _copy(run: Path, folder: Path, pictures: list[str]) -> None:
    """The small files of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("summary.json", "config.yaml", "episodes.json", *(f"pictures/{picture}.png" for picture in pictures)):
        if file != "episodes.json" or (run / file).exists():  # a run of an early version has none
            shutil.copy(run / file, folder)
    if (run / "metrics.jsonl").exists():  # what was trained has them
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["split"] != "train"]
        (folder / "metrics.jsonl").write_text("".join(kept), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--name")
    parser.add_argument("--pictures", nargs="*", default=[])
    options = parser.parse_args()
    if options.name and len(options.runs) > 1:
        parser.error("--name: is of one RUN")
    for run in options.runs:
        print(record(run, options.name, options.pictures))


if __name__ == "__main__":
    main()
