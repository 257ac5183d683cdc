"""`metabench plot`: runs grouped over seeds, figures that are those of the files, and refusals in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import made_runs
import numpy as np
import pytest
import torch
from build import build, small
from layout import crowded
from PIL import Image
from program import GLYPHS, SINUSOID, only_run, run_metabench

from metabench.evaluation.evaluate import evaluate
from metabench.plots.embedding import embed, embeddings, plane
from metabench.plots.groups import along_axes, learning_curves
from metabench.plots.named import Group, group
from metabench.runs.reader import find
from metabench.utils.interval import added, crossed, half_width

TESTED = [0.5, 1.0, 1.5, 1.0]  # on test tasks
VALUES = {0: [4.0, 2.0, 1.0], 1: [3.0, 2.5, 0.5], 2: [5.0, 1.5, 0.75]}  # validation, by seed


def write_run(folder: Path, *overrides: str, values: list[float], steps: tuple[float, ...] = (), tested=TESTED):
    """A run directory as a finished run leaves it, less checkpoints; without `steps` one that has not been tested."""
    metric = "accuracy" if "data=glyphs" in overrides else "mse"
    per_step = [{"step": i, "mean": v, "ci95": 0.5} for i, v in enumerate(steps)]
    made_runs.write_run(folder, *overrides, metric=metric, per_step=per_step, values=tested)
    lines = [{"step": 10 * i, "split": "validation", metric: v, "ci95": 0.25} for i, v in enumerate(values, start=1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if not steps:
        (folder / "summary.json").unlink()
    return folder


def drawn(*folders: Path) -> list[Group]:
    return group(find(folders)[0])[0]


@pytest.fixture
def three(tmp_path):
    """A folder with three seeds of MAML."""
    for seed, values in VALUES.items():
        tested = [value + 0.1 * seed for value in TESTED]
        steps = (4.0, 2.0 + seed, 1.0 + 0.1 * seed)
        write_run(tmp_path / "runs" / str(seed), f"seed={seed}", values=values, steps=steps, tested=tested)
    return tmp_path / "runs"


def band_of(axes, index: int = 0) -> tuple[list[float], list[float]]:
    """Lower and upper edge of a band at each of its points."""
    corners = axes.collections[index].get_paths()[0].vertices
    xs = axes.lines[index].get_xdata()
    edges = [sorted(corners[np.isclose(corners[:, 0], x), 1]) for x in xs]
    return [edge[0] for edge in edges], [edge[-1] for edge in edges]


def test_a_curve_is_the_mean_over_seeds_with_the_interval_of_seeds_and_tasks(three):
    groups = drawn(three)
    (axes,) = learning_curves(groups, "validation").axes
    points, tasks = list(zip(*VALUES.values(), strict=True)), groups[0].runs[0].validation_tasks
    means, halves = [np.mean(p) for p in points], [added(p, [0.25] * 3, tasks).half_width() for p in points]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [10, 20, 30])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), means)
    low, high = band_of(axes)
    np.testing.assert_allclose(low, np.subtract(means, halves))
    np.testing.assert_allclose(high, np.add(means, halves))
    assert axes.figure.legends[0].get_texts()[0].get_text() == f"MAML (3 seeds): 0.7500 ± {halves[-1]:.4f}"
    assert axes.figure.legends[0].get_title().get_text() == "Sinusoid, 10-shot, validation tasks"
    note = f"bands: 95% interval of the mean over seeds and tasks; protocol {groups[0].runs[0].protocol}"
    assert axes.figure._supxlabel.get_text() == note


def test_of_one_seed_the_band_is_over_tasks(three):
    picture = learning_curves(drawn(three / "1"), "validation")
    low, high = band_of(picture.axes[0])
    np.testing.assert_allclose(low, np.subtract(VALUES[1], 0.25))
    np.testing.assert_allclose(high, np.add(VALUES[1], 0.25))
    assert "over tasks where there are fewer than three seeds" in picture._supxlabel.get_text()


def test_two_seeds_have_a_line_each_in_one_colour(three):
    picture = learning_curves(drawn(three / "0", three / "2"), "validation")
    first, second = picture.axes[0].lines
    np.testing.assert_allclose(first.get_ydata(), VALUES[0])
    np.testing.assert_allclose(second.get_ydata(), VALUES[2])
    assert first.get_color() == second.get_color()
    words = [text.get_text() for text in picture.legends[0].get_texts()]
    assert words == ["MAML, seed 0: 1.0000 ± 0.2500", "MAML, seed 2: 0.7500 ± 0.2500"]


def test_training_tasks_differ_between_seeds_and_the_band_is_over_seeds(three):
    for seed in VALUES:
        (three / f"{seed}/metrics.jsonl").write_text(f'{{"step": 1, "split": "train", "mse": {seed}.0}}\n')
    picture = learning_curves(drawn(three), "train")
    assert picture.legends[0].get_texts()[0].get_text() == f"MAML (3 seeds): 1.0000 ± {half_width([0, 1, 2]):.4f}"
    assert "interval of the mean over seeds;" in picture._supxlabel.get_text()


def test_seeds_that_go_on_are_drawn_as_far_as_all_have_come(three, tmp_path):
    write_run(tmp_path / "runs/3", "seed=3", values=[2.0, 1.0])
    (axes,) = learning_curves(drawn(three), "validation").axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [3.5, 1.75])


def test_a_line_along_the_inner_steps_and_a_level_for_what_has_none(three, tmp_path):
    write_run(tmp_path / "other", "algo=r2d2", values=[1.0], steps=(0.3,))
    picture = along_axes(drawn(three, tmp_path / "other"))
    maml, level = picture.axes[0].lines
    np.testing.assert_allclose(maml.get_ydata(), [4, 3, 1.1])
    low, high = band_of(picture.axes[0])
    end = crossed(np.array([[value + 0.1 * seed for value in TESTED] for seed in VALUES])).half_width()
    halves = [added(means, [0.5] * 3, 4).half_width() for means in ([4, 4, 4], [2, 3, 4])]
    np.testing.assert_allclose(np.subtract(high, low) / 2, [*halves, end])  # the end has every task's value
    np.testing.assert_allclose(level.get_ydata(), [0.3, 0.3])
    np.testing.assert_allclose(level.get_xdata(), [0, 2])
    assert picture.axes[0].get_xlabel() == "inner steps"
    assert picture.legends[0].get_title().get_text() == "Sinusoid, 10-shot, 4 test tasks"


def test_groups_are_named_by_what_tells_them_apart(tmp_path):
    cases = [("algo=maml",), ("algo=pretrain",), ("algo=pretrain", "algo.inner_lr=0.5"), ("algo=reptile", "seed=4")]
    for number, overrides in enumerate(cases):
        write_run(tmp_path / str(number), *overrides, values=[1.0])
    first, second, third, fourth = (g.name for g in drawn(tmp_path))
    assert (first, third, fourth) == ("MAML", "Pretrain inner_lr=0.5", "Reptile")
    assert second.startswith("Pretrain inner_lr=0.")


def test_a_run_named_twice_is_one_and_a_copy_of_it_is_left_out(three, tmp_path):
    assert len(find([three, three / "1", three.parent])[0]) == 3
    shutil.copytree(three / "1", tmp_path / "copy")
    done = run_metabench("plot", "curves", "copy", "runs", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "left out: runs/1: seed 1 is there already: copy\n" in done.out


def spoil(name: str, text: str):
    return lambda run: (run / name).write_text(text)


BAD = {
    "no folder": (["curves", "nowhere"], None, "nowhere: no such folder"),
    "no run": (["curves", "empty"], None, "empty: holds no run"),
    "not a picture": (["curves", "runs/0", "-o", "x.gif"], None, "--output x.gif: should end in .png, .svg or .pdf"),
    "no such output": (["curves", "runs/0", "-o", "a/b.png"], None, "--output a/b.png: there is no folder a"),
    "no kind": (["bars", "runs/0"], None, "plot: argument KIND: invalid choice: 'bars'"),
    "no folders": (["curves"], None, "plot: the following arguments are required: DIR"),
    "yaml": (["curves", "runs/0"], spoil("config.yaml", "a: [1"), "runs/0: config.yaml: is not a configuration"),
    "another config": (["curves", "runs/0"], spoil("config.yaml", "a: 1"), "is not the configuration of a run"),
    "metrics": (
        ["curves", "runs/0"],
        spoil("metrics.jsonl", '{"split": "validation"}\n'),
        "line 1 is not a line of",
    ),
    "no metrics": (["curves", "runs/0"], spoil("metrics.jsonl", ""), "has no line of split=validation yet"),
    "other metric": (
        ["curves", "runs/0"],
        spoil("metrics.jsonl", '{"step": 1, "split": "validation"}\n'),
        "has lines without accuracy or mse",
    ),
    "summary": (["steps", "runs/0"], spoil("summary.json", "{}"), "runs/0: summary.json: "),
    "unfinished": (["steps", "runs/0"], lambda run: (run / "summary.json").unlink(), "runs/0: is not finished"),
    "no model": (["fits", "runs/0"], None, "runs/0: has no model: runs/0/checkpoints/best.pt: No such file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_drawn_is_refused_in_one_line(name, three, tmp_path):
    arguments, damage, reason = BAD[name]
    (tmp_path / "empty").mkdir()
    if damage:
        damage(three / "0")
    done = run_metabench("plot", *arguments, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("metabench: ")
    assert done.err.count("\n") == 1
    assert reason in done.err
    assert not list(tmp_path.glob("*.png"))


def test_what_lies_in_a_folder_and_cannot_be_drawn_is_left_out_and_said(three, tmp_path):
    (three / "2" / "metrics.jsonl").write_text("{")  # a first line that a kill cut short
    done = run_metabench("plot", "curves", "runs", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "left out: runs/2: metrics.jsonl: has no line of split=validation yet\n" in done.out
    assert "MAML (2 seeds): runs/0, runs/1\nwritten to curves.png\n" in done.out


def test_accuracy_and_error_do_not_share_an_axis(three, tmp_path):
    write_run(tmp_path / "glyphs", "algo=maml", "data=glyphs", values=[0.5])
    done = run_metabench("plot", "curves", "runs", "glyphs", cwd=tmp_path)
    assert done.err == "metabench: glyphs: is measured by accuracy, runs/0 by mse; draw them apart\n"
    assert done.code == 2


@pytest.mark.slow
def test_real_runs_are_drawn_the_same_every_time(tmp_path):
    for algo in ("maml", "r2d2"):
        assert run_metabench(*SINUSOID, f"algo={algo}", cwd=tmp_path).code == 0
    for kind in ("curves", "steps", "fits"):
        for name in ("a.svg", "b.svg", "a.png"):
            done = run_metabench("plot", kind, "outputs", "-o", name, cwd=tmp_path)
            assert (done.code, done.err) == (0, "")
        svg = (tmp_path / "a.svg").read_bytes()
        assert svg == (tmp_path / "b.svg").read_bytes()
        assert b"<svg" in svg[:500]
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert run_metabench(*SINUSOID, "algo=maml", "data.shots=3", "run_dir=three", cwd=tmp_path).code == 0
    done = run_metabench("plot", "fits", "outputs", "three", cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith("metabench: three: has other validation tasks than outputs/sinusoid/maml/")


def test_an_episode_of_a_real_run_is_drawn_and_curves_are_not(tmp_path):
    assert run_metabench(*GLYPHS, "algo=protonet", cwd=tmp_path).code == 0
    done = run_metabench("plot", "embedding", "outputs", "--queries", "4", "--task", "2", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "embedding.png").exists()
    done = run_metabench("plot", "fits", str(only_run(tmp_path)), cwd=tmp_path)
    assert done.code == 2
    assert "has no curves to fit" in done.err


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_picture_for_a_paper(suffix, three, tmp_path):
    done = run_metabench("plot", "curves", "runs", "-o", f"c.{suffix}", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    content = (tmp_path / f"c.{suffix}").read_bytes()
    assert {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix] == content[: 5 if suffix == "svg" else 4]
    if suffix == "png":
        with Image.open(tmp_path / "c.png") as image:
            assert image.size[0] == 2000
            assert image.info["dpi"] == pytest.approx((300, 300), rel=1e-3)


def test_a_plane_keeps_the_distances_of_what_is_flat_and_says_how_much_it_holds():
    torch.manual_seed(0)
    flat = torch.randn(9, 2).double() * torch.tensor([3.0, 1.0])
    turn = torch.linalg.qr(torch.randn(6, 6).double())[0][:2]
    points, shares = plane(flat @ turn + 5)
    torch.testing.assert_close(torch.cdist(points, points), torch.cdist(flat, flat))
    assert sum(shares) == pytest.approx(1)
    assert shares[0] > shares[1]
    assert plane(torch.ones(4, 1))[1] == (0, 0)  # nothing varies


@pytest.mark.parametrize("algo", ["maml", "anil", "protonet", "matchingnet"])
def test_an_embedding_is_that_of_evaluation(algo):
    setup = build(*small(algo, "glyphs", "data.queries=2", "data.shots=2"))
    found = embed(setup.algo, setup.source, 1)
    tasks = setup.tasks("validation", 1, 1)
    accuracy = evaluate(setup.algo, setup.source, "validation", 2, batch=1)["accuracy"][1, -1].item()
    assert (found.predicted == found.labels[1]).double().mean().item() == pytest.approx(accuracy)
    begin, end = found.moments[0], found.moments[-1]
    setup.algo.eval()
    with torch.no_grad():
        if algo == "protonet":  # from its embeddings to its predictions
            means = torch.stack([end.support[found.labels[0] == n].mean(0) for n in range(4)])
            assert torch.equal(torch.cdist(end.query, means).argmin(1), found.predicted)
        if algo in ("maml", "anil"):
            torch.testing.assert_close(begin.support, setup.algo.backbone(tasks.support.x)[0])
            torch.testing.assert_close(begin.query, setup.algo.backbone(tasks.query.x)[0])
    assert len(found.moments) == (2 if algo == "maml" else 1)  # the others' features do not adapt
    picture = embeddings({f"x, with a name of {'many ' * 8}words {i}": found for i in range(3)}, 1, "title")
    assert len(picture.axes) == 3 * len(found.moments)
    assert crowded(picture) == []


def test_a_model_that_compares_maps_has_no_features_to_draw():
    setup = build(*small("relationnet", "glyphs"))
    assert embed(setup.algo, setup.source, 0) is None
