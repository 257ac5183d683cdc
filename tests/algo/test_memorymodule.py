"""The memory module: what a look-up finds, what is written where, and that a memory outlives tasks."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from build import Setup, build, small
from references import identity
from scipy.stats import binom
from torch import Tensor, nn

from metabench.algo.memorymodule import MemoryModule, Rows, find, nearer, search
from metabench.errors import ConfigError
from metabench.tasks import Episode, Examples, Tasks, TaskSpec

MARGIN = 0.1


def module(size: int = 12, classes: int = 9, features: int = 3, neighbours: int = 12) -> MemoryModule:
    """On unit vectors as they are."""
    spec = TaskSpec((features,), "cross_entropy", Episode(3, 2, 2), Episode(3, 2, 2), num_classes=classes)
    values = {"memory_size": size, "key_size": features, "neighbours": neighbours, "margin": MARGIN}
    algo = MemoryModule(spec, identity(features), **values).double()
    with torch.no_grad():
        algo.project.weight.copy_(torch.eye(features))
        algo.project.bias.zero_()
    algo.norm = nn.Identity()
    return algo


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double(), dim=-1)


def tasks(count: int = 2, ways: int = 3, shots: int = 2, seed: int = 0, classes: int = 9) -> Tasks:
    """Of random points; each task has classes of its own among `classes`."""
    y = torch.arange(ways).repeat(shots).expand(count, -1)
    numbers = torch.arange(count * ways).view(count, ways) % classes
    x, query = unit(count, ways * shots, 3, seed=seed), unit(count, ways * shots, 3, seed=seed + 1)
    return Tasks(Examples(x, y), Examples(query, y.flip(1)), {"classes": numbers})


class Reference:
    """The paper's memory, a row and an example at a time; what tasks see stays as it was before a meta-step."""

    def __init__(self, size: int, features: int) -> None:
        self.key = [torch.zeros(features).double() for _ in range(size)]
        self.value, self.age = [-1] * size, [0] * size

    def meta_step(self, given: Tasks) -> list[float]:
        """The loss of each task; all is written at the end."""
        losses, merges, new = [], [[] for _ in self.key], []
        for t in range(len(given)):
            number = given.truth["classes"][t].tolist()
            own, total = [], []
            support = list(zip(given.support.x[t], given.support.y[t].tolist(), strict=True))
            query = list(zip(given.query.x[t], given.query.y[t].tolist(), strict=True))
            later = []
            for place, (q, label) in enumerate([*support, *query]):
                v = number[label]
                rows = [(float(q @ row.key), row.value, row.key, row) for row in own]
                rows += [(float(q @ key), self.value[i], key, i) for i, key in enumerate(self.key)]
                right = max((row[0] for row in rows if row[1] == v), default=None)
                wrong = max((row[0] for row in rows if row[1] not in (v, -1)), default=0.0)
                total.append(0.0 if right is None else max(0.0, wrong - right + MARGIN))
                best = max(rows, key=lambda row: row[0])
                hit = best[1] == v
                if hit and isinstance(best[3], int):
                    merges[best[3]].append(q)
                elif hit and place < len(support):
                    best[3].key = F.normalize(q + best[3].key, dim=0)
                elif hit:
                    later.append((best[3], q))
                elif place < len(support):
                    own.append(SimpleNamespace(key=q, value=v))
                else:
                    later.append((None, SimpleNamespace(key=q, value=v)))
            for row, q in later:
                if row is not None:
                    row.sum = getattr(row, "sum", row.key) + q
            for row in own:
                row.key = F.normalize(getattr(row, "sum", row.key), dim=0)
            losses.append(sum(total) / len(total))
            new.append((own, [q for row, q in later if row is None]))
        for i, added in enumerate(merges):
            self.key[i] = F.normalize(self.key[i] + sum(added), dim=0) if added else self.key[i]
            self.age[i] = 0 if added else self.age[i] + 1
        places = sorted(range(len(self.age)), key=lambda i: -self.age[i])
        for i, row in zip(places, [row for own, others in new for row in (*own, *others)], strict=False):
            self.key[i], self.value[i], self.age[i] = row.key, row.value, 0
        return losses


def content(keys: Tensor, values: Tensor, ages: Tensor) -> set[tuple[object, ...]]:
    """Rows in no order."""
    return {
        (*(round(n, 9) + 0.0 for n in key), value, age)
        for key, value, age in zip(keys.tolist(), values.tolist(), ages.tolist(), strict=True)
    }


@pytest.mark.parametrize("size", [60, 16])
def test_meta_steps_are_the_paper_s_memory_row_by_row(size):
    """Losses and what is left, over four meta-steps of tasks whose classes come again."""
    algo, reference = module(size, neighbours=size), Reference(size, 3)
    for step in range(4):
        given = tasks(seed=2 * step)
        loss, metrics = algo(given)
        expected = reference.meta_step(given)
        torch.testing.assert_close(metrics["loss"], torch.tensor(expected).double())
        torch.testing.assert_close(loss.item(), sum(expected) / len(expected))
        found = content(algo.keys, algo.values, algo.ages)
        stacked = torch.stack(reference.key), torch.tensor(reference.value), torch.tensor(reference.age)
        assert found == content(*stacked)


@pytest.mark.parametrize("block", [1, 3, 7, 100])
def test_a_search_in_blocks_is_that_of_all_rows(block):
    keys, q = unit(20, 5), unit(4, 5, seed=1)
    expected = (q @ keys.mT).sort(dim=1, descending=True)
    cosine, row = search(keys, q, 6, block)
    torch.testing.assert_close(cosine, expected.values[:, :6])
    assert torch.equal(row, expected.indices[:, :6])


def test_the_gradient_turns_a_query_to_its_key_and_from_the_other_and_reaches_no_key():
    algo = module()
    with torch.no_grad():
        algo.keys[:2] = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
        algo.values[:2] = torch.tensor([4, 5])
    q = F.normalize(torch.tensor([[[1.0, 0.95, 0.5]]]).double(), dim=-1).requires_grad_()
    there = algo.look_up(q.detach(), torch.tensor([[4]]))
    torch.testing.assert_close(there.right_key[0, 0], algo.keys[0])
    torch.testing.assert_close(there.wrong_key[0, 0], algo.keys[1])
    loss = F.relu((q * (there.wrong_key - there.right_key)).sum(-1) + MARGIN)
    assert torch.equal(torch.autograd.grad(loss.sum(), q)[0][0, 0], algo.keys[1] - algo.keys[0])
    assert not there.right_key.requires_grad


def test_beyond_its_neighbours_a_look_up_knows_the_row_last_written_for_the_class():
    algo = module(neighbours=1)
    algo.replace(torch.eye(3).double()[None], torch.tensor([[4, 5, 6]]), torch.tensor([[True, True, True]]))
    q = torch.eye(3).double()[None, :1]  # whose nearest row is that of class 4
    torch.testing.assert_close(algo.look_up(q, torch.tensor([[6]])).right_key, torch.eye(3).double()[None, 2:])
    assert not algo.look_up(q, torch.tensor([[7]])).right_key.any()
    algo.values.fill_(1)  # the rows have been written over since
    assert not algo.look_up(q, torch.tensor([[6]])).right_key.any()


def test_the_nearer_of_two_keys_where_one_is_none():
    q, key, none = unit(5, 3), -unit(5, 3), torch.zeros(5, 3).double()  # a cosine of -1
    for a, b in ((key, none), (none, key), (key, key)):
        assert torch.equal(nearer(q, a, b), key)
    assert not nearer(q, none, none).any()


def test_a_class_that_the_memory_knows_is_answered_by_its_row():
    """Its support example goes into that row, and makes none of its own."""
    algo, given = module(), tasks(count=1, shots=1)
    algo.replace(given.support.x, given.truth["classes"], torch.ones(1, 3, dtype=torch.bool))
    same = Tasks(given.support, given.support, given.truth)
    assert algo(same)[1]["accuracy"].item() == 1
    assert sorted(algo.values.tolist())[-4:] == [-1, 0, 1, 2]


def test_new_rows_take_the_oldest_places_and_no_more_than_there_are():
    algo = module(size=4)
    algo.ages.copy_(torch.tensor([1, 7, 0, 5]))
    numbers, chosen = torch.tensor([[1, 2, 3]]), torch.tensor([[True, False, True]])
    algo.replace(torch.eye(3).double()[None], numbers, chosen)
    assert algo.values.tolist() == [-1, 1, -1, 3]
    assert algo.ages.tolist() == [1, 0, 0, 0]
    many = unit(2, 5, 3)
    algo.replace(many, torch.arange(10).view(2, 5) % 9, torch.ones(2, 5, dtype=torch.bool))
    assert sorted(algo.values.tolist()) == [0, 1, 2, 3]


def test_examples_of_a_class_that_is_found_become_one_row_their_running_mean():
    algo = module()
    x = F.normalize(torch.tensor([[[1.0, 0, 0], [0, 1, 0], [1, 0.2, 0], [0, 1, 0.1]]]).double(), dim=-1)
    rows = algo.adapt(Examples(x, torch.tensor([[0, 1, 0, 1]])))
    assert rows.written.tolist() == [[True, True, False, False]]
    expected = F.normalize(x[:, :2] + x[:, 2:], dim=-1)
    torch.testing.assert_close(rows.keys[:, :2], expected)


def test_an_example_that_a_lasting_row_is_nearer_to_makes_a_row_of_its_own():
    algo = module()
    x = F.normalize(torch.tensor([[[1.0, 0, 0], [1, 1, 0]]]).double(), dim=-1)
    y = torch.tensor([[0, 0]])
    assert algo.adapt(Examples(x, y)).written.tolist() == [[True, False]]
    algo.keys[0] = F.normalize(torch.tensor([0.5, 1.0, 0]).double(), dim=0)
    algo.values[0] = 3
    assert algo.adapt(Examples(x, y)).written.tolist() == [[True, True]]


def test_logits_are_the_sharpened_cosines_of_the_nearest_row_of_each_class():
    algo, keys, q = module(), unit(1, 3, 3), unit(1, 4, 3, seed=1)
    rows = Rows(keys, torch.tensor([[0, 1, 0]]), torch.tensor([[True, True, False]]))
    algo.eval()
    found = algo.logits(rows, q)
    cosines = q @ keys.mT
    torch.testing.assert_close(found[..., :2], algo.temperature * cosines[..., :2])
    assert (found[..., 2] == -torch.inf).all()
    assert find(q, torch.zeros(1, 4, dtype=torch.long), rows).row.max() < 2


def trained(steps: int, *options: str) -> Setup:
    setup = build(*small("memorymodule", "glyphs"), *options, dtype=torch.float64)
    setup.train(steps)
    return setup


def test_a_memory_of_past_tasks_moves_the_loss_of_new_ones():
    setup = trained(5)
    forgetful = copy.deepcopy(setup.algo)
    forgetful.keys.zero_()
    forgetful.values.fill_(-1)
    given = setup.tasks(index=15)
    a, b = (algo(given)[1]["loss"] for algo in (setup.algo, forgetful))
    assert not torch.isclose(a, b).any()


def test_a_new_image_of_a_class_of_past_tasks_is_recognised_without_a_support_set():
    """Far more often than by chance, among all training classes."""
    setup = build(*small("memorymodule", "glyphs"), "algo.memory_size=512")
    setup.train(60)
    algo, given = setup.algo.eval(), setup.tasks(index=10_000, count=50)
    with torch.no_grad():
        q = algo.queries(algo.backbone(given.query.x))
        right = algo.look_up(q, given.truth["classes"].gather(1, given.query.y)).right
    assert right.sum() > binom.isf(1e-6, right.numel(), 1 / setup.source.spec.num_classes)


def test_the_company_of_a_task_changes_neither_its_loss_nor_its_gradient():
    setup = trained(5, "backbone.statistics=running")
    given = setup.tasks(index=15)
    together = copy.deepcopy(setup.algo)(given)[1]
    for t in range(3):
        alone = copy.deepcopy(setup.algo)(given.tasks(t, t + 1))[1]
        for name, value in together.items():
            torch.testing.assert_close(alone[name], value[t : t + 1])


def test_its_memory_is_of_all_tasks_at_once_and_it_says_so():
    setup = trained(1)
    assert setup.algo.coupled.startswith("algo=memorymodule")
    assert setup.plan.chunk == setup.config.train.tasks


def test_keys_keep_apart_that_share_all_but_a_little():
    """Features behind a ReLU point nearly one way; the keys that training compares do not."""
    setup = trained(1)
    z = 10 + torch.randn(2, 30, setup.algo.backbone.feature_size).double()
    q = setup.algo.train().queries(z).flatten(0, 1)
    assert (q @ q.mT).mean().abs() < 0.1


def test_data_without_numbered_classes_are_refused():
    with pytest.raises(ConfigError, match="numbers its training classes"):
        module(classes=0)
