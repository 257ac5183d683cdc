"""Shifts of test tasks: each means what it says, and leaves the rest of the home test as it is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from build import composed

from metabench.data.shift import ImageShift, alphabet_members, new_alphabets, widened, within_alphabet
from metabench.errors import ConfigError
from metabench.rng import task_keys
from metabench.training.components import find_components

CPU = torch.device("cpu")
T = 6


def source(*overrides: str, data: str = "glyphs"):
    """A data source of that configuration."""
    make, arguments = find_components(composed(f"data={data}", *overrides))["data"]
    return make(0, CPU, **arguments)


def tasks(*overrides: str, split: str = "test", data: str = "glyphs"):
    return source(*overrides, data=data).sample(split, 0, T)


@pytest.fixture(scope="module")
def home():
    return tasks()


def apply(x, **keys):
    return ImageShift(**keys).images(x, task_keys(0, 0, 0, len(x), CPU), query=False, background=0.0)


@pytest.mark.parametrize("shift", ["stroke=0.5", "rotate=45", "resolution=14", "invert=true", "noise=0.3"])
def test_a_shift_of_images_keeps_the_tasks_and_all_of_training(shift, home):
    found = tasks(f"data.shift.{shift}")
    for part, same in zip(found[:2], home[:2], strict=True):
        assert torch.equal(part.y, same.y)
        assert part.x.shape == same.x.shape
        assert not torch.equal(part.x, same.x)
    assert torch.equal(found.truth["classes"], home.truth["classes"])
    for split in ("train", "validation"):
        assert torch.equal(tasks(f"data.shift.{shift}", split=split).support.x, tasks(split=split).support.x)


def test_a_shift_does_not_depend_on_how_many_tasks_are_sampled_at_once():
    shifted = source("data.shift.noise=0.3", "data.shift.wrong_labels=0.4", "data.shots=3")
    whole, part = shifted.sample("test", 0, T), shifted.sample("test", 2, 3)
    for a, b in zip(whole.tasks(2, 5).tensors(), part.tensors(), strict=True):
        assert torch.equal(a, b)


def test_only_a_shift_in_force_is_on_the_card():
    assert "shift" not in source().card()
    assert source("data.shift.rotate=45").card()["shift"] == {"rotate": 45.0}


@pytest.mark.parametrize("turns", [-1, 1, 2, 3, 4])
def test_rotations_by_right_angles_are_exact(turns, home):
    assert torch.equal(apply(home.query.x, rotate=90 * turns), home.query.x.rot90(turns, (-2, -1)))


def test_rotations_by_parts_add_up(home):
    smooth = F.avg_pool2d(home.query.x.flatten(0, 1), 5, 1, 2).view(home.query.x.shape)
    twice = apply(apply(smooth, rotate=45), rotate=45)
    middle = (..., slice(6, -6), slice(6, -6))
    assert (twice - smooth.rot90(1, (-2, -1)))[middle].abs().max() < 0.1


def test_images_inverted_twice_are_as_before(home):
    assert torch.allclose(apply(apply(home.query.x, invert=True), invert=True), home.query.x, atol=1e-6)


def test_whole_pixels_of_stroke_are_a_maximum_or_minimum_of_neighbours(home):
    x = home.query.x.flatten(0, 1)
    assert torch.allclose(widened(x, 1.0), F.max_pool2d(x, 3, 1, 1))
    assert torch.allclose(widened(x, -1.0), -F.max_pool2d(-x, 3, 1, 1))
    ink = [widened(x, by).sum() for by in (-0.5, -0.25, 0.25, 0.5)]
    assert ink == sorted(ink)
    assert ink[1] < x.sum() < ink[2]


def test_ink_on_bright_paper_is_what_gets_thicker(home):
    keys = task_keys(0, 0, 0, T, CPU)
    dark = ImageShift(stroke=0.5, rotate=30).images(1 - home.query.x, keys, query=True, background=1.0)
    assert torch.allclose(1 - dark, apply(home.query.x, stroke=0.5, rotate=30), atol=1e-6)


def test_a_resolution_makes_blocks_of_the_same_mean(home):
    x = apply(home.query.x, resolution=14)
    blocks = x.unflatten(-2, (14, 2)).unflatten(-1, (14, 2))
    assert torch.equal(blocks, blocks[..., :1, :, :1].expand_as(blocks))
    assert torch.allclose(x.mean((-2, -1)), home.query.x.mean((-2, -1)), atol=1e-6)
    assert torch.equal(apply(home.query.x, resolution=28), home.query.x)


def test_noise_has_its_standard_deviation_and_differs_between_support_and_queries(home):
    found = tasks("data.shift.noise=0.3")
    noise = found.query.x - home.query.x
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert abs(noise.mean().item()) < 0.01
    assert not torch.allclose(found.support.x - home.support.x, noise[:, : home.support.x.shape[1]])


@pytest.mark.parametrize(("ways", "shots"), [(5, 5), (2, 3), (7, 2), (5, 2)])
def test_exactly_the_share_of_support_labels_is_wrong_and_queries_are_untouched(ways, shots):
    size = (f"data.ways={ways}", f"data.shots={shots}")
    right, wrong = tasks(*size), tasks(*size, "data.shift.wrong_labels=0.4")
    assert torch.equal((right.support.y != wrong.support.y).sum(1), torch.full((T,), round(0.4 * ways * shots)))
    assert wrong.support.y.min() >= 0
    assert wrong.support.y.max() < ways
    kept = F.one_hot(right.support.y, ways) * (right.support.y == wrong.support.y).unsqueeze(-1)
    assert kept.sum(1).min() >= 1  # of every class
    assert torch.equal(right.support.x, wrong.support.x)
    for a, b in zip(right.query, wrong.query, strict=True):
        assert torch.equal(a, b)


def test_unbalanced_shots_are_as_many_and_no_query_is_shown():
    size = ("data.shots=5", "data.queries=10")
    even, odd = tasks(*size), tasks(*size, "data.shift.unbalanced=true")
    counts = F.one_hot(odd.support.y, 5).sum(1)
    assert torch.equal(counts.sum(1), torch.full((T,), 25))
    assert counts.min() >= 1
    assert counts.max() <= 9
    assert len(counts.unique()) > 4
    for a, b in zip(even.query, odd.query, strict=True):
        assert torch.equal(a, b)
    for task in range(T):  # every shown image is of the class that its label says, none twice, none a query
        images = {y: odd.query.x[task][odd.query.y[task] == y].flatten(1) for y in range(5)}
        shown = odd.support.x[task].flatten(1)
        assert len(shown.unique(dim=0)) == 25
        assert not any((shown.unsqueeze(1) == queries).all(-1).any() for queries in images.values())
        for y in range(5):
            kept = even.support.x[task][even.support.y[task] == y].flatten(1)
            same = odd.support.x[task][odd.support.y[task] == y].flatten(1)
            assert (kept.unsqueeze(1) == same).all(-1).any()


def test_classes_of_one_alphabet():
    characters = [f"{name}/character{i:02d}" for name, count in (("A", 3), ("B", 6), ("C", 8)) for i in range(count)]
    members = alphabet_members(characters, 4, 5)
    assert members.shape == (8, 4 * 17)
    chosen = within_alphabet(members, task_keys(0, 0, 0, 400, CPU), 5)
    names = [[characters[i % 17][0] for i in row] for row in chosen.tolist()]
    assert all(len(set(row)) == 1 for row in names)
    assert all(len(set(row)) == 5 and len({i // 17 for i in row}) == 1 for row in chosen.tolist())
    assert {row[0] for row in names} == {"B", "C"}
    assert 150 < sum(row[0] == "B" for row in names) < 250
    with pytest.raises(ConfigError, match="at most 8"):
        alphabet_members(characters, 4, 9)


def test_new_alphabets_have_no_trained_character():
    assert new_alphabets(["A/1", "B/1", "C/1"], ["A/2", "D/1"]) == ["B/1", "C/1"]
    with pytest.raises(ConfigError, match="every test alphabet"):
        new_alphabets(["A/1"], ["A/2"])


def test_omniglot_within_one_alphabet_is_of_the_home_test():
    one = source("data.shift.alphabet=one", data="omniglot")
    names = one._characters["test"] * 4
    found = within_alphabet(one._alphabets, task_keys(0, 2, 0, T, CPU), 5)
    assert all(len({names[i].partition("/")[0] for i in row}) == 1 for row in found.tolist())
    new = source("data.shift.alphabet=new", data="omniglot")
    assert len(new._characters["test"]) == 419  # of 423: four of Gurmukhi are not


def test_noise_on_targets_is_of_the_support_alone():
    clean, noisy = (tasks(*more, data="sinusoid") for more in ((), ("data.shift.noise=0.5", "data.shots=10")))
    assert torch.equal(clean.support.x, noisy.support.x)
    assert (noisy.support.y - clean.support.y).std().item() == pytest.approx(0.5, rel=0.3)
    for a, b in zip(clean.query, noisy.query, strict=True):
        assert torch.equal(a, b)


def test_queries_outside_of_where_the_support_lies():
    clean, away = (tasks(*more, data="sinusoid") for more in ((), ("data.shift.query_x=[5,10]",)))
    assert torch.equal(clean.support.x, away.support.x)
    assert torch.equal(clean.support.y, away.support.y)
    assert away.query.x.min() >= 5
    assert torch.allclose(clean.query.x * 0.5 + 7.5, away.query.x)  # the same draws, moved


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.shift.unbalanced=true"], "data.shots=1: with data.shift.unbalanced=true at least 2"),
        (["data.shift.unbalanced=true", "data.shots=5"], "data.queries=15: with data.shift.unbalanced=true at most 14"),
        (["data.shift.wrong_labels=0.4"], "data.shift.wrong_labels=0.4: at most 0 of 5 support labels"),
        (["data.shift.resolution=30"], "data.shift.resolution=30: at most 28"),
        (["data.shift.stroke=0.3"], "data.shift.stroke=0.3: should be a multiple of 0.25"),
        (["data.shift.wrong_labels=1.5"], "data.shift.wrong_labels=1.5: should be less than 1"),
        (["data.shift.alphabet=new"], "data.shift.alphabet=new: training has characters of every test alphabet"),
    ],
)
def test_bad_shifts_are_named(overrides, said):
    with pytest.raises(ConfigError) as fault:
        source(*overrides)
    assert str(fault.value).startswith(said)
