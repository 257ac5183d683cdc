"""The same command twice, with more threads, in chunks."""

from __future__ import annotations

from pathlib import Path

from identical import identical
from program import GLYPHS, only_run, records, run_fresh

from faults.fault import Attempt, fault
from faults.runs import MODELS
from metabench.utils.files import load_tensors, read_json

# Convolutions wide enough that two threads share their work, and steps whose differences have not yet grown.
WIDE = (*GLYPHS, "backbone.filters=32", "data.size=28", "train.steps=10", "train.tasks=8", "log.every=1")
PRECISION = 1e-5  # of float32 sums in another order, relative to the loss


def fresh(cwd: Path, *overrides: str) -> Path:
    cwd.mkdir()
    done = run_fresh("metabench", *overrides, cwd=cwd, env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.code == 0, done
    return only_run(cwd)


@fault("the same command in two processes: {}", "all files are byte-identical, apart from timings",
       tries=3, short=0, over=MODELS)  # fmt: skip
def twice(attempt: Attempt, model: str) -> None:
    overrides = (*MODELS[model], f"seed={attempt.number}")
    identical(*(fresh(attempt.folder / name, *overrides) for name in "ab"))


@fault(
    "the same command in two processes, two threads each",
    "all files are byte-identical, apart from timings",
    tries=3,
    short=0,
)
def twice_threaded(attempt: Attempt) -> None:
    overrides = (*WIDE, "device.threads=2", f"seed={attempt.number}")
    identical(*(fresh(attempt.folder / name, *overrides) for name in "ab"))


@fault("1 and 2 threads", f"the first losses agree to a relative {PRECISION:g}", tries=3, short=0)
def threads(attempt: Attempt) -> None:
    compare(attempt, ("device.threads=1",), ("device.threads=2",))


@fault("all tasks at once and in chunks of 3", f"the first losses agree to a relative {PRECISION:g}", tries=3, short=0)
def chunks(attempt: Attempt) -> None:
    compare(attempt, ("device.threads=1", "chunk=8"), ("device.threads=1", "chunk=3"))


def compare(attempt: Attempt, *choices: tuple[str, ...]) -> None:
    """Two runs that differ in rounding alone, by their losses at the first meta-step and their weights at the last."""
    one, two = (
        fresh(attempt.folder / str(number), *WIDE, f"seed={attempt.number}", *choice)
        for number, choice in enumerate(choices)
    )
    for run, (asked, *_) in zip((one, two), choices, strict=True):
        assert f"device.threads={read_json(run / 'environment.json')['threads']}" == asked
    first, other = (records(run)[0]["loss"] for run in (one, two))
    assert abs(first - other) <= PRECISION * abs(first), (first, other)
    a, b = (load_tensors(run / "checkpoints/last.pt")["algo"] for run in (one, two))
    largest = max((a[name] - b[name]).abs().max().item() / a[name].abs().max().item() for name in a)
    attempt.note("relative difference of a weight after 10 meta-steps", largest)
