"""Standard output that cannot be written is a stop: a status, an exit code, one line, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from program import GLYPHS, run_fresh

LONG = (*GLYPHS, "algo=protonet", "train.steps=100000", "log.every=1", "run_dir=run")
METABENCH = str(Path(sys.executable).with_name("metabench"))


def status(cwd: Path) -> dict:
    return json.loads((cwd / "run/status.json").read_text())


@pytest.mark.slow
def test_a_reader_that_goes_away_stops_the_run(tmp_path):
    started = subprocess.Popen(
        [METABENCH, *LONG], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    for line in started.stdout:
        if line.startswith("meta-training"):
            break
    started.stdout.close()
    assert started.wait(120) == 128 + signal.SIGPIPE
    assert started.stderr is not None
    said = started.stderr.read()
    started.stderr.close()
    assert said == "metabench: the reader of standard output has gone; the same command continues\n"
    assert status(tmp_path)["status"] == "stopped"
    assert (tmp_path / "run/checkpoints/last.pt").exists()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no /dev/full")
def test_a_full_disk_behind_standard_output_stops_the_run(tmp_path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [METABENCH, *LONG], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith("metabench: standard output cannot be written: No space left on device")
    assert done.stderr.count("\n") == 1
    assert status(tmp_path)["status"] == "stopped"


@pytest.mark.parametrize("command", [["ls"], ["--help"]], ids=" ".join)
def test_a_reader_that_has_read_enough_is_told_nothing(command, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([METABENCH, *command], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_output_that_can_be_written_is_as_ever(tmp_path):
    done = run_fresh("metabench", "--version", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("metabench ")
