"""`metabench tune`: search for the values of some keys by what runs find on validation tasks, never on test tasks."""

from __future__ import annotations

import argparse
import math
import shlex
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from metabench.cli.arguments import Parser, find_own_packages
from metabench.errors import ConfigError, UserError
from metabench.utils.exit import leave
from metabench.utils.install import pip_install
from metabench.utils.paths import expanded
from metabench.utils.signals import Interrupted

TRIALS = 20
EPILOG = """\
KEY=log(1e-4,1e-1)  KEY=interval(0,1)  KEY=int(interval(1,5))  KEY=a,b,c   vary a key; KEY=VALUE fixes one.
trials=20 is how many; study=FOLDER is where the search lies, outputs/tune/ID by default.

  metabench tune algo=maml data=sinusoid 'algo.inner_lr=log(1e-4,1e-1)' trials=20

Every trial is a run like any other, chosen by its best value on validation tasks. The same command continues a search
that was stopped or killed, and with more trials one that was finished.
"""


def main(arguments: list[str]) -> None:
    """Search; exits with 0, 1 (no trial has a value), 2 (bad input) or 128 + signal."""
    parser = Parser(
        prog="metabench tune",
        description=__doc__.partition(": ")[2],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="+", metavar="KEY=VALUE", help="of a run, some of them varied")
    parser.take_config_dir()
    options = parser.parse_args(arguments)
    parser.check_config_dir(options)
    find_own_packages()
    own = {"trials": str(TRIALS), "study": ""}
    own |= {key: value for key, _, value in (o.partition("=") for o in options.overrides) if key in own}
    overrides = [o for o in options.overrides if o.partition("=")[0] not in own]
    try:
        if not own["trials"].isdigit() or int(own["trials"]) < 1:
            raise ConfigError("trials", own["trials"], "should be a whole number, 1 or more")
        _search(overrides, options.config_dir, int(own["trials"]), own["study"])
    except UserError as fault:
        leave(str(fault), fault.exit_code)
    except (HydraException, OmegaConfBaseException) as fault:
        from metabench.config.explain import explain

        leave(explain(fault), 2)
    except Interrupted as stopped:
        leave(str(stopped), stopped.exit_code)


def _search(overrides: Sequence[str], config_dir: str | None, trials: int, folder: str) -> None:
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
    place = [f"--config-dir={config_dir}"] if config_dir else []
    metric, maximise = _measured([[*fixed, *corner] for corner in corners(varied)], config_dir)
    about = {"fixed": sorted(fixed), "varied": sorted(str(o.input_line) for o in varied.values()), "metric": metric}

    from metabench.config.compose import composition
    from metabench.sweep.study import Outcome, Study
    from metabench.training.execute import execute
    from metabench.utils.console import Display, format_metric, open_console

    study = Study(expanded(folder or Path("outputs/tune", digest(about)[:12])), about, space, maximise)
    console = open_console()

    def run(number: int, values: dict[str, Any]) -> Outcome:
        own = as_overrides(values)
        console.print(f"\ntrial {number}: {' '.join(own)}", markup=False)
        try:
            composed = composition(*fixed, *own, config_dir=config_dir)
            summary, path = execute(*composed, [*place, *fixed, *own], Display(results=False))  # none before the choice
        except UserError as fault:
            return _failed(console, number, str(fault))
        except Exception as fault:
            traceback.print_exc()
            return _failed(console, number, f"{type(fault).__name__}: {fault}")
        value = summary["selected"]["value"]
        if value is None or not math.isfinite(value):
            return _failed(console, number, "every validation has tasks whose metric is not finite")
        console.print(f"trial {number}: validation {metric} {format_metric(metric, value)}", markup=False)
        return Outcome(value, str(path))

    with study:
        console.print(f"search {study.folder}: {len(study.ended())} of {trials} trials are done", markup=False)
        study.search(trials, run)
        best = study.best()
        console.print("", _table(study, metric, best))
    if best is None:
        leave("no trial has a value", 1)
    outcome = study.outcome(best)
    line = shlex.join(["metabench", *place, *fixed, *as_overrides({key: best.params[key] for key in space})])
    console.print(f"\nbest on validation: trial {best.number}, {outcome.run}\n{line}", markup=False)


def _failed(console: Any, number: int, reason: str) -> Any:
    from metabench.sweep.study import Outcome

    console.print(f"trial {number} failed: {reason}", markup=False)
    return Outcome(None, None, reason)


def _measured(lines: Sequence[Sequence[str]], config_dir: str | None) -> tuple[str, bool]:
    """The metric of such runs and whether more is better; raises `UserError` where one of them cannot be built."""
    from metabench.config.compose import compose
    from metabench.training.components import Components
    from metabench.utils.console import Display

    built = [Components(compose(*line, config_dir=config_dir), Display()) for line in lines]
    for line, parts in zip(lines, built, strict=True):
        if not parts.steps:
            raise UserError(f"{' '.join(line)}: nothing is meta-trained, so that validation has nothing to choose")
    return built[0].metric, built[0].algo.objective.better(1.0, 0.0)


def _table(study: Any, metric: str, best: Any) -> Any:
    from rich.table import Table

    from metabench.sweep.search_space import as_overrides
    from metabench.utils.console import format_metric

    table = Table(title="trials", title_justify="left", box=None, pad_edge=False)
    for heading in ("trial", "overrides", f"validation {metric}", ""):
        table.add_column(heading)
    for trial in study.ended():
        outcome = study.outcome(trial)
        found = outcome.reason or "" if outcome.value is None else format_metric(metric, outcome.value)
        chosen = "best" if best is not None and trial.number == best.number else ""
        table.add_row(str(trial.number), " ".join(as_overrides(trial.params)), found, chosen)
    return table
