"""The commands of README.md and docs/usage.md, each done, with short lengths, in one folder and in their order."""

from __future__ import annotations

import re
from pathlib import Path

import documents
import image_sets
import pytest
from documents import Command
from paths import ROOT
from program import run_metabench
from real_data import omniglot_root

from metabench.cli.commands import WORDS

pytestmark = pytest.mark.slow
SHORT = ("budget=smoke", "device=cpu", "log.pictures=false", "device.threads=1", "engine=eager")
SMALL = {  # what makes a command quick
    "experiment=glob(omniglot/maml_*)": ("experiment=omniglot/maml_5w1s", "train.tasks=2"),
    "budget=short": (),
    "seed=0,1,2": ("seed=0,1",),
    "device=cuda": (),
    "trials=20": ("trials=2",),
    "backbone=resnet12": ("backbone=resnet12", "backbone.widths=[4,4,4,4]"),
}
# Tried elsewhere: tests/sweep/test_launchers.py, tests/utils/test_distributed.py; on nothing but a cluster; all that is
# configured, which CI validates; checks of this machine, in tests/doctor/test_doctor.py; a run as another cell, in
# tests/training/test_retest.py.
ELSEWHERE = ("hydra/launcher", "doctor", "torchrun", "validate", "experiment=NAME")
NAMES = [("metabench", word) for word in ("test", "tune", "compare", "plot", "leaderboard", "predict")]  # in a sentence
TRACKERS = {"tensorboard", "wandb", "mlflow"}
SHOWN = [c for path in ("README.md", "docs/usage.md") for c in documents.commands(ROOT / path)]
DONE = [
    command
    for command in {c.words: c for c in SHOWN}.values()
    if command.words[0] == "metabench"
    and command.words not in NAMES
    and not any(word.startswith(ELSEWHERE) for word in command.words)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    work = tmp_path_factory.mktemp("reader") / "work"
    work.mkdir()
    documents.write_images(work)
    return documents.write_methods(work)


@pytest.mark.parametrize("command", DONE, ids=str)
def test_a_command_does_what_it_is_shown_for(command: Command, folder):
    words = [short for word in command.words[1:] for short in SMALL.get(word, (word,))]
    if any("omniglot" in word for word in words) and omniglot_root() is None and words[0] not in ("ls", "validate"):
        pytest.skip("Omniglot is neither in METABENCH_DATA nor in ../shared/data")
    for tracker in TRACKERS & set(re.findall(r"\w+", " ".join(w for w in words if w.startswith("tracker=")))):
        pytest.importorskip(tracker)
    if words and words[0] in WORDS:
        shortened = {"tune": ("device=cpu", *SHORT), "test": ("test.episodes=10", "device=cpu"), "rm": ("--yes",)}.get(
            words[0], ()
        )
        words = [filled(word, folder) for word in words] + list(shortened)
        if words[0] == "leaderboard":  # runs of this folder are shortened: no board's
            words[1] = str(ROOT / "outputs/reference/bench")
    elif "--help" not in words and "--cfg" not in words:
        words = [filled(word, folder) for word in words]
        chosen = {word.partition("=")[0] for word in words}
        short = [word for word in SHORT if word.partition("=")[0] not in chosen]
        words = [filled(word, folder) for word in words] + short
    done = run_metabench(*words, cwd=folder, env={"METABENCH_DATA": str(omniglot_root())})
    assert (done.code, done.err) == (0, ""), done.out


def filled(word: str, folder: Path) -> str:
    """A run that earlier commands left, or images that are drawn, for the placeholder of one."""
    if word == "data.root=FOLDER":
        images = folder / "birds"
        return f"data.root={images if images.exists() else image_sets.write(images, range(26), images=18, fewer=0)}"
    if word == "RUN":
        return str(finished(folder, "omniglot", 0))
    if word in ("RUN_A", "RUN_B"):
        return str(finished(folder, "glyphs", int(word == "RUN_B")))
    if word.endswith("/RUN"):
        return f"{word[:-3]}{finished(folder, 'omniglot', 0).name}"
    return word


def finished(folder: Path, data: str, number: int) -> Path:
    """A run that earlier commands left, made here where another process did those commands."""

    def runs() -> list[Path]:
        return [path.parent for path in sorted((folder / f"outputs/{data}/protonet").glob("*/summary.json"))]

    for seed in range(len(runs()), number + 1):
        words = ("algo=protonet", f"data={data}", f"seed={seed}", *SHORT)
        run_metabench(*words, cwd=folder, env={"METABENCH_DATA": str(omniglot_root())})
    return runs()[number]
