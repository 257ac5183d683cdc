"""A user's task in folders or files: one folder of images per class, or a CSV file of points."""

from __future__ import annotations

import csv
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from metabench.errors import DataError


class Files(NamedTuple):
    """Images, and the label of each: the folder that it lies in."""

    paths: list[Path]
    labels: list[str]


class Points(NamedTuple):
    """Points of a curve; y is None where the file has none."""

    x: list[float]
    y: list[float] | None


def read_support(folder: Path) -> Files:
    """The images of a folder with one folder per class, the first of every class before the second of any.

    Raises `DataError` for fewer than two classes, and for a class without an image.
    """
    classes = [path for path in sorted(_entries(folder)) if path.is_dir() and not path.name.startswith(".")]
    if len(classes) < 2:
        raise DataError(f"{folder}: should have one folder of images per class; there are {len(classes)}")
    found = {path.name: _images(path) for path in classes}
    if empty := [name for name, images in found.items() if not images]:
        raise DataError(f"{folder / empty[0]}: has no image")
    rows = zip_longest(*found.values())
    paths = [path for path in chain.from_iterable(rows) if path is not None]
    return Files(paths, [path.relative_to(folder).parts[0] for path in paths])


def read_queries(folder: Path) -> Files:
    """The images in a folder and below, in the order of their names; raises `DataError` where there is none."""
    if folder.is_file():
        return Files([folder], [""])
    paths = _images(folder)
    if not paths:
        raise DataError(f"{folder}: has no image")
    return Files(paths, ["" if path.parent == folder else path.relative_to(folder).parts[0] for path in paths])


def read_points(file: Path) -> Points:
    """The points of a CSV file with the columns x and y, or x alone; raises `DataError`."""
    if not file.is_file():
        raise DataError(f"{file}: no such file; give a CSV file with the columns x and y")
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
        x = [float(row["x"]) for row in rows]
        y = [float(row["y"]) for row in rows] if rows and "y" in rows[0] else None
    except (KeyError, TypeError, ValueError, csv.Error) as fault:
        raise DataError(f"{file}: should be a CSV file with numbers in the columns x and y: {fault}") from None
    if not x:
        raise DataError(f"{file}: has no point")
    return Points(x, y)


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    return list(folder.iterdir())


def _images(folder: Path) -> list[Path]:
    """Files below `folder` with the suffix of a picture, hidden ones left out."""
    _entries(folder)
    suffixes = Image.registered_extensions()
    files = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))
