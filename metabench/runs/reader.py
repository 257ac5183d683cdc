"""Runs as they lie on disk, read for pictures: found in folders, grouped over seeds, and named by how they differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from metabench.errors import UserError, format_value
from metabench.runs.run_dir import load_best
from metabench.runs.run_id import NOT_IDENTITY, flat, identity
from metabench.utils.files import DamagedError, read_json

MOST = 3  # differences that a name lists
COMPONENTS = ("algo", "data", "backbone", "optim")
SECTIONS = (*COMPONENTS, "train", "device")


class RunReader:
    """The directory of a run, finished or not; nothing in it is changed. Raises `UserError` for what is damaged."""

    def __init__(self, path: Path, found: bool = False) -> None:
        self.path, self.found = path, found  # found in a folder, not named by the user

    @cached_property
    def config(self) -> dict[str, Any]:
        """The composed configuration, as it was written."""
        path = self.path / "config.yaml"
        try:
            content = OmegaConf.to_container(OmegaConf.load(path))
        except (OSError, YAMLError, OmegaConfBaseException, UnicodeDecodeError) as fault:
            raise UserError(f"{path}: cannot be read: {' '.join(str(fault).split())}") from None
        if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in SECTIONS):
            raise UserError(f"{path}: is not the configuration of a run")
        return {str(key): value for key, value in content.items()}

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The summary of a finished run."""
        path = self.path / "summary.json"
        if not path.exists():
            raise UserError(f"{self.path}: is not finished: there is no summary.json; the same command continues it")
        try:
            content = read_json(path)
            if content["protocol"]["hash"] and content["test"]["per_step"]:
                return content
        except (DamagedError, KeyError, TypeError):
            pass
        raise UserError(f"{path}: is not the summary of a run")

    @cached_property
    def weights(self) -> dict[str, Any] | None:
        """The state of the model that validation chose; None for a run without meta-training, which chooses nothing."""
        if not self.config["train"]["steps"]:
            return None
        try:
            return load_best(self.path)["algo"]
        except (DamagedError, KeyError) as fault:
            raise UserError(f"{self.path}: no model to draw: {fault}") from None

    @property
    def protocol(self) -> str | None:
        """The protocol's hash, once the run is finished."""
        return self.summary["protocol"]["hash"] if (self.path / "summary.json").exists() else None

    def lines(self, split: str) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl of one split; a last one that a kill cut short is left out."""
        path = self.path / "metrics.jsonl"
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise UserError(f"{path}: cannot be read: {getattr(fault, 'strerror', None) or fault}") from None
        whole = text[: text.rfind("\n") + 1].splitlines()
        found = []
        for number, line in enumerate(whole, start=1):
            try:
                entry = json.loads(line)
                if entry["split"] == split and entry["step"] >= 0:
                    found.append(entry)
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{path}: line {number} is not a line of metrics") from None
        if not found:
            raise UserError(f"{path}: has no line of split={split} yet")
        return found


@dataclass(frozen=True)
class Group:
    """Runs of one configuration that differ in their seed alone, by seed; and what tells it from the other groups."""

    name: str
    runs: tuple[RunReader, ...]

    @property
    def label(self) -> str:
        """The name and the number of seeds."""
        return f"{self.name} ({len(self.runs)} seed{'s' if len(self.runs) > 1 else ''})"


def find(paths: Iterable[Path]) -> list[RunReader]:
    """The runs in `paths`, run directories or folders of them, each once; raises `UserError` where there is none."""
    found: dict[Path, RunReader] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path}: no such folder; give run directories, or a folder of them")
        if (path / "config.yaml").exists():
            found[path.resolve()] = RunReader(path)
            continue
        here = sorted(config.parent for config in path.rglob("config.yaml"))
        if not here:
            raise UserError(f"{path}: holds no run: there is no config.yaml in it or below")
        for run in here:
            found.setdefault(run.resolve(), RunReader(run, found=True))
    return list(found.values())


def usable(runs: Iterable[RunReader], needed: Callable[[RunReader], Any]) -> tuple[list[RunReader], list[str]]:
    """Those that have what is `needed`, and what the others lack.

    Raises `UserError` if a run that was named lacks it, or every one does.
    """
    kept, reasons = [], []
    for run in runs:
        try:
            run.config, needed(run)
            kept.append(run)
        except UserError as fault:
            if not run.found:
                raise
            reasons.append(str(fault))
    if not kept:
        raise UserError(reasons[0])
    return kept, reasons


def group(runs: Iterable[RunReader]) -> list[Group]:
    """Runs of one configuration but for the seed are together; in the order in which they were given."""
    together: dict[str, dict[int, RunReader]] = {}
    for run in runs:
        same = together.setdefault(identity({**run.config, "seed": 0}), {})
        seed = run.config.get("seed", 0)
        if seed in same:
            raise UserError(f"{run.path}: is the run of {same[seed].path} once more; give one of them")
        same[seed] = run
    members = [tuple(run for _, run in sorted(seeds.items())) for seeds in together.values()]
    return [Group(name, runs) for name, runs in zip(_names([m[0].config for m in members]), members, strict=True)]


def title(groups: Sequence[Group]) -> str:
    """What all groups have in common of their data and the size of an evaluation task."""
    data = [g.runs[0].config["data"] for g in groups]
    parts = []
    if len({d["_target_"] for d in data}) == 1:
        parts.append(_short(data[0]["_target_"]))
    if len({(d.get("ways"), d.get("shots")) for d in data}) == 1 and "shots" in data[0]:
        ways = f"{data[0]['ways']}-way " if "ways" in data[0] else ""
        parts.append(f"{ways}{data[0]['shots']}-shot")
    return ", ".join(parts)


def _names(configs: list[dict[str, Any]]) -> list[str]:
    """The class of the algorithm, and where two share it, the keys in which they differ."""
    classes = [_short(config["algo"]["_target_"]) for config in configs]
    leaves = [flat({k: v for k, v in c.items() if k not in (*NOT_IDENTITY, "seed")}) for c in configs]
    names = []
    for cls, mine in zip(classes, leaves, strict=True):
        rivals = [other for other, theirs in zip(leaves, classes, strict=True) if theirs == cls]
        differing = [k for k in mine if any(k not in other or other[k] != mine[k] for other in rivals)]
        differing.sort(key=lambda key: (key.startswith("data.train."), not key.startswith(("data.", "algo."))))
        said = [f"{_brief(key)}={_value(mine[key])}" for key in differing[:MOST]]
        names.append(" ".join([cls, *said, *(["…"] if len(differing) > MOST else [])]))
    return names


def _brief(key: str) -> str:
    group, _, rest = key.partition(".")
    return rest if group in COMPONENTS else key


def _value(value: Any) -> str:
    return format_value(Path(value).name if isinstance(value, str) and "/" in value else value, 20)


def _short(target: str) -> str:
    return target.rpartition(".")[2]
