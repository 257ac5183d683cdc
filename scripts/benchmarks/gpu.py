"""All that is to be measured on a GPU, in order of worth, within the minutes that there are.

    python scripts/benchmarks/gpu.py --minutes 10 [--out FOLDER]

1. tests: `pytest -m gpu`, but for what waits for the compiler;
2. meta_steps: every engine's meta-step on the peers' workloads, with its gradient's error;
3. peers: the same beside the peers that this Python has;
4. roofline: the distance from the peak, the share of time the device computes, and the longest kernels;
5. memory: by tasks and by inner steps;
6. compiled_tests: the rest of the tests;
7. maml_5w1s, then maml_20w1s: the paper's table at full length, with the time that is left.

What a part finds is in FOLDER/PART.log from its first line on, and in FOLDER/report.md after each part, so that a cut
loses nothing. Called again with that folder (carried to the next machine, say), parts that were finished are left out
(`--again` repeats them) and the paper's runs go on where they stopped. It needs no installation and no network: a
checkout, torch, and what metabench imports. Omniglot is read from METABENCH_DATA; `--data glyphs` needs none.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
GRACE = 20.0  # seconds, of its own, in which a part that is stopped may write what it has
LAST = 120  # lines of a log in the report
# Without what pyproject.toml and tests/conftest.py ask for and such a machine may lack: xdist and hypothesis.
PYTEST = ("-m", "pytest", "-o", "addopts=", "--noconftest", "-p", "no:cacheprovider", "-v", "--tb=short", "-m", "gpu")
PROBE = """
import importlib.resources, sys, torch
importlib.resources.files("metabench.conf")
cuda = sys.argv[1] == "cuda"
where = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
print(f"{where}; torch {torch.__version__}; Python {sys.version.split()[0]}")
"""


@dataclass(frozen=True)
class Part:
    """A command, and the share of all time that it may take; what it leaves goes to those after it."""

    name: str
    share: float
    command: tuple[str, ...]


def parts(device: str, data: str, out: Path, tiny: bool) -> list[Part]:
    """What is to be done, in order of worth; `tiny` is a rehearsal."""
    python = sys.executable

    def script(name: str, *arguments: str) -> tuple[str, ...]:
        return python, str(HERE / f"{name}.py"), "--device", device, *arguments

    def paper(name: str) -> tuple[str, ...]:
        short = ("budget=smoke", "train.tasks=2", "backbone.filters=4") if tiny else ()
        flags = (f"run_dir={out / name}", f"device={device}", "log.every=500", *short)
        return python, "-m", "metabench", f"experiment=omniglot/{name}", *flags

    tests = (python, *PYTEST, str(ROOT / "tests/engine/test_cuda.py"))
    small, one = ("backbone.filters=2", "data.characters=40"), ("--workloads", "sinusoid1")
    found = [
        Part("tests", 0.25, (*tests, "-k", "not compile")),
        Part("meta_steps", 0.3, script(
            "meta_steps", *((*one, "--choices", "eager", "--seconds", "0.01") if tiny else ()),
        )),
        Part("peers", 0.1, script(
            "compare_peers", "--here", "--data", data, "--markdown", str(out / "peers.md"),
            *((*one, "--repetitions", "1") if tiny else ("--repetitions", "5", "--seconds", "10")),
        )),
        Part("roofline", 0.15, script("roofline", *(("--only", "sinusoid, 1") if tiny else ()))),
        Part("memory", 0.05, script("peak_memory", *(("--overrides", *small) if tiny else ()))),
        Part("compiled_tests", 0.15, (*tests, "-k", "compile")),
    ]  # fmt: skip
    if data == "omniglot":
        found += [Part(name, 1.0, paper(name)) for name in ("maml_5w1s", "maml_20w1s")]
    return found


class Report:
    """What has been found: a log for each part, one page of them all, and a record of those that were finished."""

    def __init__(self, out: Path, head: list[str], commit: str) -> None:
        self.out, self.head, self.commit, self.record = out, head, commit, out / "done.json"
        self.said: dict[str, str] = json.loads(self.record.read_text()) if self.record.exists() else {}

    def log(self, part: Part) -> Path:
        return self.out / f"{part.name}.log"

    def finished(self, part: Part) -> bool:
        """Whether it came to its end here before, with this code."""
        return self.said.get(part.name, "").endswith(f"finished at {self.commit}")

    def add(self, part: Part, words: str) -> None:
        """Say how a part ended, and write the page anew."""
        self.said[part.name] = words
        self.record.write_text(json.dumps(self.said, indent=2) + "\n")
        sections = ["\n".join(f"- {line}" for line in self.head)]
        for log in (self.out / f"{name}.log" for name in self.said):
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            cut = [f"… the last {LAST} of {len(lines)} lines of {log.name}"] if len(lines) > LAST else []
            body = "\n".join(["```", *cut, *lines[-LAST:], "```"])
            sections.append(f"## {log.stem}\n\n{self.said[log.stem]}\n\n{body}")
        (self.out / "report.md").write_text("\n\n".join(sections) + "\n")


def run(part: Part, report: Report, limit: float, environment: dict[str, str]) -> str:
    """Do a part within `limit` seconds; how it ended."""
    began, grace = time.monotonic(), min(GRACE, limit / 5)
    with report.log(part).open("ab") as log:
        log.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {report.commit}: {shlex.join(part.command)}\n".encode())
        log.flush()
        started = subprocess.Popen(
            part.command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
        )
        try:
            code: int | None = started.wait(limit - grace)
        except subprocess.TimeoutExpired:
            code = None
            stop(started, grace)
    ended = "cut" if code is None else "finished" if code in (0, 5) else f"exit code {code}"  # 5: no test to run
    return f"{time.monotonic() - began:.0f} s, {ended} at {report.commit}"


def stop(started: subprocess.Popen[bytes], grace: float) -> None:
    """Ask a part to stop, so that pytest lists what failed and a run writes a checkpoint; then end its processes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        started.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(grace / 2)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()


def commit() -> str:
    """The code that is measured."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return "unknown commit"
    return done.stdout.strip() or "unknown commit"


def prepared(device: str) -> tuple[dict[str, str], str]:
    """The environment of every part, and the machine in words; a checkout that is not installed gets its link."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}

    def probe() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROBE, device]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=ROOT)

    done = probe()
    link = ROOT / "metabench/conf"
    if "metabench.conf" in done.stderr and not link.exists():
        link.symlink_to("../conf")
        done = probe()
    if done.returncode:
        raise SystemExit(f"cannot start: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return environment, done.stdout.strip()


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="of all parts together")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "outputs/gpu")), help="a folder")
    parser.add_argument("--data", choices=["omniglot", "glyphs"], default="omniglot")
    parser.add_argument("--only", type=lambda text: text.split(","), help="parts by name")
    parser.add_argument("--again", action="store_true", help="repeat what was finished")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help=argparse.SUPPRESS)
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.minutes <= 0:
        parser.error(f"--minutes {options.minutes:g}: should be above 0")
    return options


def main(words: list[str] | None = None) -> None:
    options = parse(words)
    began, total = time.monotonic(), 60 * options.minutes
    out: Path = options.out.expanduser().resolve()
    out.mkdir(parents=True, exist_ok=True)
    environment, machine = prepared(options.device)
    environment["METABENCH_PEERS_DATA"] = options.data
    code = commit()
    command = " ".join(["python", *sys.argv]) if words is None else "a test"
    report = Report(out, [f"command: {command}", machine, f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {code}"], code)
    planned = parts(options.device, options.data, out, options.tiny)
    known = [part.name for part in planned]
    if strange := [name for name in options.only or () if name not in known]:
        raise SystemExit(f"--only {strange[0]}: there is no such part; valid: {', '.join(known)}")
    for part in planned:
        left = total - (time.monotonic() - began)
        if (options.only and part.name not in options.only) or (report.finished(part) and not options.again):
            continue
        if left < min(GRACE, total / 10):
            print(f"{part.name}: no time left", flush=True)
            break
        print(f"{part.name}: at most {min(left, part.share * total):.0f} s …", flush=True)
        report.add(part, "under way")
        report.add(part, run(part, report, min(left, part.share * total), environment))
        print(f"{part.name}: {report.said[part.name]}", flush=True)
    print(f"written to {out / 'report.md'}", flush=True)


if __name__ == "__main__":
    main()
