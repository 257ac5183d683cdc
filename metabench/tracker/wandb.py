"""Weights & Biases, online or offline."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from metabench.errors import UserError
from metabench.tracker.base import Line, Memo, TrackedRun, Tracker, points, results

STEP = "meta_step"  # the x axis: lines of several splits share a step, and wandb's own only counts up


class Wandb(Tracker):
    """One run of wandb for one run here; a continued run goes on under the same id."""

    package, extra = "wandb", "wandb"
    run: Any

    def __init__(
        self,
        *,
        project: str = "metabench",
        entity: str | None = None,
        group: str | None = None,
        mode: Literal["online", "offline"] | None = None,
    ) -> None:
        self.project, self.entity, self.group = project, entity, group
        self.mode = mode

    def begin(self, run: TrackedRun, memo: Memo) -> str:
        """See `Tracker`; raises `UserError` where it is to be online and nobody is logged in."""
        import wandb

        mode: Any = self.mode or os.environ.get("WANDB_MODE", "online")
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            raise UserError("nobody is logged in: wandb login, or tracker.wandb.mode=offline")
        place = run.folder / "trackers"
        place.mkdir(exist_ok=True)
        id_ = memo.get("id") or secrets.token_hex(4)
        self.run = wandb.init(
            project=self.project,
            entity=self.entity,
            group=self.group,
            mode=mode,
            id=id_,
            resume="allow",
            name=run.name,
            dir=str(place),
            config={**run.parameters(), **run.about()} if not memo else None,
            settings=wandb.Settings(console="off", silent=True, disable_git=True),
        )
        memo["id"] = id_
        self.run.define_metric(STEP, hidden=True)
        self.run.define_metric("*", step_metric=STEP)
        folder = Path(self.run.dir).parent
        return f"{folder}; wandb sync {folder} sends it" if self.run.offline else str(self.run.url)

    def log(self, lines: Sequence[Line], first: int) -> None:
        """See `Tracker`."""
        for row, line in enumerate(lines, start=first):  # a number that goes on in the next process
            self.run.log({STEP: line["step"], **{name: value for _, name, value in points([line])}}, step=row)

    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        """See `Tracker`."""
        import wandb

        self.run.summary.update(results(summary))
        if pictures:
            steps = summary["train"]["steps"]
            self.run.log({STEP: steps, **{f"pictures/{path.stem}": wandb.Image(str(path)) for path in pictures}})

    def end(self, status: str) -> None:
        """See `Tracker`."""
        self.run.finish(exit_code=0 if status in ("complete", "stopped") else 1)
