"""Runs behind links, in folders that lead nowhere or in circles, and files that are none: found, or listed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

from identical import straight
from program import run_metabench

from faults.fault import Attempt, fault
from faults.runs import MAML

Damage = Callable[[Path], None]


def _in_place_of(name: str, make: Damage) -> Damage:
    def damage(folder: Path) -> None:
        run = shutil.copytree(folder / "run", folder / "damaged")
        (run / name).unlink()
        make(run / name)

    return damage


SHOWN = {  # what is done to a folder of runs, and what reports and pictures say of it
    "a link that leads nowhere": (lambda folder: (folder / "gone").symlink_to("/scratch/gone"), "gone: is a broken"),
    "a link to itself": (
        lambda folder: (folder / "loop").symlink_to("loop"),
        "loop: is a link that cannot be followed",
    ),
    "a summary that is a folder": (_in_place_of("summary.json", Path.mkdir), "summary.json: is a folder"),
    "a summary that is a pipe": (_in_place_of("summary.json", os.mkfifo), "summary.json: is no regular file"),
    "a summary that is a broken link": (
        _in_place_of("summary.json", lambda file: file.symlink_to("x")),
        "summary.json: is a broken link",
    ),
}
COMMANDS = (("report", "outputs", "--full"), ("plot", "steps", "outputs"))


@cache
def _finished() -> Path:
    return straight(*MAML)


@fault("among runs there is {}", "it is listed with its reason, and the other runs are shown", tries=2, over=SHOWN)
def listed(attempt: Attempt, name: str) -> None:
    damage, reason = SHOWN[name]
    outputs = attempt.folder / "outputs"
    shutil.copytree(_finished(), outputs / "run", ignore=shutil.ignore_patterns("checkpoints"))
    damage(outputs)
    done = run_metabench(*COMMANDS[attempt.number % 2], cwd=attempt.folder)
    assert (done.code, done.err) == (0, ""), done.err
    assert reason in " ".join(done.out.split()), done.out
    assert "outputs/run" in done.out


@fault("runs lie behind a link, and a link leads back up", "each is shown once", tries=2)
def linked(attempt: Attempt) -> None:
    run = attempt.folder / "scratch/maml"
    shutil.copytree(_finished(), run, ignore=shutil.ignore_patterns("checkpoints"))
    (run / "up").symlink_to("../..")
    (attempt.folder / "outputs").mkdir()
    (attempt.folder / "outputs/link").symlink_to("../scratch")
    done = run_metabench(*COMMANDS[attempt.number % 2], cwd=attempt.folder)
    assert (done.code, done.err) == (0, ""), done.err
    assert "outputs/link/maml" in done.out
    assert "there already" not in done.out
