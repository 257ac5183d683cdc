"""Optional TensorBoard scalars: the lines of metrics.jsonl again, for those who watch there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from metabench.errors import ConfigError


def require_tensorboard() -> None:
    """Raise `ConfigError` if it is not installed."""
    if find_spec("tensorboard") is None:
        raise ConfigError("log.tensorboard", "true", 'needs pip install "metabench[tensorboard]"')


class Board:
    """Writes every number of a line as `split/name`; steps after `step` left by an interrupted run are dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def add(self, line: dict[str, Any]) -> None:
        """One line of metrics.jsonl."""
        for name, value in line.items():
            if name not in ("step", "split"):
                self.writer.add_scalar(f"{line['split']}/{name}", value, line["step"])
        self.writer.flush()
