"""One run by several processes, one a GPU: the tasks of a meta-step are shared out, and its sums are made over all.

torchrun starts the same program once a rank. Every rank holds the whole model, draws its share of the tasks (task i is
a pure function of i), and after one sum of gradients over ranks makes the same move; so nothing is ever sent but that
sum, and what rank 0 reads. Rank 0 alone writes, and alone speaks.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from metabench.errors import ConfigError, UserError
from metabench.utils.signals import Interrupted

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun tells its processes
COMMAND = "torchrun --nproc-per-node={} -m metabench"
PATIENCE = timedelta(minutes=30)  # with a rank that compiles, or draws pictures


class Distributed:
    """The processes of a run, here one alone; a context manager."""

    rank, size = 0, 1

    def __enter__(self) -> Distributed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Part."""

    def shard(self, count: int) -> range:
        """Indices of the things, of `count`, that this rank does, in order; shares differ by one at most."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def all_reduce(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor summed over ranks, all in one exchange and in the type of the first."""
        return list(tensors)

    def all_max(self, value: int) -> int:
        """The largest of the ranks' values."""
        return value

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in order."""
        return [value]

    def on_rank_zero(self, call: Callable[[], T]) -> T:
        """The result of `call` on rank 0, which no other rank makes; its `UserError` is raised by all."""
        return call()

    def on_every_rank(self, call: Callable[[], T]) -> T:
        """The result of `call` on this rank; a `UserError` of any is raised by all."""
        return call()


SINGLE = Distributed()


class ProcessGroup(Distributed):
    """Processes that torch.distributed connects: gloo between CPUs, nccl between GPUs.

    They stay connected from the first run of the process, which further tests follow, to its end.
    """

    def __init__(self) -> None:
        import torch
        import torch.distributed

        self.distributed = torch.distributed
        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if gpus:
            here = int(os.environ.get("LOCAL_WORLD_SIZE", local + 1))
            if here > gpus:
                raise ConfigError(
                    "device", "ddp", f"{here} processes here and {gpus} GPUs; {COMMAND.format(gpus)} device=ddp …"
                )
            torch.cuda.set_device(local)
        self.backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"

    def __enter__(self) -> ProcessGroup:
        """Meet, unless that is done."""
        if not self.distributed.is_initialized():
            self.distributed.init_process_group(self.backend, timeout=PATIENCE)
            atexit.register(self._part)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After an accident leave without a word, since others may be waiting elsewhere."""
        if kind is not None and not issubclass(kind, (UserError, Interrupted)):
            atexit.unregister(self._part)

    def _part(self) -> None:
        if self.distributed.is_initialized():
            self.distributed.destroy_process_group()

    def all_reduce(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """See `Distributed`."""
        import torch

        flat = torch.cat([t.detach().reshape(-1).to(tensors[0].dtype) for t in tensors])
        self.distributed.all_reduce(flat)
        parts = flat.split([t.numel() for t in tensors])
        return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]

    def all_max(self, value: int) -> int:
        """See `Distributed`."""
        import torch

        held = torch.tensor(value)
        self.distributed.all_reduce(held, self.distributed.ReduceOp.MAX)
        return int(held)

    def gather(self, value: T) -> list[T]:
        """See `Distributed`."""
        found: list[Any] = [None] * self.size
        self.distributed.all_gather_object(found, value)
        return found

    def on_rank_zero(self, call: Callable[[], T]) -> T:
        """See `Distributed`."""
        value, fault = _tried(call) if self.rank == 0 else (None, None)
        told: list[Any] = [value, _said(fault)]
        self.distributed.broadcast_object_list(told, src=0)
        return _outcome(cast(T, told[0]), fault, told[1])

    def on_every_rank(self, call: Callable[[], T]) -> T:
        """See `Distributed`."""
        value, fault = _tried(call)
        reasons = self.gather(_said(fault))
        failed = [(rank, reason) for rank, reason in enumerate(reasons) if reason is not None]
        if failed and not all(reason == failed[0][1] for reason in reasons):
            rank, (message, code) = failed[0]
            raise _again(f"rank {rank}: {message}", code)
        return _outcome(cast(T, value), fault, reasons[0])


def open_ranks(device: str) -> Distributed:
    """The processes of the run that `device` asks for; raises `ConfigError` where torchrun and `device` disagree."""
    told = [name for name in VARIABLES if name in os.environ]
    if device != "ddp":
        if started_together():
            raise ConfigError("device", device, "torchrun starts several processes, and they need device=ddp")
        return SINGLE
    if len(told) < len(VARIABLES):
        raise ConfigError(
            "device", "ddp", f"is started by torchrun, one process a GPU: {COMMAND.format(2)} device=ddp …"
        )
    return connected()


@cache
def connected() -> ProcessGroup:
    """The processes that torchrun has started, of which this is one."""
    return ProcessGroup()


def started_together() -> bool:
    """Say whether torchrun has started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def silent() -> bool:
    """Say whether another rank says what is to be said."""
    return started_together() and os.environ.get("RANK", "0") != "0"


def program() -> str:
    """The words that a person types before the arguments."""
    return COMMAND.format(os.environ.get("LOCAL_WORLD_SIZE", "1")) if started_together() else "metabench"


def _tried(call: Callable[[], T]) -> tuple[T | None, UserError | None]:
    try:
        return call(), None
    except UserError as fault:
        return None, fault


def _said(fault: UserError | None) -> tuple[str, int] | None:
    return None if fault is None else (str(fault), fault.exit_code)


def _outcome(value: T, fault: UserError | None, reason: tuple[str, int] | None) -> T:
    """The value, unless there was a fault, here or, by what is said of it, elsewhere."""
    if fault or reason:
        raise fault or _again(*cast(tuple[str, int], reason))
    return value


def _again(message: str, code: int) -> UserError:
    fault = UserError(message)
    fault.exit_code = code
    return fault
