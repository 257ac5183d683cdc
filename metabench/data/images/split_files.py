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
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines())]
    rows = [row for row in rows if row and row[0] and not row[0].startswith("#")]
    header = [cell.lower() for cell in rows[0]] if rows else []
    if not {"filename", "label"} <= set(header):
        return {row[0]: [] for row in rows}
    name, label = header.index("filename"), header.index("label")
    found: Files = {}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) <= max(name, label) or not (row[name] and row[label]):
            raise DataError(f"{path}: row {number} should have a filename and a label, not {','.join(row)}")
        found.setdefault(row[label], []).append(row[name])
    return found


def _images_of_json(path: Path, text: str) -> Files:
    try:
        content = json.loads(text)
        names, images, labels = (content[key] for key in ("label_names", "image_names", "image_labels"))
        found: Files = {}
        for image, label in zip(images, labels, strict=True):
            found.setdefault(str(names[label]), []).append(str(image))
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as fault:
        wanted = "label_names, image_names and image_labels"
        raise DataError(f"{path}: should be JSON with {wanted} ({type(fault).__name__}: {fault})") from None
    return found
