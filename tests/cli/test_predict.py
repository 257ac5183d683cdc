"""`metabench predict`: a trained model on a user's own images or points, as a table, a CSV file and a picture."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image, ImageDraw
from program import GLYPHS, SINUSOID, only_run, run_metabench

SHAPES = {"circle": ImageDraw.ImageDraw.ellipse, "square": ImageDraw.ImageDraw.rectangle}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A trained ProtoNet, drawings of two classes in different formats and sizes, and two to be predicted."""
    cwd = tmp_path_factory.mktemp("predict") / "work"
    for name, draw in SHAPES.items():
        for kind in ("known", "new"):
            (cwd / kind / name).mkdir(parents=True)
        for i, size in enumerate((40, 60, 90)):
            image = Image.new("RGB" if i else "L", (size, size), 0)
            draw(
                ImageDraw.Draw(image),
                (size // 5, size // 5, size - size // 4, size - size // 4),
                outline="white",
                width=size // 10,
            )
            image.save(cwd / ("known" if i < 2 else "new") / name / f"{i}.{('png', 'jpg', 'bmp')[i]}")
    (cwd / "known/.DS_Store").write_text("")
    (cwd / "known/circle/notes.txt").write_text("of mine")
    assert run_metabench(*GLYPHS, "algo=protonet", "data.train.ways=5", cwd=cwd).code == 0
    return cwd


def predict(work, *more, support="known", queries="new"):
    run = str(only_run(work).relative_to(work))
    return run_metabench("predict", run, "--support", support, "--queries", queries, *more, cwd=work)


def test_a_table_a_csv_file_and_a_picture(work):
    done = predict(work, "-o", "found.csv", "-o", "found.png", "-o", "found.svg")
    assert (done.code, done.err) == (0, "")
    assert "ProtoNet trained on Glyphs, 5-way 1-shot; 4 examples of 2 classes" in done.out
    assert "of 2 queries" in done.out
    with (work / "found.csv").open() as lines:
        header, *rows = csv.reader(lines)
    assert header == ["query", "label", "circle", "square"]
    assert [row[0] for row in rows] == ["new/circle/2.bmp", "new/square/2.bmp"]
    chances = np.array([row[2:] for row in rows], dtype=float)
    np.testing.assert_allclose(chances.sum(1), 1)
    assert [row[1] for row in rows] == [header[2:][i] for i in chances.argmax(1)]
    assert Image.open(work / "found.png").width == 2000  # 300 dpi
    assert (work / "found.svg").read_text().startswith("<?xml")


def test_points_of_a_curve(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    assert run_metabench(*SINUSOID, cwd=work).code == 0
    (work / "points.csv").write_text("x,y\n0,0\n1,0.8\n2,0.9\n")
    (work / "asked.csv").write_text("x\n0.5\n1.5\n")
    done = predict(work, "-o", "fit.csv", "-o", "fit.png", support="points.csv", queries="asked.csv")
    assert (done.code, done.err) == (0, "")
    assert (work / "fit.csv").read_text().startswith("x,y\n0.5,")
    done = predict(work, support="asked.csv", queries="asked.csv")
    assert (done.code, done.err) == (2, "metabench: asked.csv: has no column y\n")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"support": "nowhere"}, 1, "nowhere: no such folder"),
        ({"support": "known/circle"}, 1, "known/circle: should have one folder of images per class; there are 0"),
        ({"queries": "empty"}, 1, "empty: has no image"),
        ({"queries": "broken"}, 1, "broken/a.png: is no picture that Pillow reads"),
        ({"queries": "new", "output": "found.txt"}, 2, "--output found.txt: should end in .csv, .png, .svg or .pdf"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_is_wrong_is_one_line(options, code, said, work):
    (work / "empty").mkdir(exist_ok=True)
    (work / "broken").mkdir(exist_ok=True)
    (work / "broken/a.png").write_bytes(b"no picture")
    output = options.pop("output", None)
    done = predict(work, *(["-o", output] if output else []), **options)
    assert (done.code, done.out, done.err) == (code, "", f"metabench: {said}\n")
