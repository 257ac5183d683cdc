"""Optional TensorBoard scalars: the lines of metrics.jsonl, for people who watch there."""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from metabench.errors import ConfigError


def require_tensorboard() -> None:
    """Raise `ConfigError` if TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise ConfigError("log.tensorboard", "true", 'needs pip install "metabench[tensorboard]"')


class TensorBoard:
    """Writes every number of a line as `split/name`; opened with the first line."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.after = folder, -1

    def continue_after(self, step: int) -> None:
        """Drop what an interrupted run wrote after meta-step `step`. Call it before the first line."""
        self.after = step

    def add(self, line: dict[str, Any]) -> None:
        """Write one line of metrics.jsonl."""
        for name, value in line.items():
            if name not in ("step", "split"):
                self._writer.add_scalar(f"{line['split']}/{name}", value, line["step"])
        self._writer.flush()

    @cached_property
    def _writer(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.folder), purge_step=self.after + 1)
