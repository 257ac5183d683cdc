"""Hydra's and OmegaConf's errors in one line: the key, the value, what is valid, the nearest name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from metabench.config.catalog import GROUPS, entries, folders
from metabench.errors import suggest

UNSET = {"board", "tests", "published"}  # keys of which an experiment or a board has values, and no user sets them
USAGE = "should be KEY=VALUE, special characters quoted as in 'run_dir=\"a=b\"'; see metabench --help"
OPTIMIZED = "Hydra cannot read overrides such as KEY=range(0,2) under PYTHONOPTIMIZE or python -O; unset it"
# What Hydra raises in composing; the last two where it meets a type that it does not expect.
COMPOSING = (
    *(HydraException, OmegaConfBaseException, YAMLError, UserWarning),
    *(ValueError, OSError, RecursionError, TypeError, AttributeError),
)
SWEEPERS = "the search of this program is metabench tune KEY=log(A,B) ...; see metabench tune --help"


def explain(fault: Exception) -> str:
    """Say in one line what went wrong in composing a configuration."""
    if isinstance(fault, OverrideParseException):
        return f"{fault.override}: {USAGE}"
    if isinstance(fault, MissingConfigException) and fault.missing_cfg_file:
        return _missing_file(str(fault.missing_cfg_file), fault.options or [])
    if isinstance(fault, AttributeError) and not __debug__:
        return OPTIMIZED
    if isinstance(fault, OSError) and fault.filename is not None:
        return f"{fault.filename}: {fault.strerror or fault}"
    if isinstance(fault, RecursionError):
        return "a configuration includes itself, or a value contains itself"
    cause = fault.__cause__ if isinstance(fault.__cause__, OmegaConfBaseException) else fault
    parent = getattr(cause, "parent_node", None)
    if (
        isinstance(fault, ConfigCompositionException)
        and isinstance(parent, DictConfig)
        and "not in struct" in str(cause)
    ):
        name = str(cause.key)  # type: ignore[attr-defined]
        known = {str(key) for key in parent if not str(key).startswith("_")}
        if cause.full_key == name:  # type: ignore[attr-defined]
            known = known - UNSET | {*GROUPS}
        return f"{cause.full_key}: {suggest(name, known, 'no such key')}"  # type: ignore[attr-defined]
    if unmatched := re.match(r"Could not override '([^']+)'.\s*No match in the defaults list", str(fault)):
        return f"{unmatched[1]}: {suggest(unmatched[1], GROUPS, 'no such group')}"
    if several := re.match(r"Ambiguous value for argument '([^']+)'", str(fault)):
        return f"{several[1]}: several values; -m runs one after the other, KEY=[A,B] is a list"
    if "not in 'HydraConf'" in str(cause):
        return f"{cause.full_key}: no such key; see metabench --hydra-help"  # type: ignore[attr-defined]
    if appended := re.match(r"Could not append to config. An item is already at '([^']+)'", str(fault)):
        return f"+{appended[1]}: the key is there already; leave out the +"
    if unlike := re.match(r"Cannot merge (Dict|List)Config with (Dict|List)Config", str(cause)):
        wanted = {"Dict": "a list, [A,B]", "List": "a group of keys"}[unlike[1]]
        return f"{cause.full_key}: should be {wanted}"  # type: ignore[attr-defined]
    if "BasicSweeper does not support sweep type" in str(fault):
        return f"interval(A,B) has no end of values; {SWEEPERS}"
    if missing := re.match(r"Missing mandatory value: (\S+)", str(cause)):
        return f"{getattr(cause, 'full_key', None) or missing[1]}=???: a value is needed"
    if key := getattr(cause, "full_key", None):
        return f"{key}: {cause.msg.splitlines()[0]}"  # type: ignore[attr-defined]
    return " ".join(str(fault).split())


def _missing_file(path: str, options: Iterable[str]) -> str:
    path = path.removesuffix(":next")  # of `search_path`
    if "/" not in path:
        return f"{path}: no such configuration; there is no {path}.yaml"
    group, _, name = path.rpartition("/") if path.startswith("hydra/") else path.partition("/")
    if group == "hydra/sweeper":
        return f"{group}={name}: no such {group}; {SWEEPERS}"
    known = {option for option in options if not option.startswith("_")}  # others share what is in these
    known |= {*entries(group, folders(None))}  # Hydra names none that lie in folders of the group
    return f"{group}={name}: {suggest(name, known, f'no such {group}')}"
