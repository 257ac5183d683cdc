"""From the start of `metabench` to its first words and to the end of its first meta-step, beside the import of torch.

python scripts/benchmarks/start.py [--repetitions N] [OVERRIDE ...]

The program runs in a terminal of its own, as a person sees it. Its times and those of the import take turns; the table
has their medians.
"""

from __future__ import annotations

import argparse
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

DONE = b"meta-training 1/1"
COMMAND = ("train.steps=1", "validate.episodes=2", "test.episodes=2", "log.pictures=false")


def seconds_of_import() -> float:
    """Those of a process that imports torch and ends."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - began


def parts(terminal: int) -> Iterator[bytes]:
    """All that is written to a terminal, as it comes."""
    with suppress(OSError):  # the end of a terminal, on Linux
        while part := os.read(terminal, 4096):
            yield part


def seconds_of_start(overrides: list[str], folder: str) -> tuple[float, float]:
    """Those to the first words of a run in `folder`, and to the end of its first meta-step."""
    began = time.perf_counter()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execv(sys.executable, [sys.executable, "-m", "metabench", *COMMAND, *overrides])
    first, done, seen = 0.0, 0.0, b""
    for part in parts(terminal):
        seen += part
        first = first or time.perf_counter() - began
        if DONE in seen:
            done = done or time.perf_counter() - began
    os.waitpid(child, 0)
    os.close(terminal)
    if not done:
        raise SystemExit(f"the run ended before its first meta-step:\n{seen.decode(errors='replace')}")
    return first, done


def main() -> None:
    """Print the medians and their ratios to the import of torch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("overrides", nargs="*", help="of the run; by default that of plain `metabench`")
    options = parser.parse_args()
    found = defaultdict(list)
    for turn in range(options.repetitions):
        with tempfile.TemporaryDirectory() as folder:
            found["import torch"].append(seconds_of_import())
            first, done = seconds_of_start([*options.overrides, f"seed={turn}"], folder)
        found["first words"].append(first)
        found["end of the first meta-step"].append(done)
    median = {name: statistics.median(values) for name, values in found.items()}
    print("| | seconds | to the import of torch |\n|---|---|---|")
    for name, value in median.items():
        print(f"| {name} | {value:.2f} | {value / median['import torch']:.2f} |")


if __name__ == "__main__":
    main()
