"""The fixed class splits: which characters train, which validate, which test.

The files under `splits/` are the truth. Nothing derives from the order of a directory or from a random generator at run
time, so that every machine means the same classes by the same name. `scripts/make_splits.py` wrote them.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from metabench.errors import ConfigError, suggest

PARTS = ("train", "validation", "test")
_FOLDER = files("metabench.data") / "splits"


def split_names() -> list[str]:
    """The splits there are, sorted."""
    return sorted(entry.name.removesuffix(".txt") for entry in _FOLDER.iterdir() if entry.name.endswith(".txt"))


def read_split(name: str) -> dict[str, list[str]]:
    """The sorted characters ('Alphabet/characterNN') of `train`, `validation` and `test`.

    Raises ConfigError for a name that no file has.
    """
    rows = [line.split(" ", 1) for line in _lines(name)]
    return {part: sorted(character for label, character in rows if label == part) for part in PARTS}


def split_digest(name: str) -> str:
    """The sha256 (hex) of what the split says: its lines, sorted, without the comments."""
    return hashlib.sha256("\n".join(_lines(name)).encode()).hexdigest()


@cache
def _lines(name: str) -> tuple[str, ...]:
    if name not in split_names():
        raise ConfigError("data.split", name, suggest(name, split_names(), "no such split"))
    text = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(sorted(line for line in text.splitlines() if line and not line.startswith("#")))
