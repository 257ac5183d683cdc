"""Files are images of a class and a split: by three layouts, by names alone, and never twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from metabench.data.images.listing import Holdout, Listing, SplitFiles, list_images
from metabench.errors import ConfigError, DataError, MissingDataError

SPLIT = {"train": ["bee", "cat", "dog"], "validation": ["ant"], "test": ["emu", "fly"]}
NAMES = sorted(name for names in SPLIT.values() for name in names)
IMAGES = ["0.png", "1.JPG", "10.webp", "2.jpeg"]  # sorted as text
JUNK = (".hidden.png", "Thumbs.db", "notes.txt", "image", ".cache/0.png", "notes.png.txt")
THIRDS = Holdout(validation=0.33, test=0.33)


def fill(folder: Path, names: Iterable[str] = IMAGES) -> None:
    """Empty files: a listing opens none."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def one_folder(root: Path) -> Path:
    for name in NAMES:
        fill(root / name)
    return root


def folders(root: Path, validation: str = "val") -> Path:
    for split, names in SPLIT.items():
        for name in names:
            fill(root / (validation if split == "validation" else split) / name)
    return root


def csv(root: Path) -> Path:
    """miniImageNet's form."""
    for split, file in (("train", "train"), ("validation", "val"), ("test", "test")):
        rows = [f"{name}-{image},{name}" for image in reversed(IMAGES) for name in SPLIT[split]]
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / f"{file}.csv").write_text("\n".join(["filename,label", *rows]))
        fill(root / "images", (f"{name}-{image}" for name in SPLIT[split] for image in IMAGES))
    return root


def text(root: Path) -> Path:
    """CIFAR-FS's form: a class per line, a folder per class."""
    one_folder(root / "data")
    for split, names in SPLIT.items():
        fill(root / "splits", [f"{split}.txt"])
        (root / f"splits/{split}.txt").write_text("\n".join(reversed(names)))
    return root


IN_TEXT = SplitFiles(train="splits/train.txt", validation="splits/validation.txt", test="splits/test.txt")
LAYOUTS: dict[str, Callable[[Path], Listing]] = {
    "split files of images": lambda root: list_images(csv(root), None, None, None),
    "split files of classes": lambda root: list_images(text(root), IN_TEXT, "data", None),
    "folders": lambda root: list_images(folders(root), None, None, None),
    "folders of another name": lambda root: list_images(folders(root, "valid"), None, None, None),
}


def shown(listing: Listing) -> dict[str, dict[str, list[str]]]:
    """Splits, classes and file names, in the order of the listing."""
    return {
        split: {name: [file.name.removeprefix(f"{name}-") for file in files] for name, files, _ in classes}
        for split, classes in listing.splits.items()
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_same_splits_and_classes_sorted(layout, tmp_path):
    listing = LAYOUTS[layout](tmp_path)
    found = shown(listing)
    assert {split: list(classes) for split, classes in found.items()} == SPLIT
    assert all(files == IMAGES for classes in found.values() for files in classes.values())
    assert all(path.is_file() for path in listing.paths())
    assert len(list(listing.paths())) == len(NAMES) * len(IMAGES)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_junk_and_hidden_files_change_nothing(layout, tmp_path):
    plain = LAYOUTS[layout](tmp_path / "plain")
    LAYOUTS[layout](tmp_path / "junk")
    for folder in [path for path in (tmp_path / "junk").rglob("*") if path.is_dir()] + [tmp_path / "junk"]:
        fill(folder, JUNK)
    with_junk = LAYOUTS[layout](tmp_path / "junk")
    assert shown(with_junk) == shown(plain)
    assert with_junk.digest() == plain.digest()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_order_of_a_directory_decides_nothing(layout, tmp_path, monkeypatch):
    expected = LAYOUTS[layout](tmp_path)

    class Backwards(list):
        """`os.scandir`, the other way round."""

        def __init__(self, path):
            with scandir(path) as entries:
                super().__init__(sorted(entries, key=lambda entry: entry.name, reverse=True))
            self.left = iter(self)

        def __next__(self):
            return next(self.left)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", Backwards)
    assert LAYOUTS[layout](tmp_path) == expected


def test_images_may_lie_deeper_in_a_class_and_empty_folders_are_no_class(tmp_path):
    one_folder(tmp_path)
    fill(tmp_path / "ant", ["b/0.png", "a/9.png"])
    (tmp_path / "zoo/inner").mkdir(parents=True)
    fill(tmp_path / "notes", ["about.txt"])
    fill(tmp_path, ["stray.png"])
    listing = list_images(tmp_path, None, None, THIRDS)
    assert sorted(name for split in shown(listing).values() for name in split) == NAMES
    (ant,) = (one for classes in listing.splits.values() for one in classes if one.name == "ant")
    below = [file.relative_to(tmp_path / "ant").as_posix() for file in ant.files]
    assert below == ["0.png", "1.JPG", "10.webp", "2.jpeg", "a/9.png", "b/0.png"]


def test_a_class_may_be_a_link_to_a_folder(tmp_path):
    folders(tmp_path / "here")
    (tmp_path / "here/train/bee").rename(tmp_path / "bee")
    (tmp_path / "here/train/bee").symlink_to(tmp_path / "bee")
    assert shown(list_images(tmp_path / "here", None, None, None))["train"]["bee"] == IMAGES


def test_split_files_are_preferred_to_folders_and_those_that_are_named_to_both(tmp_path):
    csv(tmp_path)
    fill(tmp_path / "train/gnu")
    fill(tmp_path / "images/gnu")
    assert list(shown(list_images(tmp_path, None, None, None))["train"]) == SPLIT["train"]
    (tmp_path / "mine.txt").write_text("gnu")
    named = SplitFiles(train="mine.txt", validation="val.csv", test="test.csv")
    found = shown(list_images(tmp_path, named, None, None))
    assert (list(found["train"]), list(found["test"])) == (["gnu"], SPLIT["test"])


@pytest.mark.parametrize("written", ["0.png", "ant/0.png", "/home/author/CUB/images/ant/0.png"])
def test_images_are_found_in_the_folder_or_in_the_class_or_where_a_foreign_path_ends(written, tmp_path):
    csv(tmp_path)
    fill(tmp_path / "images/ant", ["0.png"])
    (tmp_path / "val.csv").write_text(f"filename,label\n{written},ant\n")
    (ant,) = list_images(tmp_path, None, None, None).splits["validation"]
    assert ant.files == [tmp_path / "images/ant/0.png"]


@pytest.mark.parametrize("moved", ["photos", "."])
def test_images_of_split_files_lie_in_images_or_the_root_or_the_folder_that_is_named(moved, tmp_path):
    csv(tmp_path)
    expected = shown(list_images(tmp_path, None, None, None))
    (tmp_path / "photos").mkdir()
    for path in (tmp_path / "images").iterdir():
        path.rename(tmp_path / moved / path.name)
    (tmp_path / "images").rmdir()
    assert shown(list_images(tmp_path, None, None if moved == "." else moved, None)) == expected


def test_an_image_reached_by_a_link_is_named_twice(tmp_path):
    """A test class that links to one of training, and an image that is support and query of one task."""
    folders(tmp_path)
    (tmp_path / "test/linked").symlink_to(tmp_path / "train/bee")
    with pytest.raises(DataError, match=r"linked/0.png: is named twice, as an image of bee and of linked: it is the s"):
        list_images(tmp_path, None, None, None)
    (tmp_path / "test/linked").unlink()
    for link in (os.symlink, os.link):
        link(tmp_path / "test/emu/0.png", tmp_path / "test/emu/again.png")
        with pytest.raises(DataError, match=r"again.png: is named twice, as an image of emu and of emu"):
            list_images(tmp_path, None, None, None)
        (tmp_path / "test/emu/again.png").unlink()


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    folders(tmp_path)
    (tmp_path / "test/emu/lost.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"lost.png: cannot be read: No such file"):
        list_images(tmp_path, None, None, None)


# ---- classes that no split was published for


@pytest.mark.parametrize(
    ("classes", "validation", "test", "expected"),
    [(50, 0.2, 0.2, (30, 10, 10)), (10, 0.1, 0.3, (6, 1, 3)), (3, 0.0, 0.0, (1, 1, 1)), (4, 0.3, 0.3, (2, 1, 1))],
)
def test_held_out_classes_are_disjoint_shares_and_none_is_empty(classes, validation, test, expected, tmp_path):
    names = [f"class {number}" for number in range(classes)]
    for name in names:
        fill(tmp_path / name, ["0.png"])
    found = shown(list_images(tmp_path, None, None, Holdout(validation=validation, test=test)))
    assert tuple(len(found[split]) for split in SPLIT) == expected
    assert sorted(name for split in found.values() for name in split) == sorted(names)


def test_held_out_classes_depend_on_names_alone(tmp_path):
    for number in range(12):
        fill(tmp_path / f"one/class {number}")
        fill(tmp_path / f"two/class {11 - number}", ["another.gif"])
    one, two = (
        {split: list(classes) for split, classes in shown(list_images(tmp_path / root, None, None, THIRDS)).items()}
        for root in ("one", "two")
    )
    assert one == two
    assert (one["validation"], one["test"]) == (
        ["class 0", "class 3", "class 8", "class 9"],
        ["class 1", "class 2", "class 5", "class 6"],
    )  # on every machine, by sha256
    bigger = Holdout(validation=0.33, test=0.5)
    more = shown(list_images(tmp_path / "one", None, None, bigger))
    assert list(more["validation"]) == one["validation"]
    assert set(one["test"]) < set(more["test"])


# ---- what names the images: the same wherever they lie, another for other images


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_digest_is_the_same_wherever_the_folder_lies(layout, tmp_path):
    assert LAYOUTS[layout](tmp_path / "one").digest() == LAYOUTS[layout](tmp_path / "two/deeper").digest()


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file of another name": lambda root: (root / "train/bee/0.png").rename(root / "train/bee/0.gif"),
    "one file more": lambda root: fill(root / "train/bee", ["3.png"]),
    "one file less": lambda root: (root / "test/fly/0.png").unlink(),
    "a class of another name": lambda root: (root / "test/fly").rename(root / "test/flea"),
    "a class in another split": lambda root: (root / "test/fly").rename(root / "val/fly"),
    "a file in another class": lambda root: (root / "test/fly/0.png").rename(root / "test/emu/3.png"),
    "a class less": lambda root: shutil.rmtree(root / "train/cat"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_differs_where_a_split_a_class_or_a_file_name_differs(change, tmp_path):
    before = list_images(folders(tmp_path), None, None, None).digest()
    CHANGES[change](tmp_path)
    assert list_images(tmp_path, None, None, None).digest() != before


# ---- faults, each in one line that names a folder, a file or a key


def fault(root: Path, *, images: str | None = None, holdout: Holdout | None = THIRDS, files=None) -> str:
    with pytest.raises((DataError, ConfigError)) as caught:
        list_images(root, files, images, holdout)
    line = str(caught.value)
    assert "\n" not in line
    return line


def write_rows(root: Path, file: str, *rows: str) -> Path:
    (csv(root) / file).write_text("\n".join(["filename,label", *rows]))
    return root


def without(root: Path, *paths: str) -> Path:
    for path in paths:
        shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()
    return root


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no such folder": (lambda root: None, "{root}: no such folder"),
    "an empty folder": (Path.mkdir, "{root}: holds no images; it should have a folder of images per class, or split"),
    "images without a class": (fill, "{root}: holds no images"),
    "one class alone": (lambda root: fill(root / "ant"), "{root}: has images of one class, ant; training, validation"),
    "two classes": (
        lambda root: [fill(root / "ant"), fill(root / "bee")],
        "{root}: has images of 2 classes, ant, bee; training, validation and test need classes of their own",
    ),
    "a split's folder missing": (lambda root: without(folders(root), "val"), "{root}/val: no such folder"),
    "a class in two splits": (
        lambda root: fill(folders(root) / "val/bee"),
        "{root}: the class bee is in train and in validation; it should be in one split",
    ),
    "a class in two split files": (
        lambda root: write_rows(root, "test.csv", "ant-0.png,ant"),
        "{root}: the class ant is in validation and in test",
    ),
    "a split file missing": (
        lambda root: without(csv(root), "val.csv"),
        "{root}: has no val.csv; the splits are train.csv, val.csv, test.csv",
    ),
    "two split files missing": (lambda root: without(csv(root), "train.csv", "test.csv"), "no train.csv and no test.c"),
    "a split file without a class": (lambda root: write_rows(root, "train.csv"), "{root}/train.csv: names no class"),
    "a bad row": (lambda root: write_rows(root, "val.csv", "ant-0.png"), "{root}/val.csv: line 2 should have"),
    "a file twice": (
        lambda root: write_rows(root, "val.csv", "ant-0.png,ant", "ant-2.jpeg,ant", "ant-0.png,ant"),
        "{root}/val.csv: names ant-0.png twice",
    ),
    "a file in two classes": (
        lambda root: write_rows(root, "test.csv", "emu-0.png,emu", "emu-0.png,fly"),
        "{root}/images/emu-0.png: is named twice, as an image of emu and of fly",
    ),
    "a file in two splits": (
        lambda root: write_rows(root, "test.csv", "bee-0.png,emu"),
        "{root}/images/bee-0.png: is named twice, as an image of bee and of emu",
    ),
    "a file by two names": (
        lambda root: write_rows(root, "val.csv", "ant-0.png,ant", "./ant-0.png,ant"),
        "{root}/images/ant-0.png: is named twice, as an image of ant and of ant",
    ),
    "files missing": (
        lambda root: without(csv(root), *(f"images/{name}-0.png" for name in SPLIT["train"]), "images/bee-1.JPG"),
        "{root}/train.csv: 4 of the 12 images that it names are not in {root}/images: bee-0.png, bee-1.JPG, cat-0.pn",
    ),
    "a class's folder missing": (
        lambda root: (csv(root) / "val.csv").write_text("ant\ngnu\n"),
        "{root}/val.csv: names the class ant, but there is no folder {root}/images/ant",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_that_says_where(name, tmp_path):
    make, expected = FAULTS[name]
    make(tmp_path / "birds")
    assert expected.format(root=tmp_path / "birds") in fault(tmp_path / "birds")


def test_a_folder_of_images_that_is_named_but_not_there(tmp_path):
    line = fault(csv(tmp_path), images="photos")
    assert line == f"{tmp_path}/photos: no such folder, for the images that the split files name"


def test_split_files_that_are_named_but_not_there(tmp_path):
    line = fault(csv(tmp_path), files=IN_TEXT)
    assert line.startswith(f"{tmp_path}: has no splits/train.txt and no splits/validation.txt and no splits/test.txt")


def test_classes_without_a_split_need_a_holdout(tmp_path):
    assert fault(one_folder(tmp_path), holdout=None).startswith("data.holdout=null: shares of classes for validation")


def test_a_class_that_cannot_be_read_is_named_and_not_left_out(tmp_path, monkeypatch):
    def refuse(path):
        if Path(path).name == "bee":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", refuse)
    assert fault(one_folder(tmp_path)) == f"{tmp_path}/bee: cannot be read: Permission denied"


@pytest.mark.parametrize("missing", ["birds", "birds/val"])
def test_absent_data_is_told_from_faulty_data(missing, tmp_path):
    without(folders(tmp_path / "birds").parent, missing)
    with pytest.raises(MissingDataError):
        list_images(tmp_path / "birds", None, None, None)
