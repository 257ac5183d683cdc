"""Random draws are uniform, independent, and a pure function of (seed, split, index)."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
import torch
from build import CPU
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from metabench.rng import bits, choose, content_keys, normal, shuffle, task_keys, uniform

seeds = st.integers(0, 2**63 - 1)
MANY = 20_000


def keys(count: int = MANY, seed: int = 0, split: int = 0, index: int = 0) -> torch.Tensor:
    return task_keys(seed, split, index, count, CPU)


def assert_equally_often(rows: torch.Tensor, options: list[tuple[int, ...]]) -> None:
    counts = Counter(map(tuple, rows.tolist()))
    assert counts.keys() == set(options)
    assert stats.chisquare([counts[option] for option in options]).pvalue > 1e-3


def test_bits_are_those_of_splitmix64():
    """The published generator's first outputs from seed 1234567."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [b % 2**64 for b in bits(torch.tensor([1234567]), 0, 5)[0].tolist()] == known


def test_known_draws():
    """Changing any of these changes every episode that was ever published with this program."""
    few = keys(2, seed=3, split=1, index=7)
    assert few.tolist() == [-5336916626426877805, -4960874067460900108]
    assert choose(few, 2, 100, 4).tolist() == [[86, 59, 93, 80], [15, 89, 60, 2]]
    assert shuffle(few, 1, 5).tolist() == [[1, 3, 4, 2, 0], [1, 2, 4, 3, 0]]
    assert uniform(few, 0, 2).tolist() == [
        [0.6718185177451118, 0.8437913807013055],
        [0.043456976292710836, 0.10405884740152604],
    ]


@pytest.mark.parametrize(("n", "k"), [(2, 1), (5, 2), (4, 3), (4, 4)])
def test_every_ordered_choice_is_equally_likely(n, k):
    assert_equally_often(choose(keys(), 0, n, k), list(permutations(range(n), k)))


def test_choices_of_one_key_are_independent_of_each_other():
    assert_equally_often(choose(keys(), 0, 3, 1, 2).flatten(1), [(a, b) for a in range(3) for b in range(3)])


def test_every_order_is_equally_likely():
    assert_equally_often(shuffle(keys(), 0, 4), list(permutations(range(4))))


@given(seeds, st.integers(1, 2000), st.data())
def test_choices_are_distinct_numbers_below_n(seed, n, data):
    k = data.draw(st.integers(1, min(n, 40)))
    chosen = choose(keys(4, seed), 1, n, k, 3)
    assert chosen.shape == (4, 3, k)
    assert chosen.min() >= 0
    assert chosen.max() < n
    assert (chosen.sort(-1).values.diff(dim=-1) > 0).all()


@given(seeds, st.integers(0, 2), st.integers(0, 10**9), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_any_batches_give_the_same_draws(seed, split, index, sizes):
    def draws(start: int, count: int) -> list[torch.Tensor]:
        found = keys(count, seed, split, start)
        return [choose(found, 0, 30, 4, 2), uniform(found, 1, 3), shuffle(found, 2, 6)]

    starts = [index + sum(sizes[:i]) for i in range(len(sizes))]
    pieces = zip(*(draws(*piece) for piece in zip(starts, sizes, strict=True)), strict=True)
    for whole, piece in zip(draws(index, sum(sizes)), pieces, strict=True):
        assert torch.equal(whole, torch.cat(piece))


def test_uniform_numbers_are_uniform():
    u = uniform(keys(), 0, 5).flatten()
    assert u.dtype == torch.float64
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u.numpy(), "uniform").pvalue > 1e-3
    assert torch.equal(u * 2**53, (u * 2**53).round())


def test_seeds_splits_streams_positions_and_tasks_are_uncorrelated():
    first = uniform(keys(), 0, 2)
    others = {
        "position": first[:, 1],
        "seed": uniform(keys(seed=1), 0, 1)[:, 0],
        "split": uniform(keys(split=1), 0, 1)[:, 0],
        "stream": uniform(keys(), 1, 1)[:, 0],
        "next task": uniform(keys(index=1), 0, 1)[:, 0],
    }
    for name, other in others.items():
        assert abs(torch.corrcoef(torch.stack([first[:, 0], other]))[0, 1]) < 4 / MANY**0.5, name


@given(seeds, seeds)
def test_different_seeds_and_splits_share_no_key(a, b):
    families = {(seed, split) for seed in (a, b) for split in range(3)}
    found = [key for seed, split in families for key in keys(20, seed, split).tolist()]
    assert len(set(found)) == len(found)


def test_keys_of_examples_know_neither_their_place_nor_their_last_bits_but_everything_else():
    torch.manual_seed(0)
    x = torch.randint(0, 256, (50, 6, 1, 5, 5)) / 255
    keys = content_keys(x)
    assert keys.shape == (50, 6)
    assert len(keys.unique()) == 300
    for same in (x * (1 + 1e-6), x.double(), x.flip(1).flip(1)):
        assert torch.equal(content_keys(same), keys)
    for other in (1 - x, x.transpose(3, 4), x.flip(4)):
        assert (content_keys(other) != keys).all()
    assert torch.equal(content_keys(x[7:9].flip(1)), keys[7:9].flip(1))


def test_normal_numbers_are_normal_and_each_task_s_own():
    given = keys(400)
    found = normal(given, 0, 50)
    assert found.dtype == torch.float32
    assert stats.kstest(found.double().flatten().numpy(), "norm").pvalue > 1e-3
    assert torch.equal(normal(given[7:9], 0, 50), found[7:9])
    assert not torch.isclose(normal(given, 1, 50), found).any(1).all()
