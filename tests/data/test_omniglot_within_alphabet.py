"""The published one-shot runs: what they are, that they are read right, and that tests are exactly them."""

from __future__ import annotations

import importlib.util

import fake_omniglot as fake
import numpy as np
import pytest
import torch
from build import CPU, composed, make_source
from paths import ROOT
from real_data import needs_omniglot, omniglot_root
from scipy.spatial.distance import cdist

from metabench.data import omniglot
from metabench.data.few_shot import Shape
from metabench.data.images import raw
from metabench.data.images.bank import ImageBank
from metabench.data.images.splits import read_split
from metabench.data.omniglot_within_alphabet import OmniglotWithinAlphabet, read_runs
from metabench.errors import ConfigError, DataError

NAMES = sorted(name for part in read_split("lake").values() for name in part)
TRAIN = {"ways": 5, "shots": 1, "queries": 2}


def bank() -> ImageBank:
    """Every drawing says in its first row who it is."""
    images = torch.zeros(len(NAMES), 20, 8, 8, dtype=torch.uint8)
    number = torch.arange(len(NAMES))
    images[..., 0, 0] = 255
    images[..., 0, 1], images[..., 0, 2] = (number // 200)[:, None], (number % 200)[:, None]
    images[..., 0, 3] = torch.arange(1, 21)
    return ImageBank(images, NAMES, "0" * 64)


@pytest.fixture
def source(monkeypatch) -> OmniglotWithinAlphabet:
    monkeypatch.setattr(omniglot, "load_omniglot", lambda *_, **__: bank())
    return OmniglotWithinAlphabet(
        0, CPU, ways=20, shots=1, queries=1, train=Shape(**TRAIN), rotations="classes_train", size=8, resize="nearest",
        invert=True, root=None, download=False, eval_seed=0,
    )  # fmt: skip


def shown(x: torch.Tensor) -> list[list[tuple[str, int]]]:
    row = (x[..., 0, 0, :] * 255).round().long()
    assert (row[..., 0] == 255).all()
    return [[(NAMES[200 * a + b], d) for _, a, b, d, *_ in task.tolist()] for task in row]


def test_a_run_is_twenty_characters_of_one_evaluation_alphabet_by_two_drawers():
    runs, evaluation = read_runs(), set(read_split("lake")["test"])
    assert [len(run) for run in runs] == [20] * 20
    alphabets = []
    for run in runs:
        names = [pair.character for pair in run]
        assert len(set(names)) == 20
        assert set(names) <= evaluation
        (alphabet,) = {name.split("/")[0] for name in names}
        alphabets.append(alphabet)
        ((one, other),) = {(pair.shown, pair.asked) for pair in run}
        assert one != other
    assert len(set(alphabets)) == 10
    assert alphabets[::2] == alphabets[1::2]


def test_test_tasks_are_the_runs(source):
    tasks = source.sample("test", 0, 20)
    support, query = shown(tasks.support.x), shown(tasks.query.x)
    for t, run in enumerate(read_runs()):
        assert sorted(support[t]) == sorted((pair.character, pair.shown) for pair in run)
        assert sorted(query[t]) == sorted((pair.character, pair.asked) for pair in run)
        label = dict(zip([name for name, _ in support[t]], tasks.support.y[t].tolist(), strict=True))
        assert tasks.query.y[t].tolist() == [label[name] for name, _ in query[t]]
        assert sorted(label.values()) == list(range(20))
    part = source.sample("test", 7, 2)
    assert torch.equal(part.support.x, tasks.support.x[7:9])
    assert torch.equal(part.query.y, tasks.query.y[7:9])


def test_places_and_labels_give_nothing_away(source):
    tasks = source.sample("test", 0, 20)
    asked = shown(tasks.query.x)
    assert len({tuple(name.split("/")[1] for name, _ in task) for task in asked}) > 15
    assert len({tuple(labels) for labels in tasks.query.y.tolist()}) == 20
    assert len({tuple(labels) for labels in tasks.support.y.tolist()}) == 20


def test_there_are_twenty_and_no_more(source):
    assert source.test_episodes(1000) == 20
    assert source.test_episodes(3) == 3
    with pytest.raises(ValueError, match="20 test tasks, not 21"):
        source.sample("test", 15, 6)


def test_only_the_background_set_is_learned_from(source):
    lake = read_split("lake")
    for split in ("train", "validation"):
        names = {name for task in shown(turned_back(source.sample(split, 0, 200).query.x)) for name, _ in task}
        assert names <= set(lake[split])
    assert source.spec.num_classes == 4 * 792


def turned_back(x: torch.Tensor) -> torch.Tensor:
    turns = torch.stack([x.rot90(-turn, (-2, -1)) for turn in range(4)])
    upright = (turns[..., 0, 0, :4].sum(-1) > 1).long().argmax(0)
    return turns.gather(0, upright[None, ..., None, None, None].expand(1, *x.shape))[0]


def test_the_card_names_the_runs(source):
    card = source.card()
    assert card["source"] == "omniglot_within_alphabet"
    assert card["runs"] == 20
    assert card["classes"] == {"train": 4 * 792, "validation": 172}


@pytest.mark.parametrize("option", ["data.ways=5", "data.shots=5", "data.queries=2"])
def test_the_runs_have_one_size(option):
    with pytest.raises(ConfigError, match=f"^{option}: "):
        make_source(composed("algo=protonet", "data=omniglot_within_alphabet", option))


# ---- the list and the archive that it was read from


def script():
    spec = importlib.util.spec_from_file_location("make_runs", ROOT / "scripts" / "make_runs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LABELS = "run01/test/item01.png run01/training/class01.png\n"


@pytest.fixture
def small(monkeypatch, tmp_path):
    """One run of one way of the three-character Omniglot: the files of its archive, and what writes and reads it."""
    fake.install(monkeypatch, tmp_path)
    module = script()
    monkeypatch.setattr(module, "COUNT", 1)
    monkeypatch.setattr(module, "WAYS", 1)
    root = fake.write(tmp_path / "data")
    drawn = [data for name, data in fake.drawings(1).items() if name.endswith(("_03.png", "_11.png"))]
    pictures = dict(zip(("run01/training/class01.png", "run01/test/item01.png"), drawn, strict=True))
    files = {"run01/class_labels.txt": LABELS.encode(), **pictures}

    def run(changed: dict[str, bytes | None], folder: bool = False) -> str:
        chosen = {name: data for name, data in {**files, **changed}.items() if data is not None}
        if folder:
            fake.write_tree(root / "all_runs", chosen)
        else:
            fake.write_zip(root / "all_runs.zip", chosen)
        return module.runs(root)

    return run


@pytest.mark.parametrize("folder", [False, True])
def test_runs_are_found_among_the_drawings(small, folder):
    lines = [line for line in small({}, folder).splitlines() if not line.startswith("#")]
    assert lines == ["run01 Alto/character01 03 11"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"run01/test/item01.png": None}, "has no run01/test/item01.png"),
        ({"run01/class_labels.txt": None}, "has no run01/class_labels.txt"),
        ({"run01/test/item01.png": fake.png(77)}, "item01.png is no drawing of"),
        ({"run01/test/item01.png": b"hello"}, "is not a PNG"),
        ({"run01/test/item01.png": fake.png(size=(20, 20))}, "20x20 pixels"),
        ({"run01/class_labels.txt": b""}, "does not pair 1 test and training"),
        ({"run01/class_labels.txt": 2 * LABELS.encode()}, "does not pair 1 test and training"),
        ({"run01/class_labels.txt": b"../../etc/passwd run01/training/class01.png\n"}, "does not pair 1 test and"),
    ],
)
def test_what_is_wrong_with_runs_is_said(small, changed, said):
    with pytest.raises(DataError, match="all_runs") as caught:
        small(changed)
    assert said in str(caught.value)


@pytest.fixture(scope="module")
def drawings() -> dict[str, np.ndarray]:
    _, evaluation = raw.parts()
    return dict(raw.read_part(evaluation, raw.locate(evaluation, omniglot_root())))


@needs_omniglot
def test_the_list_is_what_the_published_archive_says():
    if raw.locate(raw.Part("all_runs", "", []), omniglot_root()) is None:
        pytest.skip("all_runs.zip is not there")
    module = script()
    assert module.runs(omniglot_root()) == module.RUNS.read_text(encoding="utf-8")


@needs_omniglot
def test_pixels_at_full_size_err_as_is_known(drawings):
    """Cosine 78.25% and L2 81.0% of 400 trials: deterministic, for no query is asked how it is ordered."""
    errors = {"cosine": 0, "euclidean": 0}
    for run in read_runs():
        support, query = (
            np.stack([1.0 - drawings[p.character][number(p) - 1].ravel() / 255 for p in run])
            for number in (lambda p: p.shown, lambda p: p.asked)
        )
        for metric in errors:
            errors[metric] += int((cdist(query, support, metric).argmin(1) != np.arange(20)).sum())
    assert errors == {"cosine": 313, "euclidean": 324}
