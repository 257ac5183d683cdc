"""MAML++ is MAML with each of its changes off, and the paper's formula with each of them on."""

from __future__ import annotations

import copy

import pytest
import torch
from build import Setup, build, small
from references import LOSS, LinearRegression, assert_same, each

from metabench.algo.maml import MAML
from metabench.algo.mamlpp import MAMLPlusPlus
from metabench.backbone.norm import BatchNorm

OFF = ("algo.msl_steps=0", "algo.lslr=false", "algo.per_step_norm=false")
VALUES = {"inner_lr": 0.1, "eval_inner_steps": 0, "first_order_steps": 0}


def double(data: str, *overrides: str, algo: str = "mamlpp") -> Setup:
    return build(*small(algo, data), *overrides, dtype=torch.float64)


def gradients(setup: Setup) -> dict[str, torch.Tensor]:
    setup.algo.zero_grad()
    setup.algo(setup.tasks())[0].backward()
    return setup.gradients()


@pytest.mark.parametrize("data", ["sinusoid", "glyphs"])
def test_with_everything_off_it_is_maml(data):
    ours = double(data, *OFF, "algo.inner_lr=0.2")
    network = "backbone.pool=max", "backbone.readout=flatten", "backbone.norm_scale=true", "backbone.norm_eps=1e-5"
    maml = double(data, *(network if data == "glyphs" else ()), "algo.inner_lr=0.2", algo="maml")
    maml.algo.load_state_dict({k: v for k, v in ours.algo.state_dict().items() if k != "meta_steps"})
    tasks = ours.tasks()
    found, expected = ours.algo(tasks)[0], maml.algo(tasks)[0]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    found.backward()
    expected.backward()
    assert_same(ours.gradients(), maml.gradients())


def test_a_step_size_learns_from_the_two_gradients_that_meet_at_its_step():
    """On linear regression, dL_Q/da_{l,s} = -α/α₀ <∇_l L_S(Θ_s), dL_Q/dΘ_{s+1}>, the second worked out from the end."""
    problem = LinearRegression(MAMLPlusPlus, inner_steps=2, msl_steps=0, lslr=True, per_step_norm=False, **VALUES)
    rates = torch.tensor([[0.1, 0.3], [0.2, 0.05]]).double()  # of weight and bias
    for parameter, row in zip(problem.algo.rates, rates, strict=True):
        parameter.data.copy_(row)
    support, query = problem.tasks[:2]
    x = problem.inputs(support)
    thetas = [problem.theta.expand(3, 2, 5)]
    columns = [torch.cat([rates[0, s].expand(4), rates[1, s : s + 1]]) for s in (0, 1)]
    for column in columns:
        thetas.append(thetas[-1] - column * problem.gradient(thetas[-1], support))
    back = problem.gradient(thetas[2], query)
    expected = torch.zeros(2, 2).double()
    for s in (1, 0):
        meeting = -(problem.gradient(thetas[s], support) * back).sum(1).mean(0)
        expected[:, s] = torch.stack([meeting[:4].sum(), meeting[4]])
        back = back - (columns[s] * back) @ x.mT @ x / x.shape[1]
    torch.testing.assert_close(problem.meta_gradient(), back.mean(0), rtol=1e-12, atol=1e-12)
    found = torch.stack([rate.grad for rate in problem.algo.rates])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_shares_of_the_multi_step_loss_are_those_of_the_paper_s_schedule():
    """With S steps and E epochs: v_s = max(1/S - e/(S E), 0.03/S), v_S = min(1/S + e (S-1)/(S E), 1 - (S-1) 0.03/S)."""
    S, E, length = 5, 10, 500
    algo = build("algo=mamlpp", "data=sinusoid", f"algo.msl_steps={E * length}", dtype=torch.float64).algo
    for e in range(E):
        algo.meta_steps.fill_(e * length)
        early, last = max(1 / S - e / (S * E), 0.03 / S), min(1 / S + e * (S - 1) / (S * E), 1 - (S - 1) * 0.03 / S)
        torch.testing.assert_close(algo.shares(), torch.tensor([*[early] * (S - 1), last]).double())
    algo.meta_steps.fill_(E * length)
    assert algo.shares().tolist() == [0, 0, 0, 0, 1]


def test_the_multi_step_loss_is_the_mean_of_losses_at_first_and_the_last_one_in_the_end():
    setup = double("sinusoid", "algo.msl_steps=2")
    tasks = setup.tasks()
    with torch.no_grad():
        outputs = setup.algo.outputs(tasks.support, tasks.query.x)[1:]
    losses = torch.stack([LOSS["mse"](output, tasks.query.y) for output in outputs])
    found = torch.stack([setup.algo(tasks)[0].detach() for _ in range(4)])
    half = losses[0] * 0.25 + losses[1] * 0.75
    torch.testing.assert_close(found, torch.stack([losses.mean(), half, losses[1], losses[1]]))


def test_derivatives_are_of_first_order_for_as_many_meta_steps_as_configured():
    ours = double("sinusoid", *OFF, "algo.first_order_steps=2", "algo.inner_lr=0.01")
    others = {name: double("sinusoid", "algo.inner_lr=0.01", algo=name) for name in ("fomaml", "maml")}
    for other in others.values():
        other.algo.load_state_dict({k: v for k, v in ours.algo.state_dict().items() if k != "meta_steps"})
    first, second = gradients(others["fomaml"]), gradients(others["maml"])
    for expected in (first, first, second, second):
        assert_same(gradients(ours), expected)
    assert (first["backbone.linears.0.weight"] - second["backbone.linears.0.weight"]).norm() > 1e-6


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_meta_steps_are_counted_whatever_the_chunk(chunk):
    setup = build(*small("mamlpp", "sinusoid"), f"chunk={chunk}")
    setup.train(4)
    torch.testing.assert_close(setup.algo.meta_steps, torch.tensor(4.0))
    again = copy.deepcopy(setup.algo)
    again.meta_steps.zero_()
    again.load_state_dict(setup.algo.state_dict())
    assert torch.equal(again.shares(), setup.algo.shares())


def test_every_inner_step_has_a_normalisation_of_its_own():
    """Against a loop over tasks in which MAML's network is given the scale and shift of the step at hand."""
    setup = double("glyphs", "algo.msl_steps=0", "algo.lslr=false", "algo.inner_lr=0.2")
    torch.manual_seed(0)
    for p in setup.algo.norms:
        p.data.normal_(1, 0.3)
    network, names = setup.algo.network, setup.algo.norm_names
    weights = {name: p for name, p in network.named_parameters() if name not in names}
    losses = []
    for x, y, query_x, query_y in each(setup.tasks()):
        fast = weights
        for step in (0, 1):
            norms = {name: p[step] for name, p in zip(names, setup.algo.norms, strict=True)}
            loss = LOSS["cross_entropy"](torch.func.functional_call(network, {**fast, **norms}, (x[None],))[0], y)
            found = torch.autograd.grad(loss, list(fast.values()), create_graph=True)
            fast = {name: w - 0.2 * g for (name, w), g in zip(fast.items(), found, strict=True)}
        output = torch.func.functional_call(network, {**fast, **norms}, (query_x[None],))[0]
        losses.append(LOSS["cross_entropy"](output, query_y))
    torch.stack(losses).mean().backward()
    expected = setup.gradients()
    assert_same(gradients(setup), expected)


def test_running_statistics_are_those_of_the_step():
    """The support sets of step s and, where they follow it, the queries move row s."""
    setup = double("glyphs", "backbone.statistics=running", "algo.msl_steps=0")
    algo = setup.algo
    seen: dict[str, list[torch.Tensor]] = {}

    def listen(layer, args, _):
        seen.setdefault("inputs", []).append(args[0].flatten(1, 2).mean((0, 2, 3)).view(3, -1).mean(0))

    first = next(m for m in algo.network.modules() if isinstance(m, BatchNorm))
    first.register_forward_hook(listen)
    algo(setup.tasks())
    support, second, query = seen["inputs"]
    rows = algo.get_buffer("statistics_0")
    torch.testing.assert_close(rows[0], 0.1 * support)
    torch.testing.assert_close(rows[1], 0.1 * query + 0.9 * 0.1 * second)
    assert not first.running_mean.any()


def test_steps_beyond_those_of_training_use_the_last_step_s_values():
    setup = double("glyphs", "algo.eval_inner_steps=4")
    algo = setup.algo.eval()
    with torch.no_grad():
        for p in (*algo.norms, *algo.rates):
            p.normal_(1, 0.1)
        tasks = setup.tasks("test")
        longer = algo.outputs(tasks.support, tasks.query.x)
        for p in (*algo.norms, *algo.rates):
            p[0] = 7.0  # of the first step alone
        fast = list(algo.trajectory(tasks.support))
    assert len(longer) == len(fast) == 5
    assert isinstance(algo, MAML)
    assert algo.norm_at(1).keys() == algo.norm_at(9).keys()
    assert all(torch.equal(a, b) for a, b in zip(algo.norm_at(1).values(), algo.norm_at(9).values(), strict=True))
