"""`metabench tune`: search for the values of some keys by what runs find on validation tasks, never on test tasks."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metabench.cli.arguments import Parser, find_own_packages
from metabench.errors import ConfigError, UserError
from metabench.sweep.isolate import POSSIBLE
from metabench.utils.counted import counted
from metabench.utils.exit import continued, leave
from metabench.utils.install import pip_install
from metabench.utils.paths import expanded

DEFAULTS = {"trials": "20", "parallel": "1", "prune": "false", "study": ""}  # keys of a search, not of a run
EPILOG = """\
KEY=log(1e-4,1e-1)  KEY=interval(0,1)  KEY=int(interval(1,5))  KEY=a,b,c   vary a key; KEY=VALUE fixes one.
trials=20 is how many; parallel=4 runs four side by side; prune=true stops a trial whose best validation is worse than
the median of earlier trials at the same meta-step; study=FOLDER is where the search lies, outputs/tune/ID by default.

  metabench tune algo=maml data=sinusoid 'algo.inner_lr=log(1e-4,1e-1)' trials=20

Every trial is a run like any other, chosen by its best value on validation tasks. The same command continues a search
that was stopped or killed, and with more trials one that was finished.
"""


def main(arguments: list[str]) -> None:
    """Search; exits with 0, 1 (no trial has a value), 2 (bad input) or 128 + signal."""
    parser = Parser(
        prog="metabench tune",
        description="Search hyperparameters by the validation metric; test tasks are never used.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="+", metavar="KEY=VALUE", help="of a run, some of them varied")
    parser.take_config_dir()
    options = parser.parse_args(arguments)
    parser.check_config_dir(options)
    find_own_packages()
    own = DEFAULTS | {key: value for key, _, value in (o.partition("=") for o in options.overrides) if key in DEFAULTS}
    overrides = [o for o in options.overrides if o.partition("=")[0] not in own]
    for key in ("trials", "parallel"):
        if not own[key].isdigit() or int(own[key]) < 1:
            raise ConfigError(key, own[key], "should be a whole number, 1 or more")
    if own["prune"] not in ("true", "false"):
        raise ConfigError("prune", own["prune"], "should be true or false")
    if own["parallel"] != "1" and not POSSIBLE:
        raise ConfigError("parallel", own["parallel"], "should be 1 on this system: trials side by side need Linux")
    _search(overrides, options.config_dir, own)


@continued()
def _search(overrides: Sequence[str], config_dir: str | None, own: Mapping[str, str]) -> None:
    from metabench.config.explain import OPTIMIZED
    from metabench.runs.run_id import digest
    from metabench.sweep.search_space import as_overrides, corners, distribution, parse

    try:
        fixed, varied = parse(overrides)
    except AttributeError as fault:  # Hydra's, where assertions are left out
        raise fault if __debug__ else UserError(OPTIMIZED) from None
    if not varied:
        raise UserError("nothing is varied; KEY=log(1e-4,1e-1), KEY=interval(0,1) or KEY=a,b,c: metabench tune --help")
    try:
        space = {key: distribution(override) for key, override in varied.items()}
    except ModuleNotFoundError:
        raise UserError(f"metabench tune needs {pip_install('tune')}") from None
    trials, parallel, prune = int(own["trials"]), int(own["parallel"]), own["prune"] == "true"
    with _one_thread(parallel):
        metric, maximise, content = _measured([[*fixed, *corner] for corner in corners(varied)], config_dir)
    lines = sorted(str(override.input_line) for override in varied.values())
    about: dict[str, Any] = {"fixed": sorted(fixed), "varied": lines, "metric": metric}
    if prune:
        about["prune"] = True

    from metabench.cli.app import preload
    from metabench.cli.trials import Trials
    from metabench.sweep.study import Study
    from metabench.utils.console import open_console

    folder = expanded(own["study"] or Path("outputs/tune", digest(about)[:12]))
    study = Study(folder, about, content, space, maximise)
    console = open_console()
    if parallel > 1:
        preload()
    runs = Trials(study, fixed, config_dir, metric, prune, parallel)
    with study:
        console.print(f"search {study.folder}: {len(study.ended())} of {counted(trials, 'trial')} done")
        study.search(trials, runs, parallel)
        best = study.best()
        console.print("", _table(study, metric, best))
    if best is None:
        leave("no trial has a value", 1)
    outcome = study.outcome(best)
    line = shlex.join(["metabench", *runs.command(as_overrides({key: best.params[key] for key in space}))])
    console.print(f"\nbest on validation: trial {best.number}, {outcome.run}\n{line}")


@contextmanager
def _one_thread(parallel: int) -> Iterator[None]:
    """Where trials are to be forked: threads of OpenMP that a process has started are missing in its forks."""
    import torch

    threads = torch.get_num_threads()
    if parallel > 1:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _measured(lines: Sequence[Sequence[str]], config_dir: str | None) -> tuple[str, bool, str]:
    """The metric of such runs, whether more is better, and a digest of the data and code behind their configurations.

    Raises `UserError` where one of them cannot be built.
    """
    from metabench.config.compose import compose
    from metabench.runs.inputs import content_digests
    from metabench.runs.run_id import digest
    from metabench.training.components import Components, find_components, run_inputs
    from metabench.utils.console import Display

    built = [Components(compose(*line, config_dir=config_dir), Display()) for line in lines]
    for line, parts in zip(lines, built, strict=True):
        if not parts.steps:
            raise UserError(f"{' '.join(line)}: nothing is meta-trained, so that validation has nothing to choose")
    sources = {repr(parts.config.data): parts.source for parts in built}  # each is read once
    cards = [content_digests(source.card()) for source in sources.values()]
    inputs = [run_inputs(parts.config, find_components(parts.config)) for parts in built]
    return built[0].metric, built[0].algo.objective.better(1.0, 0.0), digest([cards, inputs])


def _table(study: Any, metric: str, best: Any) -> Any:
    from rich.table import Table

    from metabench.cli.trials import status_of
    from metabench.sweep.search_space import as_overrides
    from metabench.utils.console import format_metric

    table = Table(title="trials", title_justify="left", box=None, pad_edge=False)
    for heading in ("trial", "overrides", f"validation {metric}", ""):
        table.add_column(heading)
    for trial in study.ended():
        outcome = study.outcome(trial)
        failed = f"{status_of(outcome)}: {outcome.reason or ''}"
        found = failed if outcome.value is None else format_metric(metric, outcome.value)
        chosen = "best" if best is not None and trial.number == best.number else ""
        table.add_row(str(trial.number), " ".join(as_overrides(trial.params)), found, chosen)
    return table
