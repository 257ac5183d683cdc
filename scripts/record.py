"""Keep finished runs among the references: their small files alone.

    python scripts/record.py RUN... [--name NAME] [--pictures fits learning_curve]

copies summary.json, config.yaml, episodes.json, the lines of metrics.jsonl but those of training, and pictures to
outputs/reference/NAME; a run of an experiment has a name, the experiment's and its seed.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

REFERENCE = Path(__file__).parents[1] / "outputs" / "reference"


def record(run: Path, name: str | None, pictures: list[str]) -> Path:
    """The folder written; raises `SystemExit` for a run that cannot be a reference."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    if "+changes" in (summary["environment"]["git"] or "+changes"):
        raise SystemExit(f"{run}: ran on code that is in no commit; a reference can be run again")
    if name is None:
        if summary.get("experiment") is None or summary["changes"]:
            raise SystemExit(f"{run}: is no experiment as it stands; give --name")
        name = f"{summary['experiment']}/seed{summary['protocol']['training']['seed']}"
    folder = REFERENCE / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("summary.json", "config.yaml", "episodes.json", *(f"pictures/{picture}.png" for picture in pictures)):
        if file != "episodes.json" or (run / file).exists():  # a run of an early version has none
            shutil.copy(run / file, folder)
    if (run / "metrics.jsonl").exists():  # what was trained has them
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["split"] != "train"]
        (folder / "metrics.jsonl").write_text("".join(kept), encoding="utf-8")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--name")
    parser.add_argument("--pictures", nargs="*", default=[])
    options = parser.parse_args()
    for run in options.runs:
        print(record(run, options.name, options.pictures))


if __name__ == "__main__":
    main()
