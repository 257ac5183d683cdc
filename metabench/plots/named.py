"""Runs for pictures: those that have what a picture needs, grouped over seeds, and named by how groups differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metabench.errors import UserError, format_value
from metabench.runs.groups import facts, gather
from metabench.runs.reader import RunReader, Skipped
from metabench.runs.run_id import flat
from metabench.utils.counted import counted
from metabench.utils.files import DamagedError

MOST = 3  # differences that a name lists
COMPONENTS = ("algo", "data", "backbone", "optim")


@dataclass(frozen=True)
class Group:
    """Runs of one configuration that differ in their seed alone, by seed; and what tells it from the other groups."""

    name: str
    runs: tuple[RunReader, ...]

    @property
    def label(self) -> str:
        """The name and the number of seeds."""
        return f"{self.name} ({counted(len(self.runs), 'seed')})"

    def of_seed(self, run: RunReader) -> str:
        """The label of a single one of its runs."""
        return f"{self.name}, seed {run.seed}"


def usable(
    runs: Iterable[RunReader], needed: Callable[[RunReader], Any], skipped: Iterable[Skipped] = ()
) -> tuple[list[RunReader], list[Skipped]]:
    """The runs that have what is `needed`, and those left out with the reason, after what was `skipped` before.

    Raises `UserError` if a run that was named lacks it, or none has it.
    """
    kept, left_out = [], list(skipped)
    for run in runs:
        try:
            run.config, needed(run)
            kept.append(run)
        except (DamagedError, UserError) as fault:
            skip = fault_of(run, fault)
            if run.named:
                raise UserError(str(skip)) from None
            left_out.append(skip)
    if not kept:
        raise UserError(str(left_out[0]) if left_out else "there is no run: no folder has a summary.json")
    return kept, left_out


def fault_of(run: RunReader, fault: Exception) -> Skipped:
    """A fault of a run, which may name it already."""
    return Skipped(run.path, str(fault).removeprefix(f"{run.path}: "))


def group(runs: Iterable[RunReader]) -> tuple[list[Group], list[Skipped]]:
    """Runs of one cell together, in the order in which they were given; and those whose seed is there already."""
    cells, spare = gather(runs)
    members = [tuple(run for _, run in sorted(seeds.items())) for seeds in cells]
    names = _names([own[0] for own in members])
    return [Group(name, own) for name, own in zip(names, members, strict=True)], spare


def title(groups: Sequence[Group]) -> str:
    """The data and the size of an evaluation task, where all groups have them in common."""
    data = [g.runs[0].config["data"] for g in groups]
    parts = []
    if len({str(d.get("_target_")) for d in data}) == 1:
        parts.append(_short(data[0].get("_target_")))
    if len({(str(d.get("ways")), str(d.get("shots"))) for d in data}) == 1 and "shots" in data[0]:
        ways = f"{format_value(data[0]['ways'], 20)}-way " if "ways" in data[0] else ""
        parts.append(f"{ways}{format_value(data[0]['shots'], 20)}-shot")
    return ", ".join(parts)


def _names(runs: list[RunReader]) -> list[str]:
    """The class of the algorithm, and where two share it, the keys in which they differ; then their number."""
    classes = [_short(run.config["algo"].get("_target_")) for run in runs]
    leaves = [{**flat({"protocol": run.summary.protocol.test if run.finished else {}}), **facts(run)} for run in runs]
    names = []
    for cls, mine in zip(classes, leaves, strict=True):
        rivals = [other for other, theirs in zip(leaves, classes, strict=True) if theirs == cls]
        keys = dict.fromkeys(key for leaf in rivals for key in leaf)
        differing = [key for key in keys if any(other.get(key) != mine.get(key) for other in rivals)]
        differing = [key for key in differing if not key.startswith("protocol.")] or differing
        differing.sort(key=lambda key: (key.startswith("data.train."), not key.startswith(("data.", "algo."))))
        said = [f"{_brief(key)}={_value(mine.get(key))}" for key in differing[:MOST]]
        names.append(" ".join([cls, *said, *(["…"] if len(differing) > MOST else [])]))
    return [name if names.count(name) == 1 else f"{name} · {i}" for i, name in enumerate(names, start=1)]


def _brief(key: str) -> str:
    section, _, rest = key.partition(".")
    return rest if section in (*COMPONENTS, "protocol") else key


def _value(value: Any) -> str:
    return format_value(Path(value).name if isinstance(value, str) and "/" in value else value, 20)


def _short(target: Any) -> str:
    return format_value(str(target).rpartition(".")[2], 40)
