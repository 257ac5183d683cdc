"""Split files, as the field publishes them: which classes, or which images of which class, a split has.

train.csv    n01532829 ... a header with `filename` and `label`, then a line per image (Ravi, Larochelle 2017)
train.txt    a class per line, first in its line (Bertinetto et al. 2019); a .csv without that header reads the same
base.json    `label_names`, `image_names` and `image_labels` (Chen et al. 2019)
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from metabench.errors import DataError

Files = dict[str, list[str]]
"""Files of each class; a class without any is a folder, whose files are to be found."""


def read_split_file(path: Path) -> Files:
    """The classes that a split file names, and their files; raises `DataError` for one that cannot be read so."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"{path}: cannot be read: {getattr(fault, 'strerror', None) or fault}") from None
    found = _images_of_json(path, text) if path.suffix.lower() == ".json" else _rows(path, text)
    if not found:
        raise DataError(
            f"{path}: names no class; it should have a line per class, or filename,label and a line per image"
        )
    return found


def _rows(path: Path, text: str) -> Files:
    rows = _numbered(path, text)
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    found: Files = {}
    if not {"filename", "label"} <= set(header):
        for number, row in rows:
            if not row[0]:
                raise DataError(f"{path}: line {number} should begin with a class, not {','.join(row)}")
            found[row[0]] = []
        return found
    name, label = header.index("filename"), header.index("label")
    for number, row in rows[1:]:
        if len(row) <= max(name, label) or not (row[name] and row[label]):
            raise DataError(f"{path}: line {number} should have a filename and a label, not {','.join(row)}")
        found.setdefault(row[label], []).append(row[name])
    return found


def _numbered(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """The rows, each with the number of its line; without those that are empty or a comment."""
    lines = csv.reader(text.splitlines(), strict=True)
    try:
        rows = [(lines.line_num, [cell.strip() for cell in row]) for row in lines]
    except csv.Error as fault:
        raise DataError(f"{path}: cannot be read: line {lines.line_num}: {fault}") from None
    return [(number, row) for number, row in rows if any(row) and not row[0].startswith("#")]


def _images_of_json(path: Path, text: str) -> Files:
    try:
        content = json.loads(text)
        names, images, labels = (content[key] for key in ("label_names", "image_names", "image_labels"))
        found: Files = {}
        for image, label in zip(images, labels, strict=True):
            if label < 0:
                raise IndexError(f"the label {label}")
            found.setdefault(str(names[label]), []).append(str(image))
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as fault:
        wanted = "label_names, image_names and image_labels"
        raise DataError(f"{path}: should be JSON with {wanted} ({type(fault).__name__}: {fault})") from None
    return found
