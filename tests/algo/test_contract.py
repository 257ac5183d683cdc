"""What every algorithm of conf/algo promises, on every kind of data that it accepts.

A new algorithm is tested here by having a YAML file; nothing is to be added.
"""

from __future__ import annotations

import copy
import inspect
import io
from dataclasses import replace
from functools import partial

import pytest
import torch
from build import ALGOS, DATA, ONLINE, Setup, accepts, build, class_of, needs_stream, small
from cases import CASES, NOT_TRAINED, over
from scipy.stats import binom
from torch import Tensor

from metabench.algo.base import Algorithm
from metabench.algo.recurrent import Recurrent
from metabench.backbone.base import batch_norms
from metabench.engine.cost import saved_bytes
from metabench.errors import UnreadTasksError
from metabench.evaluation.evaluate import evaluate
from metabench.tasks import Examples, Tasks

POSTERIOR = {"np", "anp"}  # in training the latent variable is inferred from the targets, as the bound wants it
TOLD = {"toe"}  # beside its labels, which of all classes a task has
NOT_A_GRADIENT = {  # of the value that `forward` returns
    "alfa": "takes the gradients that its generator reads for constants",
    "dagan": "sums the losses of players that take each other for constants",
    "dnc": "takes write weights for constants in the usage",
    "fomaml": "takes inner gradients for constants",
    "reptile": "takes the adapted weights for constants",
    "mtnet": "passes the gradient of a mask straight through that of a relaxed one",
    "imaml": "takes the end of the inner loop for the inner problem's solution",
    "metalstm": "takes what its gates read for constants, or inner gradients too",
    "learnedupdate": "takes what its rule reads for constants",
    "memorymodule": "takes keys for constants",
}
# Only training teaches them what labels mean.
AMORTISED = {"snail", "hypernet", "csn", "cnp", "np", "anp", "tnp", "gnn", "relationnet"}
OF_QUERY_SETS = {  # what training leaves is made by query labels too
    "statistician": "running statistics of sets",
    "memorymodule": "rows",
}
DRAWN = {"baseline", "baselinepp"}  # from a random head, above which a few steps are seen at a greater rate alone


def labels_are_inputs(case: tuple[str, ...]) -> bool:
    """Labels go into layers that tell them apart: tests of the method itself permute those layers too."""
    return case[0] in {"snail", "csn", "cnp", "np", "anp", "tnp", "gnn"} or "algo.generates=weights" in case


every = over(CASES)
trained = over([c for c in CASES if c[0] not in NOT_TRAINED])
IMAGES = [case for case in CASES if case[1].startswith("glyphs")]
classifying = over([c for c in IMAGES if c[0] not in TOLD])


def double(case: tuple[str, ...], *overrides: str) -> Setup:
    return build(*small(*case, *overrides), dtype=torch.float64)


def same(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


@pytest.mark.slow  # a build each
@pytest.mark.parametrize("algo", ALGOS)
def test_what_can_be_built_is_what_the_classes_say(algo):
    for data in ONLINE if needs_stream(algo) else DATA:
        if accepts(algo, data):
            build(*small(algo, data))
        else:
            with pytest.raises(UnreadTasksError):
                build(*small(algo, data))


@trained
def test_the_loss_is_finite_and_moves_every_parameter(case):
    setup = double(case)
    setup.train(1)  # a layer that starts at zero hides those before it
    setup.algo.zero_grad()
    loss, metrics = setup.algo(setup.tasks())
    assert loss.shape == ()
    assert loss.isfinite()
    assert all(value.shape == (3,) and not value.requires_grad for value in metrics.values())
    loss.backward()
    names = {name for name, p in setup.algo.named_parameters() if p.requires_grad}
    assert setup.gradients().keys() == names
    assert all(g.isfinite().all() and g.any() for g in setup.gradients().values())


@over([c for c in CASES if c[0] not in NOT_TRAINED | NOT_A_GRADIENT.keys()])
def test_the_gradient_is_that_of_the_returned_value(case):
    setup = double(case)
    tasks, buffers = setup.tasks(), copied(dict(setup.algo.named_buffers()))
    setup.algo(tasks)[0].backward()
    step = 1e-8  # inner gradients jump at the kinks of ReLU and max-pooling: few lie that near
    parameters = [p for p in setup.algo.parameters() if p.requires_grad]
    along = [torch.randn_like(p) for p in parameters]
    values = []
    with torch.no_grad():
        for sign in (1, -2):  # to θ + step, then to θ - step
            for p, direction in zip(parameters, along, strict=True):
                p.add_(direction, alpha=sign * step)
            setup.algo.load_state_dict(buffers, strict=False)  # which the value may depend on, and which it moves
            with torch.enable_grad():  # which inner steps need
                values.append(setup.algo(tasks)[0].detach())
    slope = sum((p.grad * direction).sum() for p, direction in zip(parameters, along, strict=True))
    same((values[0] - values[1]) / (2 * step), slope, tolerance=1e-5)


@every
def test_tasks_do_not_touch_each_other(case):
    """Any order of tasks, and any company, gives a task the same figures; also in training, unless it couples them."""
    setup = double(case)
    tasks, order = setup.tasks(), [2, 0, 1]
    ways = [partial(setup.algo.evaluate, mode=mode) for mode in setup.algo.modes]
    if setup.optimizer and not setup.algo.coupled:
        ways.append(lambda given: copy.deepcopy(setup.algo).train()(given)[1])  # training moves buffers
    setup.algo.eval()
    for figures in ways:
        together, apart = figures(tasks), [figures(tasks.tasks(i, i + 1)) for i in order]
        for name, value in together.items():
            same(torch.cat([metrics[name] for metrics in apart]), value[order])


@trained
def test_gradient_and_buffers_are_the_same_for_every_chunk(case):
    setup = double(case)
    if setup.algo.coupled:  # never taken in parts
        assert setup.plan.chunk == setup.config.train.tasks
        return
    setup.train(1)  # so that buffers are not zero
    before, tasks = copied(setup.algo.state_dict()), setup.tasks(index=3)
    found = []
    for chunk in (3, 2, 1):
        setup.algo.load_state_dict(before)
        setup.algo.zero_grad()
        metrics = setup.step.accumulate(tasks, chunk)
        found.append({**setup.gradients(), **dict(setup.algo.named_buffers()), **metrics})
        found[-1] = copied(found[-1])
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, value in found[0].items():
            same(other[name], value)


@every
def test_evaluation_changes_nothing(case):
    plain, evaluated = (build(*small(*case)) for _ in range(2))
    tasks = evaluated.tasks("test")
    given = copy.deepcopy(tasks)
    if plain.optimizer:
        plain.train(1)
        evaluated.train(1)
    for training in (True, False):
        evaluated.algo.train(training)
        flags = [(module.training, getattr(module, "frozen", None)) for module in evaluated.algo.modules()]
        state, generator = copied(evaluated.algo.state_dict()), torch.get_rng_state()
        for mode in evaluated.algo.modes:
            evaluate(evaluated.algo, evaluated.source, "test", 3, batch=3, mode=mode)
            if not training:
                evaluated.algo.evaluate(tasks, mode)
        assert flags == [(module.training, getattr(module, "frozen", None)) for module in evaluated.algo.modules()]
        assert torch.equal(generator, torch.get_rng_state())
        after = evaluated.algo.state_dict()
        assert all(torch.equal(after[name], value) for name, value in state.items())
    assert all(torch.equal(a, b) for part in (0, 1) for a, b in zip(tasks[part], given[part], strict=True))
    if plain.optimizer:
        assert torch.equal(plain.train(1, start=1)[0], evaluated.train(1, start=1)[0])
    for a, b in zip(plain.algo.state_dict().values(), evaluated.algo.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@every
def test_the_last_predictions_alone_are_those_of_all(case):
    """Bit for bit: validations, which choose the weights, compute no others."""
    setup = build(*small(*case))
    if setup.optimizer:
        setup.train(2)
    setup.algo.eval()
    for mode in setup.algo.modes:
        whole = setup.algo.evaluate(setup.tasks("validation"), mode)
        alone = setup.algo.evaluate(setup.tasks("validation"), mode, last=True)
        assert alone.keys() == whole.keys()
        assert all(torch.equal(alone[name][:, -1], value[:, -1]) for name, value in whole.items())


@every
def test_a_saved_model_evaluates_and_trains_on_bit_for_bit(case):
    first, second = (build(*small(*case)) for _ in range(2))
    optimizers = [first.optimizer, second.optimizer] if first.optimizer else []
    if optimizers:
        first.train(2)
    for p in second.algo.parameters():
        p.data.normal_()
    file = io.BytesIO()
    torch.save([first.algo.state_dict(), *(o.state_dict() for o in optimizers[:1])], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)
    for part, state in zip((second.algo, *optimizers[1:]), states, strict=True):
        part.load_state_dict(state)
    for mode in first.algo.modes:
        a, b = (evaluate(s.algo, first.source, "test", 3, batch=3, mode=mode) for s in (first, second))
        assert all(torch.equal(a[name], b[name]) for name in a)
    if optimizers:
        assert torch.equal(first.train(1, start=2)[0], second.train(1, start=2)[0])
        for a, b in zip(first.algo.parameters(), second.algo.parameters(), strict=True):
            assert torch.equal(a, b)


@every
def test_one_figure_after_each_inner_step_in_the_model_s_own_precision(case):
    for dtype in (torch.float32, torch.float64):
        setup = build(*small(*case), dtype=dtype)
        setup.algo.eval()
        steps = getattr(setup.algo, "eval_inner_steps", 0)
        tasks = setup.tasks("test", count=5)
        metrics = setup.algo.evaluate(tasks)
        assert metrics.keys() == {"loss", setup.algo.objective.metric_name}
        assert all(value.shape == (5, steps + 1) and value.dtype == dtype for value in metrics.values())
        tasks = setup.algo.view(tasks)
        outputs = setup.algo.outputs(tasks.support, tasks.query.x)
        assert all(out.shape[:2] == tasks.query.y.shape[:2] and out.dtype == dtype for out in outputs)
        with torch.no_grad():
            final = setup.algo.solve(tasks.support, tasks.query.x)
        same(final, outputs[-1].detach(), tolerance=1e-4 if dtype == torch.float32 else 1e-10)


@every
def test_query_labels_never_reach_a_prediction(case):
    """Everything that is ever compared with a label stays the same when the labels of queries are others."""
    setup = double(case)
    tasks = setup.tasks()
    other = tasks.query.y.flip(1) + 1 if tasks.query.y.is_floating_point() else (tasks.query.y + 1) % 4
    lied = Tasks(tasks.support, Examples(tasks.query.x, other), tasks.truth, tasks.keys)
    objective, heard = setup.algo.objective, []

    def listen(prediction: Tensor, target: Tensor) -> Tensor:
        heard.append(prediction.detach().clone())
        return objective.loss(prediction, target)

    setup.algo.objective = replace(objective, loss=listen, metric=listen)
    state = copied(setup.algo.state_dict())
    said = []
    for given in (tasks, lied):
        setup.algo.load_state_dict(state)
        heard.clear()
        if setup.optimizer and case[0] not in POSTERIOR:
            setup.algo.train()(given)
        if case[0] in OF_QUERY_SETS:
            setup.algo.load_state_dict(state)
        setup.algo.eval()
        for mode in setup.algo.modes:
            setup.algo.evaluate(given, mode)
        said.append(list(heard))
    assert said[0]
    assert all(torch.equal(a, b) for a, b in zip(*said, strict=True))


@over([c for c in IMAGES if not labels_are_inputs(c) and c[0] not in TOLD])
def test_permuting_class_labels_permutes_predictions(case):
    """With the rows of a learned head permuted alike, and the weights of labels given; a metric method has none."""
    setup = double(case)
    setup.algo.eval()
    (x, y), query = setup.tasks("test")[:2]
    order = torch.tensor([1, 2, 0, 3])
    with torch.no_grad():
        expected = setup.algo.outputs(Examples(x, y), query.x)
        for rows in a_row_each_class(setup.algo):
            rows[order] = rows.clone()
        found = setup.algo.outputs(Examples(x, order[y]), query.x)
    for a, b in zip(found, expected, strict=True):
        same(a[..., order], b)


def a_row_each_class(algo: Algorithm) -> list[Tensor]:
    """What of a model is about one class in each of its rows."""
    if isinstance(algo, Recurrent):
        return [*algo.readout.parameters(), algo.core.given.weight[:, -algo.spec.eval.outputs :].mT]
    if not hasattr(algo, "network"):
        return []
    alphas = dict(zip(algo.adapted(), getattr(algo, "alpha", ()), strict=False))
    head = dict(algo.network.head.named_parameters(prefix="head"))
    return [*head.values(), *(alphas[name] for name in head if alphas)]


@over([case for case in CASES if "eval_inner_steps" in inspect.signature(class_of(case[0])).parameters])
@pytest.mark.parametrize("steps", [1, 7])
def test_any_number_of_inner_steps_can_be_tested(case, steps):
    """As `metabench test RUN algo.eval_inner_steps=N` does, which finds the size of a batch by a trial in eval mode."""
    setup = double(case, f"algo.eval_inner_steps={steps}")
    setup.algo.eval()
    assert saved_bytes(setup.algo, setup.tasks("test", count=1)) >= 0
    assert setup.algo.evaluate(setup.tasks("test"))["loss"].shape[1] == steps + 1


@classifying
def test_shuffled_support_labels_give_chance_accuracy(case):
    """Labels are in random order, so one query a task is right as often as one side of a fair die: exactly binomial."""
    rate = ["algo.inner_lr=0.3"] if case[0] in DRAWN else []
    setup, count, ways = build(*small(*case), *rate), 250, 4
    low, high = binom.interval(0.9999, count, 1 / ways)
    setup.algo.eval()
    (x, y), query = setup.tasks("test", count=count)[:2]
    order = torch.rand(count, ways, generator=torch.Generator().manual_seed(0)).argsort(1)
    with torch.no_grad():
        true, shuffled = (setup.algo.outputs(Examples(x, labels), query.x)[-1] for labels in (y, order.gather(1, y)))
    right = (shuffled[:, 0].argmax(-1) == query.y[:, 0]).sum()
    assert low <= right <= high
    if isinstance(setup.algo, Recurrent):  # which has yet to learn what labels are for
        assert (shuffled != true).any((1, 2)).double().mean() > 1 - 2 / ways**2
        return
    lost = setup.algo.objective.loss(shuffled, query.y) - setup.algo.objective.loss(true, query.y)
    learned = lost.any() if case[0] in AMORTISED else lost.mean() > 3 * lost.std() / count**0.5
    assert learned, "the labels of the support set teach nothing"


@every
def test_modes_say_whether_queries_inform_each_other(case):
    setup = double(case)
    if setup.optimizer:
        setup.train(1)
    setup.algo.eval()
    tasks = setup.tasks("test")
    xs, ys = (part.chunk(2, dim=1) for part in tasks.query)
    halves = [Tasks(tasks.support, Examples(x, y), tasks.truth, tasks.keys) for x, y in zip(xs, ys, strict=True)]
    norms = batch_norms(setup.algo.backbone)
    assert set(setup.algo.modes) == ({"inductive", "transductive"} if norms else {"inductive"})
    assert setup.algo.modes[0] == ("transductive" if norms and not norms[0].running else "inductive")
    for mode in setup.algo.modes:
        whole, *parts = (setup.algo.evaluate(given, mode)["loss"][:, -1] for given in (tasks, *halves))
        parts = torch.stack(parts).mean(0)
        if mode == "inductive":
            same(parts, whole)
        else:
            assert not torch.isclose(parts, whole, rtol=1e-6).any()


@every
def test_predicting_alone_is_a_loop_over_queries(case):
    setup = double(case)
    setup.algo.eval()
    (x, y), query = setup.algo.view(setup.tasks("test"))[:2]
    with torch.no_grad():
        state = setup.algo.adapt(Examples(x, y))
        batches = [torch.cat([x, query.x[:, j : j + 1]], dim=1) for j in range(query.x.shape[1])]
        expected = torch.stack([setup.algo.predict(state, batch)[:, -1] for batch in batches], dim=1)
        same(setup.algo.predict_alone(Examples(x, y), query.x), expected)
