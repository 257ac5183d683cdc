"""A run to make: what it is, where it lies, and what it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metabench.runs.run_dir import held_identity
from metabench.runs.run_id import Inputs, first_identity, identity
from metabench.utils.paths import expanded


@dataclass(frozen=True)
class RunSpec:
    """A run to make: directory, identity, inputs, configuration as written there, and its cell of a table."""

    path: Path
    identity: str
    config: Mapping[str, Any]
    inputs: Inputs
    cell: dict[str, Any]  # as `metabench.runs.experiment.cell` says it
    command: Sequence[str]  # what a person gives the program for it

    @classmethod
    def of(
        cls,
        config: Mapping[str, Any],
        written: Mapping[str, Any],
        inputs: Inputs,
        folder: Path,
        cell: dict[str, Any],
        command: Sequence[str],
    ) -> RunSpec:
        """The run of a settled configuration, in `run_dir`, or below `folder` by its name and id.

        `written` has the values as given. A run of version 0.1.0 that lies there is continued under its own id, where
        nothing but its configuration decided it.
        """
        key, first = identity(config, inputs), first_identity(written)
        name = f"{config['name']}-" if config.get("name") else ""
        path, earlier = (expanded(config["run_dir"] or folder / f"{name}{own}") for own in (key, first))
        if not inputs and held_identity(earlier) == first:
            return cls(earlier, first, written, inputs, cell, command)
        return cls(path, key, config, inputs, cell, command)
