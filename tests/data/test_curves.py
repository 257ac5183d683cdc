"""Every family of curves has its published ranges, noise and queries, and draws a task from its key alone."""

from __future__ import annotations

import math

import pytest
import torch
from build import build
from scipy import stats

from metabench.data.gp_curves import squared_exponential
from metabench.data.sinusoid import sine
from metabench.errors import ConfigError
from metabench.tasks import SPLITS

MANY = 2000
FAMILIES = [
    *("sinusoid_reptile", "sinusoid_metasgd", "sinusoid_bmaml", "sinusoid_mixture", "function_mixture"),
    *("gp_curves", "gp_curves_anp"),
]
every = pytest.mark.parametrize("data", ["sinusoid", *FAMILIES])


def source(data: str, *overrides: str):
    return build(f"data={data}", *overrides).source


@every
def test_a_task_does_not_depend_on_its_company(data):
    whole, part = source(data).sample("test", 3, 20), source(data).sample("test", 10, 2)
    for a, b in zip(whole.tasks(7, 9).tensors(), part.tensors(), strict=True):
        assert torch.equal(a, b)


@every
def test_a_smaller_support_set_is_the_first_of_a_larger(data):
    few, more = (source(data, f"data.shots={shots}").sample("test", 3, 4) for shots in (5, 8))
    torch.testing.assert_close(few.support.x, more.support.x[:, :5], rtol=0, atol=0)
    torch.testing.assert_close(few.support.y, more.support.y[:, :5], rtol=0, atol=1e-6)


@every
def test_the_curve_of_a_picture_is_the_one_the_points_are_from(data):
    """At the points themselves the targets are the curve, up to their noise."""
    drawn = source(data, "data.queries=20")
    tasks = drawn.sample("validation", 0, 50)
    grid = torch.linspace(*drawn.x_range, 20)
    curve = drawn.curve(tasks, grid)
    assert curve.shape == (50, 20)
    on_grid = source(data, "data.queries=20", "data.eval_grid=true").sample("validation", 0, 50)
    noise = {
        "sinusoid_bmaml": 0.05, "sinusoid_mixture": 0.3, "function_mixture": 0.3, "gp_curves": 0.02,
        "gp_curves_anp": 0.02,
    }.get(data, 0)  # fmt: skip
    error = (on_grid.query.y.squeeze(-1) - curve).double()
    assert error.abs().max() <= 5 * noise + 0.006 * data.startswith("gp") + 1e-5


@every
def test_seeds_change_training_tasks_only(data):
    a, b = source(data), source(data, "seed=1")
    for split in SPLITS:
        same = torch.equal(a.sample(split, 0, 3).support.y, b.sample(split, 0, 3).support.y)
        assert same == (split != "train")


@pytest.mark.parametrize(
    ("data", "ranges"),
    [
        ("sinusoid_reptile", {"amplitude": (0.1, 5), "frequency": (1, 1), "phase": (0, 2 * math.pi)}),
        ("sinusoid_metasgd", {"amplitude": (0.1, 5), "frequency": (0.8, 1.2), "phase": (0, math.pi)}),
        ("sinusoid_mixture", {"slope": (-3, 3), "intercept": (-3, 3), "amplitude": (0.1, 5), "phase": (0, math.pi)}),
        ("function_mixture", {"curvature": (0.02, 0.15), "center": (-3, 3), "offset": (-3, 3), "amplitude": (0.1, 5)}),
        ("gp_curves_anp", {"length": (0.1, 0.6), "scale": (0.1, 1)}),
    ],
)
def test_what_makes_a_curve_is_uniform_in_its_range(data, ranges):
    truth = source(data, "data.queries=1").sample("test", 0, MANY).truth
    for name, (low, high) in ranges.items():
        values = truth[name].flatten().numpy()
        assert low <= values.min() <= values.max() <= high
        assert low == high or stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3, name


@pytest.mark.parametrize(("data", "count"), [("sinusoid_reptile", 50), ("sinusoid_metasgd", 100), ("gp_curves", 100)])
def test_evaluation_queries_are_evenly_spaced_and_those_of_training_are_not(data, count):
    drawn = source(data)
    low, high = drawn.x_range
    x = drawn.sample("test", 0, 2).query.x.squeeze(-1)
    torch.testing.assert_close(x, torch.linspace(low, high, count).expand(2, -1))
    assert len(drawn.sample("train", 0, 2).query.x.unique()) == 2 * drawn.spec.train.queries


def test_noise_is_a_share_of_the_amplitude():
    tasks = source("sinusoid_bmaml", "data.queries=50").sample("test", 0, 400)
    residual = (tasks.query.y.squeeze(-1) - sine(tasks.truth, tasks.query.x.squeeze(-1))) / tasks.truth["amplitude"]
    assert stats.kstest(residual.flatten().numpy() / 0.01, "norm").pvalue > 1e-3


def test_the_functions_of_a_split_are_so_many_and_fixed():
    drawn = source("sinusoid_bmaml", "data.functions=[30,20,10]")
    found = {split: drawn.sample(split, 0, 600).truth["phase"].flatten() for split in SPLITS}
    assert [len(found[split].unique()) for split in SPLITS] == [30, 20, 10]
    assert len(torch.cat(list(found.values())).unique()) == 60
    assert torch.equal(found["train"].unique(), drawn.sample("train", 5000, 600).truth["phase"].unique())
    counts = torch.unique(found["test"], return_counts=True)[1]
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_half_of_the_mixture_is_lines():
    tasks = source("sinusoid_mixture", "data.noise=0.0").sample("test", 0, MANY)
    truth, x = tasks.truth, tasks.support.x.squeeze(-1).double()
    line = truth["line"].squeeze(1) == 1
    assert stats.binomtest(int(line.sum()), MANY).pvalue > 1e-3
    expected = truth["slope"] * x + truth["intercept"]
    y = tasks.support.y.squeeze(-1).double()
    torch.testing.assert_close(y[line], expected[line], rtol=0, atol=1e-5)
    wave = truth["amplitude"] * torch.sin(x - truth["phase"])
    torch.testing.assert_close(y[~line], wave[~line], rtol=0, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_functions_of_a_mixture_are_equally_often_and_as_they_are_defined(count):
    names = ["sine", "line", "quadratic", "tanh", "absolute"][:count]
    tasks = source("function_mixture", "data.noise=0.0", f"data.functions=[{','.join(names)}]").sample("test", 0, MANY)
    t, x, y = tasks.truth, tasks.support.x.squeeze(-1).double(), tasks.support.y.squeeze(-1).double()
    shifted = x - t["center"]
    expected = {
        "sine": t["amplitude"] * torch.sin(x - t["phase"]),
        "line": t["slope"] * x + t["intercept"],
        "quadratic": t["sign"] * t["curvature"] * shifted**2 + t["offset"],
        "tanh": t["slope"] * shifted.tanh() + t["offset"],
        "absolute": t["slope"] * shifted.abs() + t["offset"],
    }
    kind = t["function"].squeeze(1).long()
    assert stats.chisquare(torch.bincount(kind, minlength=count).numpy()).pvalue > 1e-3
    for number, name in enumerate(names):
        torch.testing.assert_close(y[kind == number], expected[name][kind == number], rtol=0, atol=1e-5)
    assert set(t["sign"].unique().tolist()) == {-1, 1}


@pytest.mark.parametrize("functions", ["[sine,sine]", "[cosine]"])
def test_functions_of_a_mixture_are_known_and_named_once(functions):
    with pytest.raises(ConfigError, match=r"data.functions=.*: should be some of sine, line, quadratic"):
        source("function_mixture", f"data.functions={functions}")


def test_gaussian_process_values_have_the_kernel_as_covariance():
    drawn = source("gp_curves", "data.queries=6", "data.shots=1")
    y = drawn.sample("test", 0, 20_000).query.y.squeeze(-1).double()
    x = torch.linspace(-2, 2, 6).double().unsqueeze(0)
    expected = squared_exponential(x, x, torch.tensor([[0.4]]))[0] + 0.02**2 * torch.eye(6)
    torch.testing.assert_close(y.T @ y / len(y), expected, rtol=0, atol=0.05)
    torch.testing.assert_close(y.mean(0), torch.zeros(6).double(), rtol=0, atol=0.03)
    assert expected[0, 1] == pytest.approx(math.exp(-((0.8 / 0.4) ** 2) / 2))


def test_the_card_says_what_is_in_force_and_no_more():
    plain = source("sinusoid").card()
    assert plain.keys() == {"source", "amplitude", "frequency", "phase", "x_range", "eval_seed"}
    assert source("sinusoid_bmaml").card().items() >= {"relative_noise": 0.01, "functions": [2812, 938, 1250]}.items()
    assert source("sinusoid_reptile").card()["queries_at"] == "grid"


@pytest.mark.parametrize("override", ["data.length=[0.0,1.0]", "data.length=[2.0,1.0]", "data.noise=-1.0"])
def test_a_kernel_is_a_kernel(override):
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        source("gp_curves", override)
