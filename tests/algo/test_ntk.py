"""The kernel is that of an infinitely wide network, and its coefficients are those of gradient flow at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from build import build, small
from references import identity
from scipy import integrate, linalg, stats
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from metabench.algo.ntk import NTK, arc_cosines, flow
from metabench.tasks import Episode, Examples, TaskSpec

SIZE = 3  # of an input
WEIGHT, BIAS = 1.7, 0.3  # variances


def learner(depths: list[int], time: float | None = None, noise: float = 1e-9) -> NTK:
    """Regression on the inputs themselves."""
    spec = TaskSpec((SIZE,), "mse", Episode(1, 4, 5), Episode(1, 4, 5))
    values = {"depths": depths, "weight_variance": WEIGHT, "bias_variance": BIAS, "time": time}
    return NTK(spec, identity(SIZE), **values, noise=noise, scale=1.0).double()


class Finite(nn.Module):
    """The network of the formula, `width` units in each of `depth` hidden layers: `[N, SIZE]` to `[N]`."""

    def __init__(self, depth: int, width: int, seed: int = 0) -> None:
        super().__init__()
        sizes, generator = [SIZE, *[width] * depth, 1], torch.Generator().manual_seed(seed)
        shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.weights = nn.ParameterList(torch.randn(*shape, generator=generator).double() for shape in shapes)
        self.biases = nn.ParameterList(torch.randn(rows, generator=generator).double() for rows, _ in shapes)

    def forward(self, x: Tensor) -> Tensor:
        for layer, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x.relu() if layer else x
            x = math.sqrt(WEIGHT / w.shape[1]) * x @ w.mT + math.sqrt(BIAS) * b
        return x.squeeze(-1)

    def jacobian(self, x: Tensor) -> Tensor:
        """`[N, P]`."""
        one = jacrev(lambda p, example: functional_call(self, p, (example,)))
        parts = vmap(one, (None, 0))(dict(self.named_parameters()), x)
        return torch.cat([part.flatten(1) for part in parts.values()], dim=1)


def points(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, SIZE, generator=torch.Generator().manual_seed(seed)).double()


def distance(depths: list[int], width: int) -> float:
    """Between the kernel of a finite network, or a sum of them, and the infinite one: relative, of five networks."""
    x = points(6)
    with torch.no_grad():
        exact = learner(depths).kernel(x[None], x[None], torch.eye(6).bool())[0]
    errors = []
    for seed in range(5):
        jacobians = [Finite(depth, width, seed).jacobian(x).detach() for depth in depths]
        found = sum(j @ j.mT for j in jacobians) / len(depths)
        errors.append(((found - exact).norm() / exact.norm()).item())
    return sum(errors) / len(errors)


@pytest.mark.parametrize("depths", [[1], [2], [3], [1, 2]], ids=str)
def test_a_finite_network_s_kernel_nears_it_as_its_width_grows(depths):
    """By the square root of the width: sixteen times the width, a quarter of the distance."""
    narrow, wide = distance(depths, 32), distance(depths, 512)
    assert wide < 0.15
    assert 2 < narrow / wide < 8


@pytest.mark.slow
def test_a_wide_network_trained_by_gradient_descent_predicts_what_it_says():
    """Less what it predicts before: of which the mean over initial weights is zero."""
    (x, query), y, time, rate = (points(4), points(5, seed=1)), points(4, seed=2)[:, :1], 2.0, 0.02
    algo = learner([2], time)
    with torch.no_grad():
        expected = algo.solve(Examples(x[None], y[None]), query[None])[0, :, 0]
    net = Finite(2, 2048)
    with torch.no_grad():
        start = net(torch.cat([x, query]))
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    for _ in range(round(time / rate)):
        optimizer.zero_grad()
        (0.5 * (net(x) - start[:4] - y[:, 0]).square().sum()).backward()
        optimizer.step()
    found = net(query).detach() - start[4:]
    assert (found - expected).norm() < 0.05 * expected.norm()


def test_arc_cosines_are_their_integrals():
    """κ₀ by twice the chance that two normals of that correlation are both positive, κ₁ by quadrature."""
    for cosine in (-0.9, -0.3, 0.0, 0.4, 0.95):
        step, ramp = arc_cosines(torch.tensor(cosine).double())
        normal = stats.multivariate_normal(cov=[[1, cosine], [cosine, 1]])
        assert step.item() == pytest.approx(2 * normal.cdf([0, 0]), abs=1e-6)
        moment, _ = integrate.dblquad(lambda v, u: u * v * normal.pdf([u, v]), 0, 9, 0, 9, epsabs=1e-6)  # noqa: B023
        assert ramp.item() == pytest.approx(2 * moment, abs=1e-4)


def test_arc_cosines_of_coinciding_and_opposite_inputs_are_finite_with_their_gradient():
    cosine = torch.tensor([1.0, -1.0, 1 + 1e-7, 0.5], requires_grad=True)
    step, ramp = arc_cosines(cosine)
    torch.testing.assert_close(torch.stack([step, ramp])[:, :3], torch.tensor([[1.0, 0, 1], [1, 0, 1]]))
    (step.sum() + ramp.sum()).backward()
    assert cosine.grad.isfinite().all()


def positive(count: int) -> Tensor:
    a = torch.randn(2, count, count, generator=torch.Generator().manual_seed(3)).double()
    return a @ a.mT + 0.05 * torch.eye(count)


@pytest.mark.parametrize("time", [1e-6, 0.3, 5.0, 1e4])
def test_flow_is_that_of_each_eigenvector_by_itself(time):
    for a, found in zip(positive(6), flow(positive(6), torch.tensor(time, dtype=torch.float64)), strict=True):
        rates, directions = linalg.eigh(a.numpy())
        expected = directions @ np.diag(-np.expm1(-time * rates) / rates) @ directions.T
        torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-9, atol=1e-10 * time)


@pytest.mark.parametrize("time", [1e9, 1e30])
def test_a_flow_ends_at_the_inverse(time):
    a = positive(6)
    torch.testing.assert_close(flow(a, torch.tensor(time).double()), a.inverse(), rtol=1e-9, atol=1e-9)
    found = flow(a.float(), torch.tensor(time))
    torch.testing.assert_close(found, a.inverse().float(), rtol=1e-3, atol=1e-3)


def test_gradients_of_a_flow_are_those_of_finite_differences_also_at_equal_eigenvalues():
    for a in (positive(3)[:1], torch.eye(3).double()[None]):
        given = (a.requires_grad_(), torch.tensor(0.7).double().requires_grad_())
        assert torch.autograd.gradcheck(flow, given)


def test_time_without_end_is_the_limit_and_time_zero_learns_nothing():
    support, query = Examples(points(4)[None], points(4, seed=2)[None, :, :1]), points(5, seed=1)[None]
    early, late, end = (learner([1, 3], time).solve(support, query) for time in (1e-9, 1e9, None))
    torch.testing.assert_close(late, end, rtol=1e-7, atol=1e-7)
    assert early.abs().max() < 1e-6


def test_with_no_noise_the_support_set_is_fitted_and_with_much_nothing_is():
    support = Examples(points(4)[None], points(4, seed=2)[None, :, :1])
    torch.testing.assert_close(learner([2]).solve(support, support.x), support.y, rtol=1e-5, atol=1e-5)
    assert learner([2], noise=1e9).solve(support, support.x).abs().max() < 1e-6


def test_it_is_the_mean_of_a_gaussian_process_with_that_kernel():
    """Written by its textbook formula, one task, with the kernel read off one pair at a time."""
    algo, x, y, query = learner([2], noise=0.4), points(4), points(4, seed=2)[:, :1], points(5, seed=1)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        pairs = [(p[None, None], q[None, None], (p == q).all()[None, None]) for p in a for q in b]
        return torch.stack([algo.kernel(*pair) for pair in pairs]).view(len(a), len(b))

    expected = kernel(query, x) @ torch.linalg.solve(kernel(x, x) + 0.4 * torch.eye(4), y)
    torch.testing.assert_close(algo.solve(Examples(x[None], y[None]), query[None])[0], expected)


@pytest.mark.parametrize("time", ["null", "0.5"])
def test_all_that_is_said_to_be_learned_moves(time):
    setup = build(*small("ntk", "glyphs"), f"algo.time={time}")
    names = {"log_weight", "log_bias", "log_noise", "shares", "scale", *(["log_time"] if time != "null" else [])}
    own = {name: p.clone() for name, p in setup.algo.named_parameters() if "backbone" not in name}
    assert own.keys() == names
    setup.train(2)
    assert all((dict(setup.algo.named_parameters())[name] != value).any() for name, value in own.items())


def test_one_configured_depth_has_no_shares_and_equals_a_mixture_of_itself():
    x = points(4)[None]
    assert learner([3]).shares is None
    torch.testing.assert_close(learner([3]).kernel(x, x), learner([3, 3]).kernel(x, x))


def test_the_kernel_keeps_64_bits_in_any_precision():
    """In 32 the kernel of ten points of a line, of which two are near, has negative eigenvalues."""
    setup = build(*small("ntk", "sinusoid"), "backbone.hidden=[]", "data.shots=10", "data.train.shots=10")
    tasks = setup.tasks(count=100)
    with torch.autocast("cpu", torch.bfloat16):
        fit = setup.algo.adapt(tasks.support)
        assert fit.coefficients.dtype == torch.float64
        loss, _ = setup.algo(tasks)
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(g.isfinite().all() for g in setup.gradients().values())


def test_training_and_test_may_have_different_ways():
    setup = build(*small("ntk", "glyphs"), "data.train.ways=10")
    assert setup.train(1)[0].isfinite().all()
    tasks = setup.tasks("test")
    assert setup.algo.eval().solve(tasks.support, tasks.query.x).shape[-1] == 4
