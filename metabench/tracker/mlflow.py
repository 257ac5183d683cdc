"""MLflow: a server, or a database in a file."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metabench.tracker.base import Line, Memo, TrackedRun, Tracker, points, results
from metabench.utils.console import inline

MOST_METRICS, MOST_PARAMETERS, LONGEST = 1000, 100, 500  # that one request takes
STATUS = {"complete": "FINISHED", "stopped": "KILLED"}  # and FAILED


class Mlflow(Tracker):
    """One run of MLflow for one run here; a continued run goes on under the same id."""

    package, extra = "mlflow", "mlflow"
    client: Any
    id: str

    def __init__(self, *, uri: str | None = None, experiment: str = "metabench") -> None:
        self.uri, self.experiment = uri, experiment

    def begin(self, run: TrackedRun, memo: Memo) -> str:
        """See `Tracker`."""
        from mlflow import MlflowClient, get_tracking_uri
        from mlflow.entities import Param

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        uri = self.uri or get_tracking_uri()
        self.client = MlflowClient(tracking_uri=uri)
        if "id" in memo:
            self.id = memo["id"]
            self.client.update_run(self.id, status="RUNNING")
        else:
            found = self.client.get_experiment_by_name(self.experiment)
            experiment = found.experiment_id if found else self.client.create_experiment(self.experiment)
            tags = {key: value[:LONGEST] for key, value in run.about().items() if value}
            self.id = memo["id"] = self.client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
            parameters = [Param(key, inline(value)[:LONGEST]) for key, value in run.parameters().items()]
            for first in range(0, len(parameters), MOST_PARAMETERS):
                self.client.log_batch(self.id, params=parameters[first : first + MOST_PARAMETERS])
            self.client.log_dict(self.id, dict(run.card), "protocol.json")
        return f"experiment {self.experiment}, run {self.id}, {uri}"

    def log(self, lines: Sequence[Line], first: int) -> None:
        """See `Tracker`."""
        self._metrics(points(lines))

    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        """See `Tracker`."""
        self._metrics((summary["train"]["steps"], name, value) for name, value in results(summary).items())
        for path in pictures:
            self.client.log_artifact(self.id, str(path), "pictures")

    def end(self, status: str) -> None:
        """See `Tracker`."""
        self.client.set_terminated(self.id, STATUS.get(status, "FAILED"))

    def _metrics(self, found: Iterable[tuple[int, str, float]]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for step, name, value in found]
        for first in range(0, len(metrics), MOST_METRICS):
            self.client.log_batch(self.id, metrics=metrics[first : first + MOST_METRICS])
