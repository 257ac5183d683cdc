"""One job of the command line: compose with Hydra, check, run; and how every ending is said."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metabench.errors import UserError
from metabench.explain import explain
from metabench.stop import Stopped


def hydra_main() -> None:
    """Hydra's program; ends the process where composing fails."""
    try:
        _job()
    except (HydraException, OmegaConfBaseException) as fault:
        _leave(explain(fault), UserError.exit_code)
    except KeyboardInterrupt:
        _leave("stopped", 130)


@hydra.main(version_base="1.3", config_path="pkg://metabench.conf", config_name="config")
def _job(composed: DictConfig) -> dict[str, Any]:
    """One run. In a sweep a failure is an outcome, not an exception, so that the other jobs go on."""
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        return _run(composed)
    except (UserError, OmegaConfBaseException) as fault:
        reason = explain(fault) if isinstance(fault, OmegaConfBaseException) else str(fault)
        if not sweeping:
            _leave(reason, getattr(fault, "exit_code", UserError.exit_code))
    except Stopped as stopped:
        _leave(str(stopped), stopped.exit_code)
    except (Exception, SystemExit) as fault:
        if not sweeping:
            raise
        traceback.print_exc()
        reason = f"{type(fault).__name__}: {fault}"
    return {"status": "failed", "reason": reason}


def _run(composed: DictConfig) -> dict[str, Any]:
    from metabench.config import Config, check

    plain: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    config = check(Config, plain)

    from metabench.console import Display
    from metabench.protocol import identity
    from metabench.runner import run

    key = identity(plain)
    choices = HydraConfig.get().runtime.choices
    path = Path(config.run_dir or Path("outputs", choices["data"], choices["algo"], key))
    return run(config, OmegaConf.to_yaml(composed, resolve=True), path, key, Display())


def _leave(message: str, code: int) -> NoReturn:
    print(f"metabench: {message}", file=sys.stderr)
    sys.exit(code)
