"""Hydra's and OmegaConf's errors in one line: the key, the value, what is valid, the nearest name."""

from __future__ import annotations

import re

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from metabench.catalog import GROUPS
from metabench.errors import one_of


def explain(fault: HydraException | OmegaConfBaseException) -> str:
    """What went wrong in composing a configuration, for a person."""
    cause = fault.__cause__ if isinstance(fault.__cause__, OmegaConfBaseException) else fault
    if isinstance(fault, MissingConfigException) and fault.missing_cfg_file:
        group, _, name = str(fault.missing_cfg_file).partition("/")
        return f"{group}={name}: {one_of(name, fault.options or [], f'no such {group}')}"
    parent = getattr(cause, "parent_node", None)
    if (
        isinstance(fault, ConfigCompositionException)
        and isinstance(parent, DictConfig)
        and "not in struct" in str(cause)
    ):
        name = str(cause.key)  # type: ignore[union-attr]
        known = [str(key) for key in parent if not str(key).startswith("_")]
        return f"{cause.full_key}: {one_of(name, known, 'no such key')}"  # type: ignore[union-attr]
    unmatched = re.match(r"Could not override '([^']+)'.\s*No match in the defaults list", str(fault))
    if unmatched:
        return f"{unmatched[1]}: {one_of(unmatched[1], GROUPS, 'no such group')}"
    missing = re.match(r"Missing mandatory value: (\S+)", str(cause))
    if missing:
        return f"{getattr(cause, 'full_key', None) or missing[1]}=???: a value is needed"
    return " ".join(line.strip() for line in str(fault).splitlines() if line.strip() and "HYDRA_FULL" not in line)
