"""Write the fixed class splits of Omniglot from the raw data.

    python scripts/make_splits.py ROOT

ROOT holds images_background.zip and images_evaluation.zip, or their extracted folders. The files in
metabench/data/splits/ were written once by this script and are the truth; it is kept to show where they come from.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from metabench.data.images import raw

SPLITS = Path(__file__).parents[1] / "metabench" / "data" / "splits"

VALIDATION = {"Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"}
VINYALS_TEST = {
    *("Kannada", "Keble", "Malayalam", "Manipuri", "Mongolian", "Old_Church_Slavonic_(Cyrillic)", "Oriya"),
    *("Sylheti", "Syriac_(Serto)", "Tengwar", "Tibetan", "ULOG"),
    *(f"Gurmukhi/character{number}" for number in (42, 43, 44, 45)),
}

VINYALS = """\
The Vinyals split of Omniglot: 1028 train, 172 validation, 423 test characters.
Introduced by Vinyals et al. 2016 (Matching Networks, arXiv 1606.04080); as published in the repository of Snell et al.
2017 (jakesnell/prototypical-networks, data/omniglot/splits/vinyals), less the rotations. Validation is five alphabets,
test is twelve and the last four characters of Gurmukhi, train the rest. The paper's trainval is train and validation.
"""
LAKE = """\
The split of Omniglot's authors: 792 train, 172 validation, 659 test characters.
Lake et al. 2015 (Science 350): test is the evaluation set (20 alphabets). They give the background set (30 alphabets)
no validation part; here it is the five alphabets that the Vinyals split validates on, all of them background.
"""
MAML = """\
A random split of Omniglot's characters: 1100 train, 100 validation, 423 test.
The sizes are those of Finn et al. 2017 (MAML, arXiv 1703.03400), whose own draw shuffles the order of a directory
listing and so differs between machines. Here the characters are ordered by sha256('maml:' + name) and cut at 1100 and
1200; rotations of one character are never on two sides.
"""


def vinyals(characters: Iterable[str]) -> dict[str, str]:
    """The part of each character."""

    def part(name: str) -> str:
        alphabet = name.split("/")[0]
        if alphabet in VALIDATION:
            return "validation"
        return "test" if alphabet in VINYALS_TEST or name in VINYALS_TEST else "train"

    return {name: part(name) for name in characters}


def lake(background: Iterable[str], evaluation: Iterable[str]) -> dict[str, str]:
    """The part of each character."""
    parts = {name: "validation" if name.split("/")[0] in VALIDATION else "train" for name in background}
    return parts | dict.fromkeys(evaluation, "test")


def maml(characters: Iterable[str]) -> dict[str, str]:
    """The part of each character."""
    order = sorted(characters, key=lambda name: sha256(f"maml:{name}".encode()).digest())
    return {name: "train" if i < 1100 else "validation" if i < 1200 else "test" for i, name in enumerate(order)}


def split_files(background: list[str], evaluation: list[str]) -> dict[str, str]:
    """{file name: content}, the same for the same characters in any order."""
    everything = background + evaluation
    return {
        "vinyals.txt": _text(VINYALS, vinyals(everything)),
        "lake.txt": _text(LAKE, lake(background, evaluation)),
        "maml.txt": _text(MAML, maml(everything)),
    }


def _text(header: str, parts: dict[str, str]) -> str:
    comments = [f"# {line}" for line in header.splitlines()]
    return "\n".join([*comments, *sorted(f"{part} {name}" for name, part in parts.items())]) + "\n"


def characters(root: Path, archive: str) -> list[str]:
    """The sorted names that one of the two archives holds, unchecked."""
    path = raw.locate(raw.Part(archive, md5="", characters=[]), root)
    if path is None:
        sys.exit(f"{root} holds neither {archive}.zip nor {archive}/")
    with raw.opened(path) as (names, _):
        return sorted(raw.members(path, names))


def main(root: str) -> None:
    """Read the names under `root` and write the three files."""
    background, evaluation = (characters(Path(root), name) for name in ("images_background", "images_evaluation"))
    for name, text in split_files(background, evaluation).items():
        (SPLITS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
