"""Episodes of a folder of images: of the classes and files they claim, and each fault one line before any work."""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import image_sets
import numpy as np
import pytest
import torch
from image_sets import by_pillow, write
from program import TINY, only_run, run_metabench, summary
from scipy import stats
from torch import Tensor

from metabench.config.build import component
from metabench.data.image_folder import ImageFolder
from metabench.data.images import pack
from metabench.errors import ConfigError, DataError, MissingDataError, UserError
from metabench.tasks import SPLITS, Tasks

PARTS = {"train": range(9), "validation": range(9, 12), "test": range(12, 15)}
EXPECTED = tuple(
    f"data.expected.{split}={{classes: {classes}, images: {images}}}"
    for split, classes, images in (("train", 9, 66), ("validation", 3, 22), ("test", 3, 22))
)
AUGMENT = ("data.augment={crop: 2, flip: true, brightness: 0.4, contrast: 0.4, saturation: 0.4}",)
FLIP = "data.augment={crop: 0, flip: true, brightness: 0, contrast: 0, saturation: 0}"
EVERY = pytest.mark.parametrize("split", SPLITS)


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(cache))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Folders of splits, with 8 images of a class, and 6 of every third."""
    return in_folders(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def birds(drawn, tmp_path):
    """A copy of them that a test may change."""
    return shutil.copytree(drawn, tmp_path / "birds")


def source(root: Path | None, *overrides: str, **options: object) -> ImageFolder:
    """A source whose training episodes are like those of the test, unless `overrides` say more."""
    return image_sets.source(root, "data.train.queries=3", *overrides, **options)


def in_folders(root: Path) -> Path:
    for split, classes in PARTS.items():
        write(root / {"validation": "val"}.get(split, split), classes)
    return root


def files(root: Path) -> dict[str, list[Path]]:
    """Classes and their files."""
    return {
        place.name: sorted(place.iterdir())
        for split in ("train", "val", "test")
        for place in sorted((root / split).iterdir())
    }


def names(split: str) -> list[str]:
    return [f"bird {number:02d}" for number in PARTS[split]]


def known(root: Path, turn: bool = False, **how: object) -> dict[bytes, tuple[str, str, int]]:
    """Class, file and turn of the pixels that Pillow makes of each file."""
    found = {
        np.rot90(by_pillow(path, **how), number, (1, 2)).tobytes(): (name, path.name, number)
        for name, paths in files(root).items()
        for path in paths
        for number in range(4 if turn else 1)
    }
    assert len(found) == sum(map(len, files(root).values())) * (4 if turn else 1)
    return found


def pixels(x: Tensor) -> bytes:
    return (255 * x).round().to(torch.uint8).numpy().tobytes()


def seen(tasks: Tasks, images: dict[bytes, tuple[str, str, int]]) -> Iterator[tuple[list, list]]:
    """For each task what support and query show, each with its label."""
    for task in range(len(tasks.support.x)):
        yield tuple(
            [(int(y), *images[pixels(x)]) for x, y in zip(part.x[task], part.y[task], strict=True)]
            for part in (tasks.support, tasks.query)
        )


def same(one: Tasks, other: Tasks, rows: slice = slice(None)) -> bool:
    pairs = zip((*one.support, *one.query), (*other.support, *other.query), strict=True)
    return all(torch.equal(a[rows], b) for a, b in pairs)


# ---- episodes


@EVERY
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"channels": 1},
        {"fit": "crop", "size": 11},
        {"fit": "crop", "channels": 1, "resize": "lanczos"},
    ],
)
def test_labels_and_pixels_are_of_the_class(how, split, birds):
    made = source(birds, *(f"data.{key}={value}" for key, value in how.items()), "data.shots=2")
    size, channels = how.get("size", 16), how.get("channels", 3)
    assert made.spec.input_shape == (channels, size, size)
    tasks = made.sample(split, 3, 20)
    assert tasks.support.x.shape == (20, 6, channels, size, size)
    assert tasks.query.x.shape == (20, 9, channels, size, size)
    for classes, (support, query) in zip(
        tasks.truth["classes"].tolist(), seen(tasks, known(birds, **how)), strict=True
    ):
        drawn = [names(split)[number] for number in classes]
        assert len(set(drawn)) == 3
        assert all(drawn[label] == name for label, name, *_ in support + query)
        assert Counter(label for label, *_ in support) == dict.fromkeys(range(3), 2)
        assert Counter(label for label, *_ in query) == dict.fromkeys(range(3), 3)
        assert len({one[1:] for one in support + query}) == 15


@EVERY
def test_every_image_of_a_class_is_drawn_as_often_however_many_it_has(split, birds):
    count: dict[str, Counter] = defaultdict(Counter)
    for support, query in seen(source(birds).sample(split, 0, 250), known(birds)):
        for _, name, file, _ in support + query:
            count[name][file] += 1
    assert {name: sorted(drawn) for name, drawn in count.items()} == {
        name: [path.name for path in files(birds)[name]] for name in names(split)
    }
    assert {len(drawn) for drawn in count.values()} == {6, 8}
    for drawn in count.values():
        assert stats.chisquare(list(drawn.values())).pvalue > 0.001
    assert stats.chisquare([drawn.total() for drawn in count.values()]).pvalue > 0.001


def test_a_turned_class_is_a_class_of_its_own_with_the_images_of_its_own(birds):
    made = source(birds, "data.rotations=classes_all", "data.ways=5")
    for split in SPLITS:
        tasks = made.sample(split, 0, 30)
        images = known(birds, turn=True)
        base = len(PARTS[split])
        for classes, (support, query) in zip(tasks.truth["classes"].tolist(), seen(tasks, images), strict=True):
            for label, name, _, turn in support + query:
                assert (turn, names(split).index(name)) == divmod(classes[label], base)
    assert made.spec.num_classes == 36


def test_turned_training_classes_are_counted(birds):
    made = source(birds, "data.train.ways=36", "data.train.rotations=classes_all")
    assert made.sample("train", 0, 1).support.y.max() == 35


@EVERY
def test_tasks_depend_on_seed_and_number_alone(split, birds, tmp_path):
    made = source(birds, *AUGMENT)
    whole = made.sample(split, 4, 6)
    assert same(whole, made.sample(split, 6, 3), slice(2, 5))
    shutil.copytree(birds, tmp_path / "copy")
    assert same(whole, source(tmp_path / "copy", *AUGMENT).sample(split, 4, 6))
    assert not same(whole, made.sample(split, 0, 6))
    assert same(whole, source(birds, *AUGMENT, seed=1).sample(split, 4, 6)) == (split != "train")
    assert same(whole, source(birds, *AUGMENT, "data.eval_seed=1").sample(split, 4, 6)) == (split == "train")


@EVERY
def test_augmentation_is_of_training_tasks_alone(split, birds):
    plain, other = (source(birds, *changes).sample(split, 0, 8) for changes in ((), AUGMENT))
    assert torch.equal(plain.support.y, other.support.y)
    assert torch.equal(plain.query.y, other.query.y)
    assert same(plain, other) == (split != "train")


def test_support_and_query_are_mirrored_each_by_numbers_of_its_own(birds):
    plain, other = (source(birds, *changes).sample("train", 0, 60) for changes in ((), (FLIP,)))
    mirrored = []
    for x, y in ((plain.support.x, other.support.x), (plain.query.x, other.query.x)):
        turned, kept = ((x_or == y).all((-3, -2, -1)) for x_or in (x.flip(-1), x))
        assert torch.equal(turned, ~kept)
        mirrored.append(turned[:, :3])
        assert 0.35 < turned.double().mean() < 0.65
    assert not torch.equal(*mirrored)


@EVERY
@pytest.mark.parametrize(
    ("mean", "std", "channels"),
    [
        ([0.4, 0.5, 0.6], [0.2, 0.3, 0.25], 3),
        ([0.5], [0.25], 3),
        ([0.1], [2], 1),
    ],
)
def test_normalised_inputs_are_less_the_mean_over_the_deviation_of_their_channel(mean, std, channels, split, birds):
    given = f"data.normalise={{mean: {mean}, std: {std}}}"
    common = (f"data.channels={channels}", *AUGMENT)
    plain, made = source(birds, *common), source(birds, *common, given)
    for part in ("support", "query"):
        before, after = (getattr(one.sample(split, 0, 2), part).x for one in (plain, made))
        for channel in range(channels):
            m, s = (values[channel % len(values)] for values in (mean, std))
            torch.testing.assert_close(after[:, :, channel], (before[:, :, channel] - m) / s)
        torch.testing.assert_close(made.pixels(after), before.expand(-1, -1, 3, -1, -1))


@pytest.mark.parametrize("how", [(), ("data.channels=1", "data.fit=crop"), ("data.normalise={mean: [0.4], std: [2]}",)])
def test_a_picture_to_predict_is_prepared_as_the_images_of_tasks_are(how, birds):
    made = source(birds, *how)
    shown = {x.numpy().tobytes() for x in made.sample("test", 0, 40).query.x.flatten(0, 1)}
    prepared = [
        made.prepare(image_sets.Image.open(path)).numpy().tobytes()
        for name in names("test")
        for path in files(birds)[name]
    ]
    assert set(prepared) == shown


# ---- classes with too few images


@pytest.fixture
def small(birds):
    """A training class with two images, and one without any."""
    for path in files(birds)["bird 04"][2:] + files(birds)["bird 05"]:
        path.unlink()
    return birds


def test_classes_with_too_few_images_are_left_out_and_named(small, capsys):
    made = source(small)
    assert made.spec.num_classes == 7
    tasks = made.sample("train", 0, 100)
    assert capsys.readouterr().out == (
        f"warning: {small}: left out 1 of 8 classes of the train split, with fewer than 4 images (shots + queries): "
        "bird 04 (2)\n"
    )
    kept = [name for name in names("train") if name not in ("bird 04", "bird 05")]
    drawn = set()
    images = known(small)
    for classes, (support, query) in zip(tasks.truth["classes"].tolist(), seen(tasks, images), strict=True):
        assert all(kept[classes[label]] == name for label, name, *_ in support + query)
        drawn |= {name for _, name, *_ in support}
    assert drawn == set(kept)


def test_each_split_needs_as_many_images_as_its_own_episodes(birds, capsys):
    made = source(birds, "data.train.shots=4", "data.train.ways=2")
    assert made.spec.num_classes == 6
    made.sample("test", 0, 1)
    line = capsys.readouterr().out
    assert "left out 3 of 9 classes of the train split, with fewer than 7 images" in line
    assert line.endswith("(shots + queries): bird 00 (6), bird 03 (6), bird 06 (6)\n")


def test_classes_with_too_few_images_are_refused_where_that_is_asked_for(small, cache):
    made = source(small, "data.small_classes=refuse")
    with pytest.raises(DataError) as caught:
        made.sample("test", 0, 1)
    assert str(caught.value) == (
        f"{small}: 1 of 8 classes of the train split have fewer than 4 images (shots + queries): bird 04 (2); ask for "
        "fewer, or set data.small_classes=skip"
    )
    assert not cache.exists()


# ---- files of no class


def test_files_that_no_class_has_are_named_by_their_endings(birds, capsys):
    (birds / "unlabelled").mkdir()
    for name in ("train/bird 00/a.HEIC", "test/photographs/b.heic", "c.txt", "unlabelled/loose.png", "val/image", ".d"):
        (birds / name).parent.mkdir(exist_ok=True)
        (birds / name).touch()
    made = source(birds)
    assert capsys.readouterr().out == ""  # until the images are read
    made.sample("train", 0, 1)
    assert capsys.readouterr().out == (
        f"warning: {birds}: left out files of no class or of another kind than images: 2 .heic, 1 .txt, 1 .png, "
        "1 without a suffix\n"
    )


# ---- faults, before an image is read


@pytest.fixture
def unread(monkeypatch):
    """No image can be decoded."""

    def refuse(path, *_, **__):
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(pack, "decode", refuse)


FAULTS = {
    "data.ways": (("data.ways=4",), "data.ways=4: at most 3, the classes of the test split with at least 4 images"),
    "data.train.ways": (("data.train.ways=10",), "data.train.ways=10: at most 9, the classes of the train split with"),
    "turned": (
        ("data.train.ways=37", "data.train.rotations=classes_all"),
        "data.train.ways=37: at most 36, the classes ",
    ),
    "not turned": (("data.ways=4", "data.rotations=classes_train"), "data.ways=4: at most 3, the classes of the test"),
    "crop": (
        ("data.augment={crop: 17, flip: true, brightness: 0, contrast: 0, saturation: 0}",),
        "at most data.size, 16",
    ),
    "data.shots": (("data.shots=5",), "data.ways=3: at most 2, the classes of the test split with at least 8 images"),
    "data.queries": (("data.queries=8",), "data.ways=3: at most 0, the classes of the test split with at least 9 ima"),
    "mean": (
        ("data.normalise={mean: [0.5, 0.5], std: [1]}",),
        "data.normalise.mean=[0.5, 0.5]: should have 1 or 3 numbers",
    ),
    "std": (
        ("data.channels=1", "data.normalise={mean: [0.5], std: [1, 1, 1]}"),
        "data.normalise.std=[1.0, 1.0, 1.0]: should have one number",
    ),
    "std 0": (("data.normalise={mean: [0.5], std: [0]}",), "data.normalise.std=0: should be greater than 0"),
    "size": (("data.size=7",), "data.size=7: should be greater than or equal to 8"),
    "resize": (("data.resize=lanczo",), "data.resize=lanczo: "),
    "fit": (("data.fit=squeeze",), "data.fit=squeeze: "),
    "images": (("data.images=photos",), "data.images=photos: should be null: {root} has no split files"),
    "channels": (("data.channels=4",), "data.channels=4: "),
    "holdout": (("data.holdout={validation: 0.5, test: 0.5}",), "should leave some classes for training"),
    "augment": (
        ("data.augment={crop: 0, flip: true, brightness: 1.5, contrast: 0, saturation: 0}",),
        "data.augment.brightness=1.5",
    ),
}


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("name", FAULTS)
def test_a_setting_that_cannot_be_is_refused_with_its_key(name, birds, cache):
    overrides, expected = FAULTS[name]
    with pytest.raises(ConfigError) as caught:
        source(birds, *overrides)
    assert expected.format(root=birds) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (None, "data.root=null: name the folder of your images: a folder per class, or split files"),
        ("{tmp}/nowhere", "data.root={tmp}/nowhere: no such directory; name the folder of your images"),
        ("{tmp}/file", "data.root={tmp}/file: no such directory; name the folder of your images"),
        ("{tmp}/empty", "{tmp}/empty: holds no images; it should have a folder of images per class, or split files"),
    ],
)
def test_a_root_without_images_is_named(root, expected, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        source(root and root.format(tmp=tmp_path))
    assert str(caught.value) == expected.format(tmp=tmp_path)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(("turned", "bytes_"), [(False, 110 * 3 * 16 * 16), (True, 4 * 110 * 3 * 16 * 16)])
def test_memory_is_checked_before_a_file_is_read(turned, bytes_, birds, cache):
    rotations = ("data.rotations=per_task",) if turned else ()
    made = source(birds, *rotations, f"data.memory={bytes_ / 1e9 * 0.99}")
    with pytest.raises(ConfigError) as caught:
        made.sample("test", 0, 1)
    line = str(caught.value)
    assert line.startswith("data.memory=")
    kind = "RGB in four rotations" if turned else "RGB"
    assert f"110 images of 16x16 {kind} take {bytes_ / 1e9:.3g} GB, in memory and on the device" in line
    assert not cache.exists()
    with pytest.raises(AssertionError, match="was read"):
        source(birds, *rotations, f"data.memory={bytes_ / 1e9 * 1.01}").sample("test", 0, 1)


def test_a_second_source_reads_no_image(birds, request):
    first = source(birds).sample("test", 0, 4)
    request.getfixturevalue("unread")
    assert same(first, source(birds, "data.holdout=null").sample("test", 0, 4))


# ---- names of images, by which results are compared


def named(root: Path, data: str = "images") -> str | None:
    node = image_sets.named(data, ()) | {"root": str(root)}
    made, arguments = component(node, ImageFolder, "data")
    return made.named(**arguments)


def test_images_of_ones_own_are_named_by_splits_classes_and_files_wherever_they_lie(birds, tmp_path):
    first = named(birds)
    assert first == named(shutil.copytree(birds, tmp_path / "copy"))
    changes = [
        ("train/bird 01/0.png", "train/bird 01/first.png"),
        ("train/bird 01", "val/bird 01"),
        ("train/bird 02", "train/robin"),
    ]
    found = {first}
    for number, (before, after) in enumerate(changes, start=1):
        (birds / before).rename(birds / after)
        found.add(named(birds))
        assert len(found) == number + 1


def test_cards_tell_sets_by_content_and_how_images_become_inputs(birds):
    card = source(birds).card()
    assert {key: card[key] for key in ("source", "channels", "resize", "fit", "size", "classes")} == {
        "source": "images", "channels": 3, "resize": "bilinear", "fit": "stretch", "size": 16,
        "classes": {"train": 9, "validation": 3, "test": 3},
    }  # fmt: skip
    assert "normalise" not in card
    changed = source(birds, "data.normalise={mean: [0.5], std: [1]}", *AUGMENT)
    assert changed.card() == {**card, "normalise": {"mean": [0.5], "std": [1.0]}}
    assert changed.training_card()["augment"]["crop"] == 2
    assert "augment" not in source(birds).training_card()
    image_sets.picture(20, 0).save(birds / "test/bird 12/0.png")
    assert source(birds).card()["digest"] != card["digest"]


# ---- published sets


def place(data: str, birds: Path, root: Path) -> Path:
    """The birds, laid out as the comments of a published set's file say."""
    if data == "fc100":
        return shutil.copytree(birds, root)
    images = root / ("data" if data == "cifar_fs" else "images")
    for split in ("train", "val", "test"):
        shutil.copytree(birds / split, images, dirs_exist_ok=True)
    forms = {
        "mini_imagenet": ("{}.csv", ("train", "val", "test")),
        "tiered_imagenet": ("{}.csv", ("train", "val", "test")),
        "cifar_fs": ("splits/bertinetto/{}.txt", ("train", "val", "test")),
        "cub": ("{}.json", ("base", "val", "novel")),
    }
    form, parts = forms[data]
    for part, split in zip(parts, SPLITS, strict=True):
        rows = [(name, path.name) for name in names(split) for path in sorted((images / name).iterdir())]
        if data == "mini_imagenet":
            text = "\n".join(["filename,label", *(f"{name}/{file},{name}" for name, file in rows)])
        elif data == "cub":
            every = [name for part in SPLITS for name in names(part)]
            lists = [f"/far/images/{name}/{file}" for name, file in rows], [every.index(name) for name, _ in rows]
            text = json.dumps({"label_names": every, "image_names": lists[0], "image_labels": lists[1]})
        else:
            text = "\n".join(name + (",bird" if data == "tiered_imagenet" else "") for name in names(split))
        (root / form.format(part)).parent.mkdir(parents=True, exist_ok=True)
        (root / form.format(part)).write_text(text)
    return root


PUBLISHED = {
    "mini_imagenet": ("miniImageNet", 64),
    "cifar_fs": ("CIFAR-FS", 64),
    "fc100": ("FC100", 60),
    "tiered_imagenet": ("tieredImageNet", 351),
    "cub": ("CUB", 100),
}
every_set = pytest.mark.parametrize("data", PUBLISHED)


@every_set
def test_a_published_set_gives_the_same_episodes_in_its_own_layout(data, birds, tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path / "all"))
    name, _ = PUBLISHED[data]
    place(data, birds, tmp_path / "all" / name)
    expected = source(birds)
    made = source(None, *EXPECTED, "data.resize=bilinear", data=data)
    for split in SPLITS:
        assert same(expected.sample(split, 0, 5), made.sample(split, 0, 5))
        assert made.class_names(split) == set(names(split))
    assert made.card() == {**expected.card(), "source": name}


@every_set
def test_the_spec_of_a_published_set_is_known_before_its_files_are_there(data, tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path))
    name, classes = PUBLISHED[data]
    made = source(None, data=data)
    assert made.spec.num_classes == classes
    with pytest.raises(MissingDataError) as caught:
        made.sample("test", 0, 1)
    line = str(caught.value)
    assert line.startswith(f"{name} is not in {tmp_path}/{name} (")
    assert line.endswith("or name another folder with data.root= or METABENCH_DATA")
    with pytest.raises(MissingDataError, match=f"^{name} is not in {tmp_path}/elsewhere .no such folder.: place it"):
        source(tmp_path / "elsewhere", data=data).card()
    assert named(tmp_path, data) is None


COUNTS = {
    "train": ("data.expected.train.classes=10", "the train split of miniImageNet has 10 classes and 66 images; here a"),
    "validation": (
        "data.expected.validation.images=23",
        "the validation split of miniImageNet has 3 classes and 23 im",
    ),
    "test": (
        "data.expected.test={classes: 4, images: null}",
        "the test split of miniImageNet has 4 classes; here are ",
    ),
}


@pytest.mark.usefixtures("unread")
@EVERY
def test_a_published_set_that_is_not_whole_is_refused_with_its_counts(split, birds, tmp_path, cache):
    wrong, expected = COUNTS[split]
    root = place("mini_imagenet", birds, tmp_path / "mini")
    with pytest.raises(DataError) as caught:
        source(root, *EXPECTED, wrong, data="mini_imagenet").sample("test", 0, 1)
    line = str(caught.value)
    assert line.startswith(f"{root}: {expected}")
    assert (
        f"{len(PARTS[split])} classes and {66 if split == 'train' else 22} images: replace it with a complete" in line
    )
    assert not cache.exists()


def test_a_published_set_leaves_no_class_out(birds, tmp_path):
    root = place("mini_imagenet", birds, tmp_path / "mini")
    made = source(root, *EXPECTED, "data.small_classes=skip", "data.shots=4", data="mini_imagenet")
    with pytest.raises(DataError) as caught:
        made.sample("test", 0, 1)
    assert "3 of 9 classes of the train split have fewer than 7 images (shots + queries): bird 00 (6)" in str(
        caught.value
    )
    assert str(caught.value).endswith("; ask for fewer")


# ---- the program


def run(tmp_path: Path, *overrides: str):
    (tmp_path / "work").mkdir(exist_ok=True)
    few = ("train.steps=2", "validate.every=2", "backbone.filters=4", "algo=protonet", "data=images")
    return run_metabench(*TINY, *few, *image_sets.THREE_WAY, *overrides, cwd=tmp_path / "work")


def test_the_program_trains_on_a_folder_and_records_its_content(tmp_path):
    root = write(tmp_path / "birds")
    ended = run(tmp_path, f"data.root={root}", *AUGMENT)
    assert (ended.code, ended.err) == (0, "")
    found = summary(only_run(tmp_path / "work"))
    made = source(root, *AUGMENT)
    shown = found["protocol"]["test"]["data"]
    assert shown == {"name": "ImageFolder", **made.card()}
    assert found["inputs"] == {"data": named(root)}
    assert found["protocol"]["training"]["augment"] == made.training_card()["augment"]
    assert 1 / 3 < found["test"]["mean"] <= 1


@pytest.mark.parametrize("damaged", [False, True])
def test_the_program_says_a_fault_in_one_line(damaged, tmp_path):
    root = tmp_path / "birds"
    if damaged:
        (write(root) / "bird 07/3.gif").write_bytes(b"GIF89a")
    ended = run(tmp_path, f"data.root={root}")
    assert ended.code == (1 if damaged else 2)
    assert ended.err.count("\n") == 1
    expected = (
        f"{root}/bird 07/3.gif: cannot be read as an image" if damaged else f"data.root={root}: no such directory"
    )
    assert expected in ended.err
