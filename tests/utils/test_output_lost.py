"""Standard output that cannot be written stops a run as a signal does: checkpoint, status, exit code, one line."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import pytest
from program import SINUSOID, only_run, run_metabench, start_metabench

from metabench.utils.files import load_tensors, read_json

CLOSED = "the reader of standard output has gone"
FULL = "standard output cannot be written: No space left on device"
LONG = (*SINUSOID, "train.steps=100000", "checkpoint.every=100000", "log.every=5")


def output_lost(kind: str, step: int | None = None) -> None:
    """A patch: from meta-step `step`, or from the beginning, standard output is a closed pipe or a full disk."""
    from metabench.engine.meta_step import MetaStep

    def lose() -> None:
        read, write = os.pipe()
        os.close(read)
        os.dup2(write if kind == "closed" else os.open("/dev/full", os.O_WRONLY), sys.stdout.fileno())

    if step is None:
        return lose()
    original = MetaStep.__call__

    def watched(self, index, tasks):
        if index == step:
            lose()
            print("a line", flush=True)
        return original(self, index, tasks)

    MetaStep.__call__ = watched  # type: ignore[method-assign]
    return None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(("kind", "code", "why"), [("closed", 141, CLOSED), ("full", 1, FULL)])
def test_a_run_stops_with_a_checkpoint_and_continues(kind, code, why, tmp_path):
    done = start_metabench(*LONG, cwd=tmp_path, patch=partial(output_lost, kind, 7)).wait()
    assert (done.code, done.err) == (code, f"metabench: {why}; the same command continues\n")
    run = only_run(tmp_path)
    assert read_json(run / "status.json")["status"] == "stopped"
    assert load_tensors(run / "checkpoints/last.pt")["step"] == 8


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(("kind", "code", "said"), [("closed", 141, ""), ("full", 1, f"metabench: {FULL}\n")])
@pytest.mark.parametrize("words", [("ls",), ("--help",), ("--version",), ("--cfg", "job"), ("report", "--help")])
def test_other_commands_end_without_a_traceback(words, kind, code, said, tmp_path):
    done = run_metabench(*words, cwd=tmp_path, patch=partial(output_lost, kind))
    assert (done.code, done.err) == (code, said)


TUNE = ("tune", *SINUSOID, "algo.inner_lr=0.1,0.2", "trials=1")


@pytest.mark.parametrize(
    ("words", "said"), [(TUNE, f"metabench: {CLOSED}; the same command continues\n"), (("tune", "--help"), "")]
)
def test_what_the_same_command_continues_says_so(words, said, tmp_path):
    done = run_metabench(*words, cwd=tmp_path, patch=partial(output_lost, "closed"))
    assert (done.code, done.err) == (141, said)
