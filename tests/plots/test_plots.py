"""The pictures of a run: all there, true to the model, and harmless to it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import image_sets
import matplotlib
import numpy as np
import pytest
import torch
from build import Setup, build, small
from layout import crowded
from matplotlib.figure import Figure
from PIL import Image

from metabench.evaluation.evaluate import evaluate, summarise
from metabench.evaluation.online import Rounds
from metabench.objective import mse
from metabench.plots import draw_run, episode
from metabench.plots.curves import along_axis, learning_curve
from metabench.plots.episode import Plan, episodes
from metabench.plots.fits import fits
from metabench.tasks import Episode

CASES = [
    ("maml", "sinusoid", {"learning_curve", "fits", "steps"}),
    ("pretrain", "sinusoid", {"learning_curve", "fits", "steps"}),
    ("maml", "glyphs", {"learning_curve", "episode", "steps"}),
    ("protonet", "glyphs", {"learning_curve", "episode"}),
    ("dagan", "glyphs", {"learning_curve", "episode", "samples"}),
    ("lstm", "glyphs_sequence", {"learning_curve", "stream", "instances"}),
    ("ftml", "sinusoid_online", {"rounds", "fits"}),
    ("ftml", "glyphs_online", {"rounds"}),
]
THREE_WAY = ("data.ways=3", "data.shots=2", "data.queries=2")  # so small that every query is shown
every = pytest.mark.parametrize(("algo", "data", "names"), CASES, ids=["-".join(case[:2]) for case in CASES])


def line(split: str, step: int, name: str, value: float, **more: float) -> dict:
    return {"step": step, "split": split, "loss": 1.0, name: value, **more}


def records(setup: Setup, *values: float) -> list[dict]:
    """Training and validation lines, every 50 meta-steps."""
    name, lines = setup.algo.objective.metric_name, []
    for i, value in enumerate(values, start=1):
        lines.append(line("train", 50 * i, name, 0.9 * value, lr=0.1))
        lines.append(line("validation", 50 * i, name, value, ci95=0.02))
    return lines


def drawn(folder: Path, setup: Setup) -> list[Path]:
    folder.mkdir(exist_ok=True)
    name = setup.algo.objective.metric_name
    test = summarise(evaluate(setup.algo, setup.source, "test", 8, batch=4)[name])
    if setup.source.online is not None:
        rounds = Rounds(setup.source, setup.algo.objective, 0)
        rounds.found = torch.linspace(0.1, 0.9, rounds.found.numel()).view(rounds.found.shape)
        test |= {"metric": name, "online": rounds.outcome(rounds.found[:, -1] / 2)}
    return draw_run(folder, setup.algo, setup.source, records(setup, 0.3, 0.5, 0.6), test)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@every
def test_every_picture_is_a_png_that_a_page_can_show(tmp_path, algo, data, names):
    paths = drawn(tmp_path, build(*small(algo, data)))
    assert {path.name for path in paths} == {f"{name}.png" for name in names}
    assert sorted(tmp_path.iterdir()) == sorted(paths)  # and nothing is left aside
    for path in paths:
        assert 2_000 < path.stat().st_size < 150_000
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert image.width == 800
            assert 250 < image.height < 1500
            assert len(image.convert("RGB").getcolors(1 << 16)) > 10
            assert not image.text  # no date, no version


@pytest.mark.slow
@every
def test_drawing_leaves_everything_as_it_was(tmp_path, algo, data, names, monkeypatch):
    setup = build(*small(algo, data))
    sampled: list[str] = []
    sample = setup.source.sample

    def spy(split, index, count):
        sampled.append(split)
        return sample(split, index, count)

    training = algo == "maml"
    setup.algo.train(training)
    before = {name: value.clone() for name, value in setup.algo.state_dict().items()}
    random, settings = torch.get_rng_state(), dict(matplotlib.rcParams)
    monkeypatch.setattr(setup.source, "sample", spy)
    draw_run(tmp_path, setup.algo, setup.source, records(setup, 0.3), {"per_step": []})
    assert all(module.training is training for module in setup.algo.modules())
    after = setup.algo.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in setup.algo.parameters())
    assert torch.equal(random, torch.get_rng_state())
    assert settings == dict(matplotlib.rcParams)
    assert set(sampled) == {"validation"}


@pytest.mark.slow
@pytest.mark.parametrize("data", ["sinusoid", "glyphs"])
def test_the_same_run_gives_the_same_bytes_whatever_the_users_settings(tmp_path, data):
    first = drawn(tmp_path / "a", build(*small("maml", data)))
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 9, "savefig.facecolor": "red"}):
        second = drawn(tmp_path / "b", build(*small("maml", data)))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


@pytest.mark.slow
def test_drawing_needs_no_display_and_no_global_figures():
    code = (
        "import sys, metabench.training.runner as r; assert 'matplotlib' not in sys.modules; import metabench.plots; "
    )
    code += "assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@every
def test_no_text_is_cut_off_or_lies_on_another(algo, data, names, monkeypatch, tmp_path):
    met = []
    monkeypatch.setattr("metabench.plots.write", lambda picture, path, **_: met.append((path.name, crowded(picture))))
    drawn(tmp_path, build(*small(algo, data)))
    assert {name for name, _ in met} == {f"{name}.png" for name in names}
    assert [(name, found) for name, found in met if found] == []


def test_marks_of_an_episode_are_the_accuracy_of_evaluation():
    setup = build(*small("protonet", "glyphs", *THREE_WAY))
    setup.algo.eval()
    words = texts(episodes(setup.algo, setup.source))
    right, wrong = (len([w for w in words if w.startswith(mark)]) - 1 for mark in "✓✗")  # less the legend's
    found = evaluate(setup.algo, setup.source, "validation", 2, batch=2)["accuracy"][:, -1]
    assert right / (right + wrong) == pytest.approx(found.mean().item())
    queries = len(setup.tasks("validation").query.y[0])
    for t, accuracy in enumerate(found.tolist()):
        assert f"validation task {t}: {round(accuracy * queries)} of {queries} queries right" in words


def test_a_wrong_mark_names_the_class_the_query_was_taken_for(monkeypatch):
    setup = build(*small("protonet", "glyphs", *THREE_WAY))
    taken = torch.eye(3)[1]  # always for the second
    monkeypatch.setattr(setup.algo, "outputs", lambda support, x: [taken.expand(*x.shape[:2], 3)])
    words = texts(episodes(setup.algo, setup.source))
    assert words.count("✗ 2") - 1 == 2 * 2 * 2  # tasks, other classes, queries; less the legend's
    assert words.count("✓") - 1 == 2 * 2


def test_twenty_ways_are_legible_and_small(tmp_path):
    setup = build("algo=protonet", "data=glyphs", "data.characters=40", "data.ways=20", "data.shots=5", "train.tasks=1",
                  "data.train.ways=20", "backbone.filters=4")  # fmt: skip
    (path,) = draw_run(tmp_path, setup.algo, setup.source, [], {"per_step": [{"step": 0, "mean": 0.5, "ci95": 0.1}]})
    assert path.stat().st_size < 150_000
    words = texts(episodes(setup.algo, setup.source))
    assert len([w for w in words if w[:1] in "✓✗" and w]) == 20 * 5 + 2
    assert "shown: 2 of 5 support images per class, 5 of 15 queries per class" in words


@pytest.mark.parametrize("ways", [2, 3, 5, 6, 10, 11, 20, 60])
def test_classes_of_an_episode_do_not_overlap_and_stay_on_the_page(ways):
    plan = Plan(Episode(ways, 5, 15))
    corners = [plan.corner(task, label) for task in range(plan.tasks) for label in range(plan.classes)]
    apart = [abs(a[0] - b[0]) + 1e-9 >= 1 or abs(a[1] - b[1]) >= plan.band for a in corners for b in corners if a != b]
    assert all(apart)
    assert len(set(corners)) == len(corners)
    assert all(0.25 < x <= 10.35 and 0 < y < plan.legend for x, y in corners)


def test_the_error_written_on_a_fit_is_its_distance_from_the_truth():
    setup = build(*small("maml", "sinusoid"))
    figure = fits(setup.algo, setup.source)
    for axes in figure.axes:
        curves = {drawn.get_label(): torch.as_tensor(np.asarray(drawn.get_ydata())) for drawn in axes.lines}
        assert set(curves) == {"truth", "support", "before", "1 step", "3 steps"}
        error = mse(curves["3 steps"][None, :, None], curves["truth"][None, :, None]).item()
        assert axes.texts[0].get_text() == f"MSE {error:#.2g}".rstrip(".")
    support = setup.tasks("validation", 0, 6).support
    for t, axes in enumerate(figure.axes):
        (points,) = (drawn for drawn in axes.lines if drawn.get_label() == "support")
        np.testing.assert_array_equal(points.get_xdata(), support.x[t, :, 0])
        true = np.interp(points.get_xdata(), axes.lines[0].get_xdata(), axes.lines[0].get_ydata())
        np.testing.assert_allclose(points.get_ydata(), true, atol=5e-3)  # they lie on the true curve


@pytest.mark.parametrize(
    ("last", "shown"),
    [
        (0, ["prediction"]),
        (1, ["before", "1 step"]),
        (5, ["before", "1 step", "5 steps"]),
        (10, ["before", "1 step", "5 steps", "10 steps"]),
        (32, ["before", "1 step", "10 steps", "32 steps"]),
    ],
)
def test_fits_show_the_start_some_steps_and_always_the_last(last, shown):
    setup = build(*small("maml", "sinusoid", f"algo.eval_inner_steps={last}"))
    labels = [line.get_label() for line in fits(setup.algo, setup.source).axes[0].lines]
    assert labels == ["truth", "support", *shown]


def test_accuracy_is_in_percent_and_a_wide_error_on_a_log_scale():
    glyphs, sinusoid = build(*small("maml", "glyphs")), build(*small("maml", "sinusoid"))
    (axes,) = learning_curve(records(glyphs, 0.25, 0.5), glyphs.algo).axes
    assert axes.get_ylabel() == "accuracy (%)"
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [25, 50])
    assert axes.get_legend().get_texts()[-1].get_text() == "best: 50.00%"
    (axes,) = learning_curve(records(sinusoid, 4.0, 0.5), sinusoid.algo).axes
    assert axes.get_yscale() == "linear"
    assert axes.get_legend().get_texts()[-1].get_text() == "best: 0.5000"
    (axes,) = learning_curve(records(sinusoid, 4.0, 0.3), sinusoid.algo).axes
    assert axes.get_yscale() == "log"


def test_settings_that_differ_between_training_and_validation_are_named():
    def legend(setup: Setup) -> list[str]:
        (axes,) = learning_curve(records(setup, 0.5), setup.algo).axes
        return [text.get_text() for text in axes.get_legend().get_texts()][:2]

    assert legend(build(*small("maml", "glyphs"))) == ["training, 2 steps", "validation, 3 steps, 95% interval"]
    assert legend(build(*small("protonet", "glyphs"))) == ["training", "validation, 95% interval"]
    wide = build(*small("protonet", "glyphs", *THREE_WAY, "data.train.ways=8"))
    assert legend(wide) == ["training, 8-way", "validation, 3-way, 95% interval"]


def test_steps_show_the_band_and_where_training_stops():
    algo = build(*small("maml", "glyphs")).algo
    per_step = [{"step": i, "mean": 0.2 * i, "ci95": 0.01} for i in range(4)]
    (axes,) = along_axis(per_step, algo).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0, 20, 40, 60])
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(61)
    assert axes.lines[1].get_label() == "2 steps in training"
    assert list(axes.lines[1].get_xdata()) == [2, 2]


@pytest.mark.parametrize(
    "lines",
    [
        '{"step": 1, "split": "train", "mse": 2.0}',
        '{"step": 1, "split": "validation", "mse": 2.0, "ci95": NaN}',
        '{"step": 1, "split": "validation", "mse": Infinity, "ci95": NaN}',
        '{"step": 1, "split": "train", "mse": 1e-9}\n{"step": 2, "split": "train", "mse": 1e30}',
    ],
    ids=["no validation yet", "one episode", "diverged", "40 decades"],
)
@pytest.mark.filterwarnings("error")
def test_odd_records_can_be_drawn(lines):
    algo = build(*small("maml", "sinusoid")).algo
    figure = learning_curve([json.loads(line) for line in lines.splitlines()], algo)
    figure.savefig(io.BytesIO(), format="png")


def test_an_untrained_baseline_has_no_learning_curve(tmp_path):
    setup = build(*small("scratch", "sinusoid"))
    per_step = [{"step": i, "mean": 4.0 - i, "ci95": None} for i in range(4)]
    paths = draw_run(tmp_path, setup.algo, setup.source, [], {"per_step": per_step})
    assert [path.name for path in paths] == ["fits.png", "steps.png"]


def test_photographs_are_shown_in_their_true_colours(tmp_path, monkeypatch):
    """RGB inputs are normalised, and grey ones are light where the photograph is: no ink."""
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    root = image_sets.write(tmp_path / "birds", fewer=0)
    algo = build("algo=protonet", "data=glyphs", *THREE_WAY).algo
    monkeypatch.setattr(episode, "predictions", lambda algo, tasks, x: torch.zeros(1, *x.shape[:2], 3))
    for own in ("data.normalise={mean: [0.5], std: [0.25]}", "data.channels=1"):
        source = image_sets.source(root, own)
        shown = episodes(algo, source).axes[0].images[0].get_array()
        support = image_sets.source(root, *([own] if "channels" in own else [])).sample("validation", 0, 2).support
        first = support.x[0][support.y[0] == 0][0].expand(3, -1, -1)
        np.testing.assert_allclose(shown, first.movedim(0, -1), atol=1e-5)
