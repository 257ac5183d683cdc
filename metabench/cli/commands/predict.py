"""`metabench predict RUN --support DIR --queries DIR`: a trained model on images or points of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metabench.cli.arguments import Parser, find_own_packages
from metabench.cli.output import check_output
from metabench.errors import UserError
from metabench.utils.counted import counted
from metabench.utils.paths import expanded

if TYPE_CHECKING:
    from metabench.inference.learner import Learner

EPILOG = """\
  metabench predict RUN --support letters --queries new
  metabench predict RUN --support letters --queries new -o labels.csv -o labels.png
  metabench predict RUN --support points.csv --queries x.csv        a run on curves: columns x and y, and x

letters/a/1.png letters/a/2.png letters/b/1.png …: one folder per class, whose name is the label. Images may have any
format and size; they are prepared as in training. Where queries lie in folders of those names too, the accuracy is
given. Each query is predicted by itself.
"""
TABLE, PICTURES = ".csv", (".png", ".svg", ".pdf")


def main(arguments: list[str]) -> None:
    """Predict and print a table; exits with 0, 1 (no model, no data) or 2 (bad input)."""
    parser = Parser(
        prog="metabench predict",
        description="Adapt a trained model to labelled images (or points) and predict others.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the directory of a run")
    parser.add_argument("--support", required=True, metavar="DIR", type=Path, help="one folder per class; FILE.csv")
    parser.add_argument("--queries", required=True, metavar="DIR", type=Path, help="images to predict; FILE.csv")
    parser.add_argument(
        "--output", "-o", metavar="FILE", action="append", default=[], help="FILE.csv, .png, .svg or .pdf; repeatable"
    )
    options = parser.parse_args(arguments)
    find_own_packages()
    support, queries = expanded(options.support), expanded(options.queries)
    outputs = [_writable(expanded(output), support, queries) for output in options.output]
    from metabench.inference.learner import load

    learner = load(options.run)
    of_images = len(learner.spec.input_shape) == 3
    (_predict_images if of_images else _predict_points)(learner, support, queries, outputs)


def _writable(path: Path, *inputs: Path) -> Path:
    if path.suffix not in (TABLE, *PICTURES):
        raise UserError(f"--output {path}: should end in .csv, .png, .svg or .pdf")
    check_output(path)
    if path.exists() and any(path.resolve().is_relative_to(given.resolve()) for given in inputs):
        raise UserError(f"--output {path}: is one of the inputs; give another name")
    return path


def _predict_images(learner: Learner, support: Path, queries: Path, outputs: list[Path]) -> None:
    from metabench.inference.folders import read_queries, read_support

    shown, asked = read_support(support), read_queries(queries)
    labels, chances = learner.adapt(shown.paths, shown.labels).predict(asked.paths)
    known = set(learner.classes)
    truth = [label if label in known else None for label in asked.labels]
    best = chances.max(axis=1)
    right = [None if true is None else bool(true == label) for true, label in zip(truth, labels, strict=True)]
    title = f"{learner.title}; {counted(len(shown.paths), 'example')} of {counted(len(known), 'class', 'classes')}"
    rows = [
        [str(path), str(label), f"{chance:.1%}", *([str(true)] if any(truth) else [])]
        for path, label, chance, true in zip(asked.paths, labels, best, truth, strict=True)
    ]
    _print(title, ["query", "label", "probability", *(["folder"] if any(truth) else [])], rows)
    if judged := [found for found in right if found is not None]:
        print(f"accuracy {sum(judged) / len(judged):.2%}: {sum(judged)} of {counted(len(judged), 'query', 'queries')}")
    for output in outputs:
        if output.suffix == TABLE:
            header = ["query", "label", *map(str, learner.classes)]
            found = zip(asked.paths, labels, chances.tolist(), strict=True)
            _write_csv(output, header, [[path, label, *row] for path, label, row in found])
        else:
            from metabench.data.images.pictures import open_picture
            from metabench.plots.predicted import predicted_classes

            pairs = [(open_picture(path), label) for path, label in zip(shown.paths, shown.labels, strict=True)]
            facts = zip(map(open_picture, asked.paths), map(str, labels), best.tolist(), right, strict=True)
            _draw(output, lambda pairs=pairs, facts=list(facts): predicted_classes(pairs, facts, title))
        print(f"written to {output}")


def _predict_points(learner: Learner, support: Path, queries: Path, outputs: list[Path]) -> None:
    from metabench.inference.folders import read_points

    shown, asked = read_points(support), read_points(queries)
    if shown.y is None:
        raise UserError(f"{support}: has no column y")
    values, std = learner.adapt(shown.x, shown.y).predict(asked.x)
    header = ["x", "y", *(["std"] if std is not None else [])]
    columns = [asked.x, values.tolist(), *([std.tolist()] if std is not None else [])]
    rows: list[list[Any]] = [list(row) for row in zip(*columns, strict=True)]
    title = f"{learner.title}; {len(shown.x)} examples"
    _print(title, header, [[f"{value:.4f}" for value in row] for row in rows])
    for output in outputs:
        if output.suffix == TABLE:
            _write_csv(output, header, rows)
        else:
            from metabench.plots.predicted import predicted_curve

            given = (shown.x, shown.y)
            _draw(output, lambda given=given: predicted_curve(given, (asked.x, values), std, title))
        print(f"written to {output}")


def _print(title: str, header: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table

    from metabench.utils.console import open_console

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in header:
        table.add_column(name)
    for row in rows:
        table.add_row(*row)
    open_console().print(table)


def _write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    from metabench.report.csv_text import csv_text
    from metabench.utils.files import write_bytes

    write_bytes(path, csv_text([dict(zip(header, row, strict=True)) for row in rows], header).encode())


def _draw(path: Path, draw: Any) -> None:
    from metabench.plots import looks, write

    with looks():
        write(draw(), path)
