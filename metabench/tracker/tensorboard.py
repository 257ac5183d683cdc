"""TensorBoard event files, in RUN/tensorboard: scalars, parameters with the result (HPARAMS), card, pictures."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metabench.tracker.base import Line, Memo, TrackedRun, Tracker, points, results
from metabench.utils.console import inline


class TensorBoard(Tracker):
    """Torch's `SummaryWriter`."""

    package, extra = "tensorboard", "tensorboard"
    writer: Any
    run: TrackedRun

    def begin(self, run: TrackedRun, memo: Memo) -> str:
        """See `Tracker`."""
        from torch.utils.tensorboard import SummaryWriter

        self.run, folder = run, run.folder / "tensorboard"
        if not memo:
            shutil.rmtree(folder, ignore_errors=True)  # of an earlier version, which counted no lines
        self.writer = SummaryWriter(str(folder))
        if not memo:
            rows = [f"| {key} | {inline(value)} |" for key, value in run.about().items()]
            self.writer.add_text("protocol", "\n".join(["| | |", "|---|---|", *rows]))
            memo["begun"] = True
        return str(folder)

    def log(self, lines: Sequence[Line], first: int) -> None:
        """See `Tracker`."""
        for step, name, value in points(lines):
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        """See `Tracker`."""
        import numpy as np
        from PIL import Image
        from torch.utils.tensorboard.summary import hparams

        found = results(summary)
        for name, value in found.items():
            self.writer.add_scalar(name, value, summary["train"]["steps"])
        for path in pictures:
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            self.writer.add_image(path.stem, pixels, summary["train"]["steps"], dataformats="HWC")
        parameters = {
            key: value if isinstance(value, (bool, int, float, str)) else inline(value)
            for key, value in self.run.parameters().items()
        }
        for part in hparams(parameters, found):
            self.writer.file_writer.add_summary(part)

    def end(self, status: str) -> None:
        """See `Tracker`."""
        self.writer.close()
