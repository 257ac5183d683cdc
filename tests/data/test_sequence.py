"""Episodes as streams: the same drawings as support and query, string labels, and training drawings that are moved."""

from __future__ import annotations

import math

import pytest
import torch
from build import build, composed, make_source, small
from scipy import stats

from metabench.axis import INSTANCES
from metabench.data.few_shot import FewShotImages
from metabench.data.sequence import moved, strings
from metabench.errors import ConfigError
from metabench.objective import OBJECTIVES
from metabench.rng import task_keys
from metabench.tasks import SPLITS

STILL = ("data.stream.rotation=0", "data.stream.translation=0")


def source(*overrides: str) -> FewShotImages:
    return make_source(composed("algo=lstm", "data=glyphs_sequence", "data.characters=40", *overrides))


@pytest.mark.parametrize("labels", ["one_hot", "strings"])
@pytest.mark.parametrize("split", SPLITS)
def test_a_stream_is_fifty_drawings_of_five_characters_in_random_order(split, labels):
    found = source(f"data.stream.labels={labels}")
    tasks = found.sample(split, 0, 20)
    assert found.spec.setting == "sequence"
    assert tasks.support.x.shape == (20, 50, 1, 20, 20)
    assert torch.equal(tasks.support.x, tasks.query.x)
    assert torch.equal(tasks.support.y, tasks.query.y)
    for y in tasks.support.y:
        assert y.view(50, -1).unique(dim=0, return_counts=True)[1].tolist() == [10] * 5


def test_every_class_is_equally_likely_first_and_last():
    y = source(*STILL).sample("test", 0, 2000).support.y
    for at in (0, 49):
        assert stats.chisquare(y[:, at].bincount(minlength=5)).pvalue > 1e-3


def test_streams_show_the_drawings_of_few_shot_episodes():
    """Ten shots and no queries are drawn as ten shots with queries are."""
    few = make_source(composed("algo=lstm", "data=glyphs", "data.characters=40", "data.size=20", "data.shots=10",
                               "data.queries=1"))  # fmt: skip
    a, b = (s.sample("validation", 3, 4).support for s in (few, source(*STILL)))
    assert a.x.shape == b.x.shape
    assert torch.equal(few.sample("test", 0, 5).truth["classes"], source(*STILL).sample("test", 0, 5).truth["classes"])


def test_strings_of_a_task_differ_and_use_every_symbol_alike():
    keys = task_keys(0, 0, 0, 400, torch.device("cpu"))
    found = strings(keys, 15)
    assert found.shape == (400, 15, 5)
    assert all(len(task.unique(dim=0)) == 15 for task in found)
    for place in range(5):
        assert stats.chisquare(found[:, 0, place].bincount(minlength=5)).pvalue > 1e-3


def test_a_string_is_the_label_of_its_class_throughout_a_stream():
    plain, strung = (source(f"data.stream.labels={labels}").sample("test", 0, 5) for labels in ("one_hot", "strings"))
    assert torch.equal(plain.support.x, strung.support.x)
    for y, words in zip(plain.support.y, strung.support.y, strict=True):
        assert len(torch.cat([y.unsqueeze(1), words], dim=1).unique(dim=0)) == 5


def test_a_string_is_right_only_as_a_whole_and_its_loss_is_that_of_five_characters():
    objective = OBJECTIVES["strings"]
    target = torch.tensor([[[0, 1, 2, 3, 4], [4, 4, 4, 4, 4]]])
    given = objective.encode(target, 25, torch.float64)
    assert given.shape == (1, 2, 25)
    assert given.sum().item() == 10
    assert given.view(1, 2, 5, 5).argmax(-1).equal(target)
    assert objective.metric(given, target).item() == 1
    wrong = given.clone()
    wrong[0, 1, :5] = torch.tensor([1, 0, 0, 0, 0])
    assert objective.metric(wrong, target).item() == 0.5
    flat = torch.zeros(1, 2, 25).double()
    assert objective.loss(flat, target).item() == pytest.approx(5 * math.log(5))


def test_only_training_drawings_are_shaken():
    shaken, still = source(), source(*STILL)
    for split in SPLITS:
        a, b = (s.sample(split, 0, 3).support for s in (shaken, still))
        assert torch.equal(a.y, b.y)
        assert torch.equal(a.x, b.x) == (split != "train")


def test_a_drawing_moves_by_whole_pixels_as_it_should():
    x = torch.zeros(1, 1, 1, 8, 8)
    x[0, 0, 0, 2, 3] = 1
    none = torch.zeros(1, 1)
    found = moved(x, none, none + 2 / 8, none + 1 / 8)  # two to the right, one down
    assert found[0, 0, 0].round(decimals=5).nonzero().tolist() == [[3, 5]]
    torch.testing.assert_close(moved(x, none, none, none), x, rtol=0, atol=1e-5)


def test_a_quarter_turn_is_the_one_of_torch_and_moves_follow_turns():
    x, quarter, none = torch.rand(2, 3, 1, 9, 9), torch.full((2, 3), math.pi / 2), torch.zeros(2, 3)
    turned = x.rot90(-1, (-2, -1))  # clockwise
    torch.testing.assert_close(moved(x, quarter, none, none), turned, rtol=0, atol=1e-5)
    both = moved(x, quarter, none + 1 / 9, none)
    torch.testing.assert_close(both[..., 1:], turned[..., :-1], rtol=0, atol=1e-5)


def test_turns_and_moves_fill_their_ranges():
    """Of a dot in the middle and of one beside it: the first tells the move, both together the angle."""
    x = torch.zeros(1, 4000, 1, 41, 41)
    x[..., 20, 20] = 1
    stream = source().stream
    keys = task_keys(0, 0, 0, 1, torch.device("cpu"))
    from metabench.tasks import Examples

    found = stream.shake(Examples(x, torch.zeros(1, 4000)), keys).x[0, :, 0]
    total = found.sum((1, 2))
    place = torch.arange(41.0)
    right = (found.sum(1) @ place / total - 20) / 41
    down = (found.sum(2) @ place / total - 20) / 41
    for shift in (right, down):
        assert abs(shift.abs().max().item() - 0.095) < 2e-3
        assert stats.kstest(shift.numpy(), stats.uniform(-0.095, 0.19).cdf).pvalue > 1e-3
    assert abs(torch.corrcoef(torch.stack([right, down]))[0, 1]) < 0.06


def test_any_batches_give_the_same_streams():
    found = source("data.stream.labels=strings")
    whole = found.sample("train", 0, 6)
    pieces = [found.sample("train", start, stop - start) for start, stop in ((0, 1), (1, 6))]
    for i in (0, 1):
        torch.testing.assert_close(whole.support[i], torch.cat([piece.support[i] for piece in pieces]))


@pytest.mark.parametrize(
    ("data", "override", "message"),
    [
        ("glyphs_sequence", "data.queries=3", "data.queries=3: 0: in a stream every drawing is a query"),
        ("glyphs", "data.queries=0", "data.queries=0: at least 1"),
        ("glyphs", "data.train.queries=0", "data.train.queries=0: at least 1"),
        ("glyphs_sequence", "data.shots=21", "data.shots=21: with data.queries=0 it takes 21 drawings"),
    ],
)
def test_queries_are_needed_but_in_a_stream(data, override, message):
    with pytest.raises(ConfigError, match=message):
        build(*small("lstm", data), override)


def test_the_protocol_of_a_stream_is_on_the_card():
    card = source("data.stream.labels=strings").card()
    assert card["stream"] == {"ways": 5, "labels": "strings", "rotation": 11.25, "translation": 0.095}
    assert "stream" not in make_source(composed("algo=lstm", "data=glyphs", "data.characters=40")).card()


@pytest.mark.parametrize("labels", ["one_hot", "strings"])
def test_figures_at_each_instance_are_those_of_a_count(labels):
    """Random guesses, and a dictionary that counts how often a label came before."""
    found = source(f"data.stream.labels={labels}", "data.shots=4")
    y = found.sample("test", 0, 6).query.y
    torch.manual_seed(0)
    outputs = torch.randn(6, 20, 5 if labels == "one_hot" else 25).double()
    metric = OBJECTIVES[found.spec.objective].metric
    parts = INSTANCES.parts([outputs], y, 4)
    assert len(parts) == 4
    for task in range(6):
        came: dict[tuple, int] = {}
        scores: dict[int, list[float]] = {}
        for step, label in enumerate(y[task].view(20, -1).tolist()):
            before = came.get(tuple(label), 0)
            came[tuple(label)] = before + 1
            one = (slice(task, task + 1), slice(step, step + 1))
            scores.setdefault(before, []).append(metric(outputs[one], y[one]).item())
        for k, (prediction, target) in enumerate(parts):
            mean = metric(prediction, target)[task].item()
            assert len(scores[k]) == 5
            assert mean == pytest.approx(sum(scores[k]) / 5)
