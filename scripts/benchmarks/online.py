"""The share of an online run that its meta-steps take, and that judging the learner takes, fine-tuning included.

    python scripts/benchmarks/online.py [--data sinusoid_online] [OVERRIDE ...]

Each method runs under cProfile with one thread, eager, in a temporary folder. The shares are of meta-training; the rest
draws tasks and writes.
"""

from __future__ import annotations

import argparse
import pstats
import subprocess
import sys
import tempfile

METHODS = ("ftml", "ftl", "scratch", "toe")
FIXED = ("device=cpu", "device.threads=1", "engine=eager", "data.online.rounds=20", "log.pictures=false")
WHOLE = ("metabench/training/loop.py", "run")
PARTS = {
    "meta-steps": ("metabench/engine/meta_step.py", "__call__"),
    "judging": ("metabench/training/loop.py", "evaluate_online"),
}


def profile(overrides: list[str]) -> pstats.Stats:
    """The profile of a run with these overrides, from its start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cProfile", "-o", "profile", "-m", "metabench", *overrides]
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
        return pstats.Stats(f"{folder}/profile")


def seconds(stats: pstats.Stats, function: tuple[str, str]) -> float:
    """Those within a function of a file, calls of others included."""
    file, name = function
    found = [row[3] for (path, _, called), row in stats.stats.items() if path.endswith(file) and called == name]  # type: ignore[attr-defined]
    return float(sum(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sinusoid_online")
    parser.add_argument("overrides", nargs="*", help="of the configuration, such as train.steps=1000")
    options = parser.parse_args()
    print("| method | meta-training, s |", " | ".join(PARTS), "|\n|---|---|" + "---|" * len(PARTS))
    for method in METHODS:
        stats = profile([f"algo={method}", f"data={options.data}", *FIXED, *options.overrides])
        whole = seconds(stats, WHOLE)
        shares = [f"{seconds(stats, part) / whole:.0%}" for part in PARTS.values()]
        print(f"| `{method}` | {whole:.1f} | {' | '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main()
