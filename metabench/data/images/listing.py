"""The files of an image folder, class by class and split by split, in one order on every machine.

Three layouts:

    ROOT/train.csv, val.csv, test.csv     split files (`split_files`); images in ROOT/images/ or ROOT/
    ROOT/train/CLASS/*, val/, test/       a folder per split, in it a folder per class
    ROOT/CLASS/*                          a folder per class; which split it is in is decided by its name

Names are sorted: the order of a directory decides nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import model_validator

from metabench.config.types import Folder, Section, Share
from metabench.data.images.split_files import read_split_file
from metabench.errors import ConfigError, DataError, MissingDataError
from metabench.tasks import SPLITS, SplitName

FILES = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}
FOLDERS = {"train": ("train",), "validation": ("val", "validation", "valid"), "test": ("test",)}
NAMED = 3  # of a list of classes or files, in an error


class Holdout(Section):
    """Shares of the classes that are kept from training."""

    validation: Share
    test: Share

    @model_validator(mode="after")
    def _leaves_some(self) -> Holdout:
        if self.validation + self.test >= 1:
            raise ValueError("should leave some classes for training")
        return self


class SplitFiles(Section):
    """Split files, by paths relative to the root."""

    train: Folder
    validation: Folder
    test: Folder


class Class(NamedTuple):
    """A class of images: its name, the paths of its files, sorted, and the folder that it has, or would have."""

    name: str
    files: list[Path]
    folder: Path


class Listing(NamedTuple):
    """The classes of each split, sorted by name; `by_files` where split files name them."""

    root: Path
    splits: dict[SplitName, list[Class]]
    by_files: bool

    def paths(self) -> Iterator[Path]:
        """Every file: split by split, class by class."""
        for split in SPLITS:
            for one in self.splits[split]:
                yield from one.files

    def left_out(self) -> list[Path]:
        """Files in the root that are of no class, or no images by their names; none where split files choose."""
        if self.by_files:
            return []
        kept = set(self.paths())
        return [path for path in _files_in(self.root) if path not in kept]

    def digest(self) -> str:
        """The sha256 of splits, classes and file names, wherever the files lie."""
        content = hashlib.sha256()
        for split in SPLITS:
            for name, files, _ in self.splits[split]:
                content.update(f"{split}/{name}\n".encode(errors="surrogateescape"))
                content.update("".join(f"{file.name}\n" for file in files).encode(errors="surrogateescape"))
        return content.hexdigest()


def list_images(root: Path, files: SplitFiles | None, images: str | None, holdout: Holdout | None) -> Listing:
    """The images in `root`, by `files`, or by the first of the three layouts that is there.

    `images` is the folder, relative to the root, that has the images of split files. `holdout` decides where a folder
    has classes and no split. Raises `DataError` for data that is not there, for a class that is in two splits, and for
    an image that is named twice.
    """
    if not root.is_dir():
        raise MissingDataError(f"{root}: no such folder")
    by_files = files is not None or any((root / name).is_file() for name in FILES.values())
    if images is not None and not by_files:
        raise ConfigError("data.images", images, f"should be null: {root} has no split files, which name images in it")
    with_folders = {split: next((root / n for n in FOLDERS[split] if (root / n).is_dir()), None) for split in SPLITS}
    if by_files:
        splits = _by_files(root, FILES if files is None else files.model_dump(), images)
    elif any(with_folders.values()):
        splits = {split: _classes(folder or root / FOLDERS[split][0]) for split, folder in with_folders.items()}
    else:
        splits = _held_out(root, _classes(root), holdout)
    _check_disjoint(root, splits)
    _check_once(splits)
    return Listing(root, {split: splits[split] for split in SPLITS}, by_files)


def _by_files(root: Path, files: dict[str, str], images: str | None) -> dict[SplitName, list[Class]]:
    if missing := [name for name in files.values() if not (root / name).is_file()]:
        raise MissingDataError(f"{root}: has no {' and no '.join(missing)}; the splits are {', '.join(files.values())}")
    folder = root / images if images else root / "images" if (root / "images").is_dir() else root
    if not folder.is_dir():
        raise MissingDataError(f"{folder}: no such folder, for the images that the split files name")
    return {split: _named(root / files[split], folder) for split in SPLITS}


def _named(file: Path, folder: Path) -> list[Class]:
    """The classes of one split file, and where their images lie."""
    found, missing, whole = [], [], 0
    for label, names in sorted(read_split_file(file).items()):
        if not names:
            if not (folder / label).is_dir():
                hint = "; a list of images begins with filename,label" if file.suffix.lower() == ".csv" else ""
                raise MissingDataError(
                    f"{file}: names the class {label}, but there is no folder {folder / label}{hint}"
                )
            found.append(Class(label, _images_in(folder / label), folder / label))
            continue
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{file}: names {twice} twice")
        places = {name: _place(folder, label, name) for name in sorted(names)}
        missing += [name for name, place in places.items() if place is None]
        whole += len(names)
        found.append(Class(label, [place for place in places.values() if place is not None], folder / label))
    if missing:
        raise MissingDataError(
            f"{file}: {len(missing):,} of the {whole:,} images that it names are not in {folder}: {_some(missing)}"
        )
    return found


def _place(folder: Path, label: str, name: str) -> Path | None:
    """Where an image is: in the folder, in the class's own below it, or where a list from another machine ends."""
    for place in (folder / name, folder / label / name, folder.joinpath(*Path(name).parts[-2:])):
        if place.is_file():
            return place
    return None


def _classes(folder: Path) -> list[Class]:
    """A class for each folder that has images, sorted."""
    if not folder.is_dir():
        raise MissingDataError(f"{folder}: no such folder; a split is in a folder, or all classes are in one")
    inner = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    found = [Class(name, _images_in(folder / name), folder / name) for name in inner]
    return [one for one in found if one.files]


def _images_in(folder: Path) -> list[Path]:
    """The images in and below a folder, sorted by their path in it."""
    return [path for path in _files_in(folder) if is_image(path.name)]


def _files_in(folder: Path) -> list[Path]:
    """The files in and below a folder that are not hidden, sorted by their path in it."""
    found = []
    for place, inner, names in os.walk(folder, onerror=_unreadable):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _unreadable(fault: OSError) -> None:
    raise DataError(f"{fault.filename}: cannot be read: {fault.strerror}") from None


def is_image(name: str) -> bool:
    """True where a file has a name like the images that Pillow reads."""
    return os.path.splitext(name)[1].lower() in _extensions()  # noqa: PTH122  a Path costs ten times as much


@cache
def _extensions() -> frozenset[str]:
    from PIL import Image

    return frozenset(extension for extension, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def _held_out(root: Path, classes: list[Class], holdout: Holdout | None) -> dict[SplitName, list[Class]]:
    """Classes by the hash of their names: which split a class is in depends on names alone."""
    if not classes:
        raise MissingDataError(f"{root}: holds no images; it should have a folder of images per class, or split files")
    if len(classes) < len(SPLITS):
        number = "one class" if len(classes) == 1 else f"{len(classes)} classes"
        names = _some([one.name for one in classes])
        raise DataError(
            f"{root}: has images of {number}, {names}; training, validation and test need classes of their own"
        )
    if holdout is None:
        raise ConfigError("data.holdout", None, f"shares of classes for validation and test: {root} has no split")
    order = sorted(classes, key=lambda one: hashlib.sha256(one.name.encode(errors="surrogateescape")).digest())
    validation, test = (max(1, round(share * len(order))) for share in (holdout.validation, holdout.test))
    parts = {"validation": order[:validation], "test": order[validation : validation + test]}
    return {split: sorted(parts.get(split, order[validation + test :])) for split in SPLITS}


def _check_disjoint(root: Path, splits: dict[SplitName, list[Class]]) -> None:
    place: dict[str, str] = {}
    for split in SPLITS:
        for name, *_ in splits[split]:
            if name in place:
                raise DataError(
                    f"{root}: the class {name} is in {place[name]} and in {split}; it should be in one split"
                )
            place[name] = split


def _check_once(splits: dict[SplitName, list[Class]]) -> None:
    """A file is the image of one class, by whatever links it is reached."""
    known: dict[tuple[int, int] | Path, tuple[Path, str]] = {}
    for name, files, _ in (one for split in SPLITS for one in splits[split]):
        for file in files:
            try:
                place = os.stat(file)  # noqa: PTH116  a Path's own costs twice as much
            except OSError as fault:
                raise DataError(f"{file}: cannot be read: {fault.strerror}") from None
            inode = (place.st_dev, place.st_ino) if place.st_ino else file  # some file systems have none
            first, label = known.setdefault(inode, (file, name))
            if first is not file:
                also = "" if first == file else f": it is the same file as {first}"
                raise DataError(f"{file}: is named twice, as an image of {label} and of {name}{also}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
