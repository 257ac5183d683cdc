"""A callback for Hydra, which serves every launcher."""

from __future__ import annotations

from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class FreeConfigs(Callback):
    """Frees the two configurations that Hydra keeps of each ended job: 150 MB for 1,000 jobs."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Drop the configurations of the job."""
        job_return.cfg = job_return.hydra_cfg = None
