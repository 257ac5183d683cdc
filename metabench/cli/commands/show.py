"""`metabench show RUN`: one run on one page: what it is, its result, its curves, its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metabench.cli.arguments import Parser
from metabench.errors import UserError
from metabench.runs.listing import COMPLETE, age_text, row_of, size_text
from metabench.runs.own_files import MARKS, TESTS
from metabench.runs.reader import RunReader
from metabench.utils.counted import counted
from metabench.utils.files import DamagedError
from metabench.utils.paths import expanded

GOES_ON = ("running", "stopped", "killed")


def main(arguments: list[str]) -> None:
    """Print it."""
    parser = Parser(
        prog="metabench show",
        description="One run: its command, protocol card, result, learning curves as text, pictures and checkpoints.",
    )
    parser.add_argument("run", metavar="RUN", help="the directory of a run, finished or not")
    options = parser.parse_args(arguments)
    _show(expanded(options.run))


def _show(path: Path) -> None:
    from metabench.utils.console import open_console

    if not path.is_dir():
        raise UserError(f"{path}: {'is not a folder' if path.exists() else 'no such folder'}")
    if not any((path / name).exists() for name in (*MARKS, "environment.json")):
        raise UserError(f"{path}: holds no run, which is a folder with a summary.json or a status.json")
    console, run = open_console(), RunReader(path)
    for shown in _parts(run, console.encoding):
        console.print(shown)


def _parts(run: RunReader, encoding: str) -> Iterator[Any]:
    """Lines and tables, from the top down."""
    row = row_of(run)
    seed = "" if row.seed is None else f", seed {row.seed}"
    yield f"run {row.path}"
    yield f"{row.algo} on {row.data}{seed}"
    why = f": {row.reason}" if row.reason else ""
    again = "; the same command continues it" if row.status in GOES_ON and "continues" not in why else ""
    yield f"{row.status}{why}{again}; last written {age_text(row.age)} ago, {size_text(row.size)}"
    yield from _made_by(run)
    if row.status == COMPLETE:
        try:
            yield from list(_result(run))
        except DamagedError as fault:
            yield f"\n{fault}; the same command makes it anew"
    yield from _curves(run, encoding)
    yield from _files(run)


def _made_by(run: RunReader) -> Iterator[str]:
    """The command and where it ran, as environment.json or the summary has it."""
    from metabench.runs.untrusted import clean, read_content

    try:
        where = clean(read_content(run.path / "environment.json"))
    except (DamagedError, ValueError):
        where = run.summary.environment.model_dump() if run.finished else {}
    if isinstance(where, dict) and "command" in where:
        yield str(where["command"])
        yield f"metabench {where.get('metabench')} ({where.get('git') or 'no git'}), {where.get('device')}"


def _result(run: RunReader) -> Iterator[Any]:
    """The test of a finished run, its time, and its protocol card."""
    from metabench.runs.experiment import cell_line
    from metabench.runs.run_dir import checked_state
    from metabench.runs.untrusted import clean, read_content
    from metabench.training.tables import card_table, result_table
    from metabench.utils.progress import clock

    content = clean(read_content(run.path / "summary.json"))
    with checked_state(run.path / "summary.json"):
        if "changes" in content and (line := cell_line(content)):
            yield line
        trained = run.summary.train
        yield f"{counted(trained.steps, 'meta-step')} in {clock(trained.seconds)}"
        yield ""
        yield result_table(content)
        yield ""
        yield card_table(content["protocol"])


def _curves(run: RunReader, encoding: str) -> Iterator[str]:
    """The metric against meta-steps, on training and on validation tasks."""
    from metabench.figures.text_chart import text_chart
    from metabench.utils.console import format_metric

    for split in ("train", "validation"):
        try:
            lines = run.lines(split, required=False)
        except DamagedError as fault:
            yield f"\n{fault}"
            return
        name = next((name for name in ("accuracy", "mse") if lines and name in lines[0]), None)
        if name is None:
            continue
        values = [line.get(name, float("nan")) for line in lines]
        finite = [value for value in values if value == value]
        if not finite:
            continue
        best = (max if name == "accuracy" else min)(finite)
        ends = f"first {format_metric(name, values[0])}, best {format_metric(name, best)}"
        last = f"last {format_metric(name, values[-1])} at meta-step {lines[-1]['step']:,}"
        yield f"\n{split} {name}: {ends}, {last}"
        if len(finite) > 1:
            yield from (f"  {line}" for line in text_chart(values, encoding=encoding))


def _files(run: RunReader) -> Iterator[str]:
    """Pictures, checkpoints, log and tests."""
    pictures = sorted((run.path / "pictures").glob("*")) or sorted(run.path.glob("*.png"))
    checkpoints = sorted((run.path / "checkpoints").glob("*.pt"))
    tests = sorted((run.path / TESTS).glob("*/summary.json"))
    if pictures or checkpoints or tests or (run.path / "run.log").exists():
        yield ""
    yield from (f"picture {path}" for path in pictures)
    yield from (f"checkpoint {path}  {size_text(path.stat().st_size)}" for path in checkpoints)
    yield from (f"test {path.parent}" for path in tests)
    if (run.path / "run.log").exists():
        yield f"log {run.path / 'run.log'}"
