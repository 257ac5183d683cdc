"""Write the list of Omniglot's published one-shot runs from the raw data.

    python scripts/make_runs.py ROOT

ROOT holds all_runs.zip and images_evaluation.zip, or their extracted folders. Every picture of the runs is, pixel for
pixel, a drawing of the evaluation set, so a run is a list of drawings. The file metabench/data/one_shot_runs.txt was
written once by this script and is the truth; it is kept to show where that comes from.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from metabench.data.images import raw
from metabench.errors import DataError

RUNS = Path(__file__).parents[1] / "metabench" / "data" / "one_shot_runs.txt"
COUNT, WAYS = 20, 20

HEADER = """\
The 20 runs of one-shot classification that Omniglot's authors publish (Lake et al. 2015, all_runs.zip): in each, 20
characters of one evaluation alphabet, one training and one test drawing of each, all training drawings by one drawer
and all test drawings by another. Run, character, number of the training drawing, number of the test drawing; within a
run in the order of its training pictures.
"""


def runs(root: Path) -> str:
    """The content of the file; raises DataError for runs that are damaged, partial or not of Omniglot's drawings."""
    _, evaluation = raw.parts()
    path, drawings = _located(evaluation, root), _located(raw.Part("all_runs", md5="", characters=[]), root)
    known = {
        picture.tobytes(): (character, number)
        for character, pictures in raw.read_part(evaluation, path)
        for number, picture in enumerate(pictures, start=1)
    }
    lines = [f"# {line}" for line in HEADER.splitlines()]
    with raw.opened(drawings) as (names, open_file):
        members = {name.removeprefix("all_runs/"): name for name in names}

        def read(name: str) -> bytes:
            if name not in members:
                raise DataError(f"{drawings} has no {name}: {raw.AGAIN}")
            return raw.read_member(drawings, open_file, members[name])

        def drawing(name: str) -> tuple[str, int]:
            picture: np.ndarray = raw.decode(drawings, name, read(name))
            if picture.tobytes() not in known:
                raise DataError(f"{drawings}: {name} is no drawing of {path}: {raw.AGAIN}")
            return known[picture.tobytes()]

        for run in (f"run{number:02d}" for number in range(1, COUNT + 1)):
            for training, test in _pairs(drawings, run, read(f"{run}/class_labels.txt").decode(errors="replace")):
                (character, shown), (asked, queried) = drawing(training), drawing(test)
                if character != asked:
                    raise DataError(f"{drawings}: {test} shows {asked}, and its answer {training} {character}")
                lines.append(f"{run} {character} {shown:02d} {queried:02d}")
    return "\n".join(lines) + "\n"


def _located(part: raw.Part, root: Path) -> Path:
    path = raw.locate(part, root)
    if path is None:
        raise DataError(f"{root} holds neither {part.name}.zip nor {part.name}/")
    return path


def _pairs(path: Path, run: str, labels: str) -> list[tuple[str, str]]:
    """(training picture, test picture) by training picture; each of both must come exactly once."""
    numbers = [f"{number:02d}" for number in range(1, WAYS + 1)]
    pairs = sorted((training, test) for test, _, training in (line.partition(" ") for line in labels.splitlines()))
    training, test = [pair[0] for pair in pairs], sorted(pair[1] for pair in pairs)
    if training != [f"{run}/training/class{number}.png" for number in numbers] or test != [
        f"{run}/test/item{number}.png" for number in numbers
    ]:
        raise DataError(f"{path}: {run}/class_labels.txt does not pair {WAYS} test and training pictures: {raw.AGAIN}")
    return pairs


def main(root: str) -> None:
    """Read the archives under `root` and write the file."""
    try:
        RUNS.write_text(runs(Path(root)), encoding="utf-8")
    except DataError as fault:
        sys.exit(str(fault))


if __name__ == "__main__":
    main(*sys.argv[1:])
