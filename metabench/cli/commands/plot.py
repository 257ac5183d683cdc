"""`metabench plot KIND DIR…`: pictures of several runs, grouped over seeds."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from metabench.cli.arguments import Parser, find_own_packages
from metabench.cli.output import check_output
from metabench.errors import UserError
from metabench.utils.exit import leave
from metabench.utils.paths import expanded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from metabench.plots.named import Group
    from metabench.runs.reader import RunReader

ROWS = 3  # tasks of `fits`
FOLDERS = "a run directory, or a folder of them; links are followed, hidden folders are not entered"


def main(arguments: list[str]) -> None:
    """Draw one picture of the runs in the folders given and say where it lies."""
    options = _parser().parse_args(arguments)
    find_own_packages()
    try:
        from metabench.figures.files import check_picture

        output = check_picture(expanded(options.output or f"{options.kind}.png"))
        check_output(output)
        from metabench.plots import looks, write
        from metabench.plots.named import group, usable
        from metabench.runs.reader import find

        found, skipped = find((expanded(folder) for folder in options.folders), tests=False)
        if not found and not skipped:
            raise UserError(f"{', '.join(options.folders)}: holds no run, which is a folder with a summary.json")
        runs, left_out = usable(found, lambda run: options.needed(run, options), skipped)
        groups, spare = group(runs)
        with looks():
            write(options.draw(groups, options), output)
    except UserError as fault:
        leave(str(fault), 2)
    for skip in [*left_out, *spare]:
        print(f"left out: {skip}")
    for g in groups:
        print(f"{g.label}: {', '.join(str(run.path) for run in g.runs)}")
    print(f"written to {output}")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="metabench plot", description="Plot runs. Runs that differ only in the seed share one curve.")
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    made = {}
    for kind, (draw, needed, text) in KINDS.items():
        made[kind] = own = kinds.add_parser(kind, help=text, description=text)
        own.add_argument("folders", nargs="+", metavar="DIR", help=FOLDERS)
        own.add_argument("--output", "-o", metavar="FILE", help=f"FILE.png, .svg or .pdf; {kind}.png by default")
        own.set_defaults(draw=draw, needed=needed)
    made["curves"].add_argument("--split", choices=("validation", "train"), default="validation", help="of which tasks")
    made["embedding"].add_argument("--task", type=_count, default=0, help="which validation task; 0 by default")
    made["embedding"].add_argument("--queries", type=_count, help="queries per class; as in the run by default")
    for one in (parser, *made.values()):
        one.error = lambda message: leave(f"plot: {message}; see metabench plot --help", 2)  # type: ignore[method-assign]
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: should be a whole number, 0 or more")
    return int(text)


def _curves(groups: Sequence[Group], options: Any) -> Figure:
    from metabench.plots.groups import learning_curves

    return learning_curves(groups, options.split)


def _steps(groups: Sequence[Group], options: Any) -> Figure:
    from metabench.plots.groups import along_axes

    return along_axes(groups)


def _rounds(groups: Sequence[Group], options: Any) -> Figure:
    from metabench.plots.rounds import rounds_of

    return rounds_of(groups)


def _fits(groups: Sequence[Group], options: Any) -> Figure:
    import torch

    from metabench.data.curves import Curves
    from metabench.plots.fits import Fits, side_by_side
    from metabench.plots.named import title
    from metabench.training.restore import trained

    named: dict[str, Fits] = {}
    for g in groups:
        run = g.runs[0]
        algo, source = trained(run)
        if not isinstance(source, Curves):
            raise UserError(f"{run.path}: {type(source).__name__} has no curves to fit; see plot embedding")
        name = f"{g.name}, seed {run.seed}"
        named[name] = Fits(algo, source, ROWS)
        first = next(iter(named.values()))
        same = zip(first.tasks.support, named[name].tasks.support, strict=True)
        if not all(a.shape == b.shape and torch.equal(a, b) for a, b in same):
            raise UserError(f"{run.path}: has other validation tasks than {groups[0].runs[0].path}")
    return side_by_side(named, f"{title(groups)}, validation tasks 0 to {ROWS - 1}")


def _embedding(groups: Sequence[Group], options: Any) -> Figure:
    from metabench.plots.embedding import embed, embeddings
    from metabench.plots.named import title
    from metabench.training.restore import trained

    named = {}
    for g in groups:
        run = g.runs[0]
        algo, source = trained(run, options.queries)
        spec = source.spec
        if spec.objective != "cross_entropy" or spec.setting != "few_shot":
            raise UserError(f"{run.path}: {type(source).__name__} has no classes to embed; see plot fits")
        found = embed(algo, source, options.task)
        if found is None:
            raise UserError(f"{run.path}: {type(algo).__name__} does not use the features of its backbone")
        named[f"{g.name}, seed {run.seed}"] = found
    return embeddings(named, options.task, title(groups))


class Kind(NamedTuple):
    """A picture: how it is drawn, what every run must have for it, and its line of help."""

    draw: Callable[[Sequence[Group], Any], Figure]
    needed: Callable[[RunReader, Any], Any]
    text: str


KINDS = {
    "curves": Kind(_curves, lambda run, options: run.lines(options.split), "the metric against meta-steps, over seeds"),
    "steps": Kind(_steps, lambda run, _: run.summary, "the metric on test tasks against inner steps, over seeds"),
    "rounds": Kind(_rounds, lambda run, _: run.summary, "how tasks were learned that came online, one after the other"),
    "fits": Kind(_fits, lambda run, _: run.weights, "fits of the same validation curves, models side by side"),
    "embedding": Kind(_embedding, lambda run, _: run.weights, "features of a validation episode, models side by side"),
}
