"""`metabench validate`: whether all that is configured can be built. No data is read and nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.table import Table

from metabench.cli.arguments import Parser, find_own_packages
from metabench.config.catalog import entries, folders
from metabench.config.compose import compose
from metabench.config.explain import explain
from metabench.config.schema import FOOTNOTE, Config, Published
from metabench.errors import ConfigError, UnfitBackboneError, UserError, suggest
from metabench.runs.experiment import cost
from metabench.utils.console import Display, format_metric, open_console
from metabench.utils.counted import counted
from metabench.utils.exit import leave
from metabench.utils.progress import Phase

PLACE = "omniglot"  # the data on which every backbone is built
FEW = 16  # that other processes are not worth starting for


class Checked(NamedTuple):
    """Result of checking one command line."""

    overrides: tuple[str, ...]
    config: Config | None = None  # None where it does not compose
    fault: str | None = None
    misfit: str | None = None  # what an algorithm says of data or a backbone that is not for it


def main(arguments: list[str]) -> None:
    """Check experiments, and every algorithm on every data set and backbone; exits with 1 if anything is at fault."""
    parser = Parser(
        prog="metabench validate",
        description="Build every experiment, and every algorithm for every data set and with every backbone; "
        "no data is read, nothing trained.",
    )
    parser.add_argument("experiment", nargs="*", help="only these; by default all, and all pairs")
    parser.take_config_dir()
    options = parser.parse_args(arguments)
    parser.check_config_dir(options)
    find_own_packages()
    places = folders(options.config_dir)
    known = entries("experiment", places)
    for name in options.experiment:
        if name not in known:
            parser.error(f"experiment={name}: {suggest(name, known, 'no such experiment')}")
    algos, data, backbones = (
        [] if options.experiment else list(entries(group, places)) for group in ("algo", "data", "backbone")
    )
    names = options.experiment or list(known)
    experiments = [(f"experiment={name}",) for name in names]
    pairs = [(f"algo={a}", f"data={d}") for d in data for a in algos]
    models = [(f"algo={a}", f"backbone={b}", f"data={PLACE}") for b in backbones for a in algos]
    try:
        found = check_all([*experiments, *pairs, *models], options.config_dir)
    except OSError as unreadable:
        parser.error(explain(unreadable))
    cells, matrix = found[: len(experiments)], found[len(experiments) :]
    on_data, on_backbones = matrix[: len(pairs)], matrix[len(pairs) :]
    cells = [cell._replace(fault=cell.fault or cell.misfit) for cell in cells]
    console = open_console()
    with_others = {one: lead for lead, cell in zip(names, cells, strict=True) for one in tested_with(cell.config)}
    console.print(_cells(cells, with_others))
    if not options.experiment:
        trainings = counted(len(cells) - len(with_others), "training")
        console.print(f"{counted(len(cells), 'cell')}, {trainings}: the others are tests of one")
    if any(cell.config and cell.config.published and cell.config.published.mark for cell in cells):
        console.print(FOOTNOTE)
    if matrix:
        console.print("", _matrix("algorithms on data", algos, data, on_data))
        console.print("", _matrix(f"algorithms with backbones, on {PLACE}", algos, backbones, on_backbones))
        built = sum(not one.fault and not one.misfit for one in on_backbones)
        console.print(f"{len(on_backbones)} pairs, {built} built; -: they do not fit")
    faults = [f"{' '.join(one.overrides)}: {one.fault}" for one in (*cells, *matrix) if one.fault]
    for fault in faults:
        print(fault)
    if faults:
        leave(f"{len(faults)} of {len(found)} are at fault", 1)
    console.print("", f"{len(found)} configurations, all can be built")


def check_all(lines: Sequence[tuple[str, ...]], config_dir: str | None = None) -> list[Checked]:
    """`check` of each, on all cores, with progress."""
    one = partial(check, config_dir=config_dir)
    if len(lines) <= FEW:
        return [one(line) for line in lines]
    found = []
    with ProcessPoolExecutor() as pool, Phase(open_console(), None, "checking", len(lines)) as phase:
        for checked in pool.map(one, lines, chunksize=FEW):
            found.append(checked)
            phase.update(len(found))
    return found


def check(overrides: tuple[str, ...], config_dir: str | None = None) -> Checked:
    """Compose, check the values of every component, and build the model for the tasks of that data.

    What an experiment publishes must be something that its run reports.
    """
    from metabench.training.components import Components

    try:
        config = compose(*overrides, "device=cpu", config_dir=config_dir)
    except (HydraException, OmegaConfBaseException) as fault:
        return Checked(overrides, fault=explain(fault))
    except UserError as fault:
        cause = fault.__context__
        if isinstance(cause, OSError) and not isinstance(cause, HydraException):  # of the files, not of one experiment
            raise cause from None
        return Checked(overrides, fault=str(fault))
    try:
        parts = Components(config, Display())
    except ConfigError as fault:
        chosen = isinstance(fault, UnfitBackboneError) and any(one.startswith("backbone=") for one in overrides)
        ours = fault.key.partition(".")[0] == "algo" or (fault.key, config.data.get("root", "")) == ("data.root", None)
        return Checked(overrides, config, *((None, str(fault)) if ours or chosen else (str(fault), None)))
    except Exception as fault:
        return Checked(overrides, config, f"{type(fault).__name__}: {fault}")
    return Checked(overrides, config, _of_published(config.published, parts.metric, parts.algo.modes, parts.columns))


def _of_published(headline: Published | None, metric: str, modes: Sequence[str], columns: range) -> str | None:
    """Error in published values beside a run that ends with the last of `columns`."""
    if headline is None:
        return None
    for one in (headline, *headline.also):
        if one.metric != metric:
            return f"published.metric={one.metric}: this run reports its {metric}"
        if one.prediction not in (None, *modes):
            return f"published.prediction={one.prediction}: this run's is {' or '.join(modes)}"
        if one.at not in (None, *columns):
            return f"published.at={one.at}: this run reports {columns[0]} to {columns[-1]}"
    if headline.at not in (None, columns[-1]):
        return f"published.at={headline.at}: the headline should be what this run ends with, {columns[-1]}"
    return None


def tested_with(config: Config | None) -> list[str]:
    """The experiments that are tests of the training of a configuration."""
    listed = [override for test in ((config and config.tests) or {}).values() for override in test]
    return [override.removeprefix("experiment=") for override in listed if override.startswith("experiment=")]


def _cells(cells: Sequence[Checked], leads: Mapping[str, str]) -> Table:
    table = Table(title="experiments", title_justify="left", box=None, pad_edge=False)
    for heading in ("experiment", "cost", "published", "source", ""):
        table.add_column(heading, no_wrap=heading == "experiment")
    for cell in cells:
        config, published = cell.config, cell.config and cell.config.published
        name = cell.overrides[0].partition("=")[2]
        table.add_row(
            name,
            f"a test of {leads[name]}" if name in leads else cost(config) if config else "",
            format_metric(published.metric, published.value, published.ci95) + published.mark if published else "",
            "; ".join(filter(None, (published.source, published.note))) if published else "",
            "at fault" if cell.fault else "",
        )
    return table


def _matrix(title: str, algos: Sequence[str], others: Sequence[str], pairs: Sequence[Checked]) -> Table:
    """A row per algorithm, a column per data set or backbone: yes, - where they do not fit."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("", *others):
        table.add_column(heading)
    for i, algo in enumerate(algos):
        row = pairs[i :: len(algos)]
        table.add_row(algo, *("at fault" if one.fault else "-" if one.misfit else "yes" for one in row))
    return table
