"""Keep a finished run among the references: its small files alone.

    python scripts/record.py RUN NAME [PICTURE...]

copies summary.json, config.yaml, the validation lines of metrics.jsonl and the pictures named (fits, …) to
outputs/reference/NAME.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

REFERENCE = Path(__file__).parents[1] / "outputs" / "reference"


def record(run: Path, name: str, *pictures: str) -> Path:
    """The folder written."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    if "+changes" in (summary["environment"]["git"] or "+changes"):
        raise SystemExit(f"{run}: ran on code that is in no commit; a reference can be run again")
    folder = REFERENCE / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("summary.json", "config.yaml", *(f"pictures/{picture}.png" for picture in pictures)):
        shutil.copy(run / file, folder)
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["split"] == "validation"]
    if kept:
        (folder / "metrics.jsonl").write_text("".join(kept), encoding="utf-8")
    return folder


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    print(record(Path(sys.argv[1]), *sys.argv[2:]))
