"""Ridge regression within the network: the solve is the library's, and its settings mean what they say."""

from __future__ import annotations

import pytest
import torch
from build import build, small
from references import identity, on_points
from scipy import linalg

from metabench.algo.r2d2 import R2D2, ridge
from metabench.tasks import Episode, Examples, TaskSpec

SIZES = pytest.mark.parametrize("examples", [3, 6, 11], ids=["fewer than features", "as many", "more"])


def problem(examples: int, features: int = 6, outputs: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(3, examples, features).double(), torch.randn(3, examples, outputs).double()


def on_lines(regulariser: float = 1.0, scale: float = 1.0) -> R2D2:
    """Regression on the inputs themselves."""
    spec = TaskSpec((4,), "mse", Episode(2, 6, 7), Episode(2, 6, 7))
    return R2D2(spec, identity(4), regulariser=regulariser, scale=scale).double()


@SIZES
def test_the_solve_is_scipys_least_squares(examples):
    x, y = problem(examples)
    found = ridge(x, y, torch.tensor(0.3).double())
    pull = torch.sqrt(torch.tensor(0.3).double()) * torch.eye(6).double()  # √penalty W = 0, as six examples more
    for a, b, w in zip(x, y, found, strict=True):
        expected, *_ = linalg.lstsq(torch.cat([a, pull]).numpy(), torch.cat([b, torch.zeros(6, 2).double()]).numpy())
        torch.testing.assert_close(w, torch.from_numpy(expected), rtol=1e-9, atol=1e-12)


def test_both_systems_have_one_solution():
    x, y = problem(6)
    penalty = torch.tensor(0.7).double()
    more = torch.cat([x, torch.zeros(3, 1, 6).double()], dim=1), torch.cat([y, torch.zeros(3, 1, 2).double()], dim=1)
    torch.testing.assert_close(ridge(*more, penalty), ridge(x, y, penalty), rtol=1e-11, atol=1e-12)


@SIZES
def test_gradients_are_those_of_finite_differences(examples):
    x, y = (t[:1].requires_grad_() for t in problem(examples, features=6))
    assert torch.autograd.gradcheck(ridge, (x, y, torch.tensor(0.5).double().requires_grad_()))


def test_a_failed_factorisation_is_not_a_number():
    x, y = problem(3)
    assert ridge(x, y, torch.tensor(-100.0).double()).isnan().all()


def test_weights_minimise_the_mean_squared_error_and_the_regulariser():
    algo = on_lines(regulariser=0.2)
    z, y = torch.randn(3, 6, 4).double(), torch.randn(3, 6, 2).double()
    w = algo.adapt(Examples(z, y)).detach().requires_grad_()
    x = torch.cat([z, torch.ones(3, 6, 1).double()], dim=-1)
    regulariser = algo.log_regulariser.exp().item()
    ((x @ w - y).square().sum() / 6 + regulariser * w.square().sum()).backward()
    torch.testing.assert_close(w.grad, torch.zeros_like(w), rtol=0, atol=1e-12)


def test_a_linear_map_is_recovered():
    algo = on_lines(regulariser=1e-10)
    torch.manual_seed(0)
    x, line = torch.randn(3, 13, 4).double(), torch.randn(3, 4, 2).double()
    y = x @ line + 3
    torch.testing.assert_close(algo.solve(Examples(x[:, :6], y[:, :6]), x[:, 6:]), y[:, 6:], rtol=1e-6, atol=1e-6)


def test_logits_are_the_scaled_map_of_one_hot_labels():
    """One example a class at right angles and no pull to zero: each class has its own line."""
    algo = on_points(R2D2, 2, regulariser=1e-9, scale=10.0)
    support = Examples(torch.tensor([[[2.0, 0], [0, 2], [2, 0]]]).double(), torch.tensor([[0, 1, 0]]))
    query = torch.tensor([[[2.0, 0], [0, 2], [1, 1]]]).double()
    expected = 10 * torch.tensor([[[1, 0], [0, 1], [0.5, 0.5]]]).double()
    torch.testing.assert_close(algo.solve(support, query).detach(), expected, rtol=1e-6, atol=1e-6)


def test_every_example_twice_is_as_once_and_their_order_does_not_matter():
    setup = build(*small("r2d2", "glyphs"), "backbone.norm=group", dtype=torch.float64)
    (x, y), query = setup.tasks()[:2]
    once = setup.algo.solve(Examples(x, y), query.x)
    for given in (Examples(torch.cat([x, x], 1), torch.cat([y, y], 1)), Examples(x.flip(1), y.flip(1))):
        torch.testing.assert_close(setup.algo.solve(given, query.x), once, rtol=1e-9, atol=1e-9)


def test_regulariser_and_scale_are_learned():
    setup = build(*small("r2d2", "sinusoid"))
    before = setup.algo.log_regulariser.item(), setup.algo.scale.item()
    setup.train(2)
    assert setup.algo.log_regulariser.item() != before[0]
    assert setup.algo.scale.item() != before[1]


def test_training_and_test_may_have_different_ways():
    setup = build(*small("r2d2", "glyphs"), "data.train.ways=10")
    assert setup.train(1)[0].isfinite().all()
    tasks = setup.tasks("test")
    assert setup.algo.eval().solve(tasks.support, tasks.query.x).shape[-1] == 4


def test_the_solve_keeps_32_bits_under_autocast():
    setup = build(*small("r2d2", "glyphs"))
    tasks = setup.tasks()
    with torch.autocast("cpu", torch.bfloat16):
        assert setup.algo.adapt(tasks.support).dtype == torch.float32
        loss, _ = setup.algo(tasks)
    loss.backward()
    assert all(g.isfinite().all() for g in setup.gradients().values())
