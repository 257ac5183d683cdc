"""Networks that read a task as a sequence: what a prediction may see, and which label comes with it."""

from __future__ import annotations

import pytest
import test_contract as contract
import torch
import torch.nn.functional as F
from build import ALGOS, build, class_of, composed, make_source, small

from metabench.algo.recurrent import Recurrent
from metabench.errors import ConfigError
from metabench.tasks import Examples

STREAM = "glyphs_sequence"
BRIEF = (STREAM, "data.shots=1", "data.train.shots=1")
READERS = [algo for algo in ALGOS if "sequence" in class_of(algo).settings]
every = pytest.mark.parametrize("algo", READERS)


def double(algo: str, data: str = STREAM, *overrides: str):
    return build(*small(algo, data, *overrides), dtype=torch.float64)


@every
@pytest.mark.parametrize(
    "promise",
    [
        contract.test_the_loss_is_finite_and_moves_every_parameter,
        contract.test_tasks_do_not_touch_each_other,
        contract.test_gradient_and_buffers_are_the_same_for_every_chunk,
        contract.test_evaluation_changes_nothing,
        contract.test_a_saved_model_evaluates_and_trains_on_bit_for_bit,
        contract.test_query_labels_never_reach_a_prediction,
    ],
    ids=lambda test: test.__name__.removeprefix("test_"),
)
def test_the_contract_holds_for_streams(algo, promise):
    promise((algo, *BRIEF))


@every
def test_a_prediction_sees_the_drawings_so_far_and_the_labels_before(algo):
    setup = double(algo)
    setup.algo.eval()
    x, y = setup.tasks("test").support
    length, step = y.shape[1], 4
    other_label, other_x = y.clone(), x.clone()
    other_label[:, step] = (y[:, step] + 1) % 4
    other_x[:, step] = x[:, step].flip(-1) + 0.1
    with torch.no_grad():
        plain = setup.algo.solve(Examples(x, y), x)
        relabelled = setup.algo.solve(Examples(x, other_label), x)
        redrawn = setup.algo.solve(Examples(other_x, y), other_x)
    assert plain.shape == (3, length, 4)
    assert torch.equal(relabelled[:, : step + 1], plain[:, : step + 1])
    assert (relabelled[:, step + 1 :] != plain[:, step + 1 :]).any(-1).all()
    torch.testing.assert_close(redrawn[:, :step], plain[:, :step], rtol=1e-12, atol=1e-12)
    assert (redrawn[:, step:] != plain[:, step:]).any(-1).all()


@every
@pytest.mark.parametrize("data", ["glyphs", "sinusoid"])
def test_an_example_comes_with_its_own_label_and_a_query_with_none(algo, data):
    setup = double(algo, data)
    model = setup.algo.eval()
    support, query = setup.tasks("test")[:2]
    with torch.no_grad():
        found = model.solve(support, query.x)
        z, y = model.backbone(support.x), support.y
        labelled = torch.cat([z, y if y.is_floating_point() else F.one_hot(y, 4).to(z)], dim=-1)
        for j in range(query.x.shape[1]):
            step = model.backbone(query.x[:, j : j + 1])
            step = torch.cat([step, torch.zeros_like(labelled[:, :1, step.shape[-1] :])], dim=-1)
            expected = model.readout(model.core(torch.cat([labelled, step], dim=1))[1])[:, -1]
            torch.testing.assert_close(found[:, j], expected, rtol=1e-10, atol=1e-10)


@every
def test_strings_are_read_and_answered_character_by_character(algo):
    setup = double(algo, STREAM, "data.stream.labels=strings")
    losses = setup.train(2)
    assert all(loss.shape == (3,) and loss.isfinite().all() for loss in losses)
    assert abs(losses[0].mean().item() - 5 * torch.tensor(5.0).log().item()) < 0.5  # five characters, one of five each
    setup.algo.eval()
    tasks = setup.tasks("test")
    assert setup.algo.solve(tasks.support, tasks.query.x).shape == (3, 12, 25)
    assert setup.algo.evaluate(tasks)["accuracy"].shape == (3, 3)


@pytest.mark.slow
def test_who_needs_a_support_set_refuses_a_stream():
    for algo in set(ALGOS) - set(READERS):
        with pytest.raises(ConfigError, match="needs a support set, which sequences lack"):
            build(*small(algo, STREAM))


@every
def test_what_a_stream_or_a_network_of_one_size_cannot_be_is_refused(algo):
    with pytest.raises(
        ConfigError, match=r"backbone.statistics=batch: leaks later time steps into earlier ones; use running"
    ):
        build(*small(algo, STREAM, "backbone.statistics=batch"))
    with pytest.raises(ConfigError, match=r"data.train.ways=3: should be data.ways, 4"):
        build(*small(algo, "glyphs", "data.train.ways=3"))


@every
def test_the_state_of_a_core_has_its_tasks_first(algo):
    core = build(*small(algo, STREAM)).algo.core
    assert isinstance(build(*small(algo, STREAM)).algo, Recurrent)
    assert all(kept.shape[0] == 7 for kept in core.start(7))
    memory, features = core(torch.randn(7, 2, core.given.in_features))
    assert all(kept.shape[0] == 7 for kept in memory)
    assert features.shape == (7, 2, core.features)


def test_the_images_of_a_task_are_embedded_in_one_pass(monkeypatch):
    for data in ("glyphs", STREAM):
        setup, calls = double("lstm", data), []
        forward = setup.algo.backbone.forward
        monkeypatch.setattr(setup.algo.backbone, "forward", lambda x, of=forward, calls=calls: calls.append(1) or of(x))
        setup.algo(setup.tasks())
        assert len(calls) == 1


def test_streams_of_different_lengths_fit_one_network():
    """Trained on three drawings of a class, read on seven."""
    setup = double("mann")
    longer = make_source(composed(*small("mann", STREAM, "data.shots=7", "data.train.shots=3")))
    tasks = longer.sample("test", 0, 2).to(torch.float64)
    assert setup.algo.eval().solve(tasks.support, tasks.query.x).shape == (2, 28, 4)
