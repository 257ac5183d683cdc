"""The directory of a run that several ranks share: rank 0 holds it, the others learn what it reads there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from metabench.runs.run_dir import RunDirectory
from metabench.utils.distributed import Distributed


def shared_directory(directory: RunDirectory, ranks: Distributed) -> RunDirectory:
    """`directory` as this rank may use it."""
    return cast(RunDirectory, _Shared(directory, ranks)) if ranks.size > 1 else directory


class _Shared:
    """A run directory that rank 0 holds. The others learn what it reads there, and fail where it fails."""

    OWN = ("status", "records")  # of rank 0 alone: where it may be when the others are elsewhere, or do not ask

    def __init__(self, directory: RunDirectory, ranks: Distributed) -> None:
        self.directory, self.ranks = directory, ranks
        self.path, self.identity = directory.path, directory.identity

    def __enter__(self) -> _Shared:
        self.ranks.on_rank_zero(lambda: bool(self.directory.__enter__()))
        return self

    def __exit__(self, *ending: Any) -> None:
        if self.ranks.rank == 0:
            self.directory.__exit__(*ending)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(*args: Any, **options: Any) -> Any:
            def call() -> Any:
                return getattr(self.directory, name)(*args, **options)

            if name in self.OWN:
                return call() if self.ranks.rank == 0 else None
            return self.ranks.on_rank_zero(call)

        return method
