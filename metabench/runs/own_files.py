"""The names that a run writes in its folder: removed with it, and not replaced by `-o`."""

from __future__ import annotations

from pathlib import Path

from metabench.errors import UserError

LOG = "run.log"
TESTS = "tests"  # the folder of a run that holds further tests of it, each a run
REFUSED = "refused.json"  # there: why tests of a suite were not made, by name
TRAINING_CLASSES = "training_classes"  # in environment.json: of images that the configuration does not name
MARKS = {"summary.json", "status.json", "metrics.jsonl"}  # a folder with one of these is a run
FILES = (
    *("config.yaml", "environment.json", "metrics.jsonl", "status.json", "summary.json", "episodes.json"),
    *("trackers.json", LOG),
)
FOLDERS = ("checkpoints", "pictures", "tensorboard", "trackers")


def check_not_of_run(path: Path) -> None:
    """Raise `UserError` where a file written to `path` would be, or replace, one that a run writes itself."""
    place = path.resolve()
    for folder in place.parents:
        name = place.relative_to(folder).parts[0]
        if name in (*FILES, *FOLDERS, TESTS) and any((folder / mark).is_file() for mark in MARKS):
            raise UserError(f"--output {path}: {name} is of the run {folder}; give another name or folder")
