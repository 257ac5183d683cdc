"""The same work, weights and batches through metabench and every peer that can be installed.

    python scripts/benchmarks/compare_peers.py [--workloads omniglot5,start] [--peers jax,higher] [--markdown FILE]

Peers: learn2learn, higher, torchopt, torchmeta, parallel-metalearn, and plain JAX (jit, vmap); for memory networks and
neural processes plain torch (`nn.LSTM`, `nn.Linear`), dnc and neuralprocesses. They live in an environment of their own
(`--env`), made at the first call, or are those of this Python (`--here`). One that is not there, or cannot do a
workload, is listed with the reason.

- Each contestant is a process. They take turns (A, B, C, then B, C, A, …), and all others sleep meanwhile, so noise
  hits all alike. Threads are each library's own choice; for all, GOMP_SPINCOUNT=20000, as `metabench` sets for itself.
- metabench goes its own way: a composed configuration, `Components.meta_step`, `source.sample`; `--overrides
  engine=eager` and the like are added to it. Convolutions have no bias in any contestant, normalisations do not adapt
  (MAML's own
  code).
- Shapes are the papers'. The inner step size and the initial shifts of MAML's convolutional workloads are not, so that
  float32 gradients can be told right from wrong (`peers/workloads.py` says how); neither changes the amount of work.
- Time is the median of whole meta-steps, Adam (1e-3) included, after a first one and a warm-up. `of metabench` is the
  median over metabench's: above 1 metabench is the faster.
- Gradient error is the relative L2 distance of the first outer gradient (float32) from a float64 reference in plain
  torch that shares no code with anyone. A peer above 1e-3 is shown, marked WRONG, and never "best". Where a library's
  model has other equations (dnc, neuralprocesses), it has the same sizes, and its gradient is not compared.
- Memory is the process's peak at the end less its peak just before the first step, compilation included; on a GPU, the
  peak of what the library allocated there.
- The last line is the smallest ratio, over the workloads, of the best peer's median to metabench's.

Omniglot is read from METABENCH_DATA (or ../shared/data, or downloaded by metabench); `--data glyphs` needs none.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from peers.client import Worker, WorkerError, python_path
from peers.environment import Environment, Present
from peers.report import OURS, Result, markdown, plain, worst
from peers.workloads import NAMES, PEERS, WORKLOADS, Workload

ROOT = Path(__file__).parents[2]
TURN = 0.25  # seconds: a turn is as many steps as fit, at least one
MOST = 100  # steps in a turn
PREPARE = 600.0  # seconds: the longest that building, or a first step with its compilation, may take


def say(text: str) -> None:
    print(text, flush=True)


@dataclass
class Bench:
    """Everybody's processes for one workload after another."""

    arguments: argparse.Namespace
    environment: Environment | Present
    folder: Path
    missing: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def contestants(self) -> list[str]:
        return [OURS, *self.arguments.peers]

    def launch(self, contestant: str, workload: Workload) -> Worker:
        ours = contestant == OURS
        if not ours and workload.kind not in PEERS[contestant]:
            raise WorkerError(f"has no {NAMES[workload.kind]}")
        if contestant in self.missing:
            raise WorkerError(f"not installed: {self.missing[contestant]}")
        python = Path(sys.executable) if ours else self.environment.python
        overrides = self.arguments.overrides if ours else []
        return Worker(python, contestant.replace("-", "_"), overrides, variables(self.arguments, self.environment))

    def write(self, workload: Workload) -> Path:
        """Weights, batches and the reference gradient of `workload`, in a folder of its own."""
        folder = self.folder / workload.key
        folder.mkdir()
        if workload.kind == "sampling":
            return folder
        worker = self.launch(OURS, workload)
        try:
            worker.ask(PREPARE, "export", workload=workload.key, folder=str(folder), device="cpu")
        finally:
            worker.stop()
        subprocess.run(
            [sys.executable, "-P", "-m", "peers.reference", workload.key, str(folder), self.arguments.device],
            env={**os.environ, "PYTHONPATH": python_path()},
            check=True,
        )
        return folder

    def first(self, contestant: str, workload: Workload, folder: Path, result: Result) -> Worker:
        """A worker that has done its first step."""
        worker = self.launch(contestant, workload)
        try:
            gradient = None if workload.kind == "sampling" else str(folder / f"{contestant}.npz")
            worker.ask(
                PREPARE, "prepare", workload=workload.key, folder=str(folder), device=self.arguments.device
            )  # fmt: skip
            first = worker.ask(PREPARE, "first", gradient=gradient if workload.kind != "start" else None)
            result.other_equations = first["other_equations"]
            if workload.kind == "start":
                result.seconds.append(time.perf_counter() - worker.began)
            elif gradient and not result.other_equations:
                result.error = distance(Path(gradient), folder / "reference.npz")
            versions = worker.ask(PREPARE, "versions")["versions"]
            if versions.get("torch", self.versions["torch"]) != self.versions["torch"]:
                raise WorkerError(f"runs on torch {versions['torch']}, metabench on {self.versions['torch']}")
            self.versions.update(versions)
        except WorkerError:
            worker.stop()
            raise
        return worker

    def measure(self, workload: Workload) -> list[Result]:
        episodes = workload.tasks if workload.kind == "sampling" else None
        results = {name: Result(name, episodes=episodes) for name in self.contestants}
        try:
            folder = self.write(workload)
        except WorkerError as reason:
            say(f"  metabench cannot write the batches: {reason}")
            return [Result(name, reason=f"no batches: {reason}") for name in results]
        play = self.starts if workload.kind == "start" else self.rounds
        play(workload, folder, results)
        return list(results.values())

    def starts(self, workload: Workload, folder: Path, results: dict[str, Result]) -> None:
        """A fresh process each time."""
        for turn in range(min(self.arguments.repetitions, 5)):
            for name in rotated(self.contestants, turn):
                if results[name].reason is None:
                    try:
                        self.first(name, workload, folder, results[name]).stop()
                    except WorkerError as reason:
                        self.drop(results[name], reason)

    def rounds(self, workload: Workload, folder: Path, results: dict[str, Result]) -> None:
        """Turns of everyone's steps, until there are enough or the time is up."""
        workers: dict[str, Worker] = {}
        counts: dict[str, int] = {}
        try:
            for name in self.contestants:
                try:
                    workers[name] = self.first(name, workload, folder, results[name])
                    warm = workers[name].ask(PREPARE, "run", count=2)["seconds"]
                    counts[name] = in_a_turn(warm[1:])
                    say(f"  {name}: ready, about {1e3 * warm[-1]:.1f} ms")
                except WorkerError as reason:
                    self.drop(results[name], reason)
                    if name in workers:
                        workers.pop(name).stop()
            began = time.monotonic()
            for turn in range(self.arguments.repetitions):
                for name in rotated(list(workers), turn):
                    try:
                        if counts[name] > 1:  # its data has left the caches meanwhile
                            workers[name].ask(PREPARE, "run", count=1)
                        seconds = workers[name].ask(PREPARE, "run", count=counts[name])["seconds"]
                        results[name].seconds += seconds
                        counts[name] = in_a_turn(seconds)
                    except WorkerError as reason:
                        self.drop(results[name], reason)
                        workers.pop(name).stop()
                if time.monotonic() - began > self.arguments.seconds:
                    break
            for name, worker in workers.items():
                with contextlib.suppress(WorkerError):
                    memory = worker.ask(PREPARE, "memory")
                    results[name].memory = memory["peak"] - memory["before"]
        finally:
            for worker in workers.values():
                worker.stop()

    def drop(self, result: Result, reason: WorkerError) -> None:
        result.reason, result.seconds = str(reason), []
        say(f"  {result.contestant}: {reason}")


def in_a_turn(seconds: list[float]) -> int:
    return max(1, min(MOST, int(TURN / statistics.median(seconds))))


def rotated(names: list[str], turn: int) -> list[str]:
    shift = turn % len(names) if names else 0
    return names[shift:] + names[:shift]


def distance(found: Path, reference: Path) -> float:
    """Relative L2 distance of two gradients; NaN where a weight has none."""
    with np.load(found) as ours, np.load(reference) as theirs:
        if set(ours) != set(theirs):
            return float("nan")
        squared = sum(float(np.square(ours[name] - theirs[name]).sum()) for name in theirs)
        norm = sum(float(np.square(theirs[name]).sum()) for name in theirs)
    return float(np.sqrt(squared / norm))


def variables(arguments: argparse.Namespace, environment: Environment | Present) -> dict[str, str]:
    """What every worker's environment has in common."""
    found = {
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "20000"),
        "METABENCH_PEERS_CACHE": str(environment.folder),
        "METABENCH_PEERS_DATA": arguments.data,
    }
    beside = ROOT.parent / "shared" / "data"
    if "METABENCH_DATA" not in os.environ and beside.is_dir():
        found["METABENCH_DATA"] = str(beside)
    return found


def machine(arguments: argparse.Namespace, versions: dict[str, str]) -> list[str]:
    """Where and with what this was measured."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].partition(":")[2].strip() if names else processor
    if arguments.device == "cuda":
        import torch

        processor = f"{torch.cuda.get_device_name()}, {processor}"
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return [
        f"command: python {' '.join(sys.argv)}",
        f"machine: {processor}, {os.cpu_count()} cores, Python {platform.python_version()}",
        f"date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit or 'unknown'}",
        f"versions: {', '.join(f'{name} {value}' for name, value in sorted(versions.items()))}",
    ]


def parse() -> argparse.Namespace:
    def some(valid: tuple[str, ...]) -> object:
        def listed(text: str) -> list[str]:
            chosen = [name for name in text.split(",") if name]
            for name in chosen:
                if name not in valid:
                    raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(valid)}")
            return chosen

        return listed

    cache = Path(os.environ.get("METABENCH_CACHE", Path.home() / ".cache" / "metabench"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    keys = tuple(WORKLOADS)
    parser.add_argument("--workloads", type=some(keys), default=list(keys), help=f"of {','.join(keys)}")  # type: ignore[arg-type]
    parser.add_argument("--peers", type=some(tuple(PEERS)), help=f"of {','.join(PEERS)}; all that can do a workload")  # type: ignore[arg-type]
    parser.add_argument("--repetitions", type=int, default=20, help="turns of every contestant (at most 5 cold starts)")
    parser.add_argument("--seconds", type=float, default=120, help="no further turn of a workload after this long")
    parser.add_argument("--overrides", nargs="*", default=[], help="of metabench's configuration: engine=eager …")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--data", choices=["omniglot", "glyphs"], default="omniglot")
    parser.add_argument("--env", type=Path, help="the peers' virtual environment; ~/.cache/metabench/peers-<device>")
    parser.add_argument("--here", action="store_true", help="compare with peers of this Python; install nothing")
    parser.add_argument("--reinstall", action="store_true", help="make that environment anew")
    parser.add_argument("--markdown", type=Path, help="a file for the tables")
    arguments = parser.parse_args()
    kinds = {WORKLOADS[key].kind for key in arguments.workloads}
    arguments.peers = arguments.peers or [peer for peer, has in PEERS.items() if kinds.intersection(has)]
    arguments.env = arguments.env or cache / f"peers-{arguments.device}"
    if arguments.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            parser.error("--device cuda: torch sees no CUDA device here")
    return arguments


def written(tables: dict[str, list[Result]], lines: list[str]) -> str:
    """The tables so far, as a document."""
    head = "\n".join(f"- {line}" for line in lines)
    return "\n\n".join([head, *(markdown(WORKLOADS[k].title, r) for k, r in tables.items()), worst(tables)]) + "\n"


def main() -> None:
    arguments = parse()
    folder = arguments.env.expanduser().resolve()
    environment = Present(folder) if arguments.here else Environment(folder, arguments.device, say)
    missing = environment.prepare(arguments.peers, arguments.reinstall)
    for name, reason in missing.items():
        say(f"{name}: {reason}" if arguments.here else f"{name} cannot be installed: {reason}")
    tables: dict[str, list[Result]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(arguments, environment, Path(temporary), missing, {"torch": version("torch")})
        for key in arguments.workloads:
            workload = WORKLOADS[key]
            say(f"\n{key} …")
            tables[key] = bench.measure(workload)
            say(plain(workload.title, tables[key]))
            if arguments.markdown:
                arguments.markdown.write_text(written(tables, machine(arguments, bench.versions)))
    say("\n" + "\n".join(machine(arguments, bench.versions)))
    say("gradient error above 1e-3: shown, marked WRONG, never the best peer; other equations: gradient not compared")
    say(worst(tables))


if __name__ == "__main__":
    main()
