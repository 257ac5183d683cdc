"""Where a run computes: device, precision, threads, and what the CPU's allocator does with freed memory."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import re
import sys
from collections.abc import Iterator

import torch

from metabench.config.schema import Device
from metabench.errors import ConfigError


def open_device(config: Device) -> torch.device:
    """The torch device for `config`, with threads, precision and allocator set for this process."""
    _check_gpu(config.type, config.index)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.keep_memory:
        keep_memory()
    # By the older of torch's two interfaces: its compiler reads that one, and raises where the newer one was used.
    tf32 = config.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    use_cuda = config.type != "cpu" and torch.cuda.is_available()
    if use_cuda and config.index is not None:
        torch.cuda.set_device(config.index)
    return torch.device("cuda", torch.cuda.current_device()) if use_cuda else torch.device("cpu")


def find_device(name: str | torch.device) -> torch.device:
    """The torch device that a user of the library names: cpu, cuda, cuda:N or auto; raises `ConfigError`."""
    found = re.fullmatch(r"(cpu|cuda|auto)(?::(\d+))?", str(name))
    if found is None or (found[1] != "cuda" and found[2]):
        raise ConfigError("device", name, "should be cpu, cuda, cuda:N or auto")
    kind, index = found[1], None if found[2] is None else int(found[2])
    _check_gpu(kind, index)
    if kind == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device() if index is None else index)


def _check_gpu(kind: str, index: int | None) -> None:
    """Raise `ConfigError` if torch does not see the GPU that is asked for."""
    name = kind if index is None else f"{kind}:{index}"
    if index is not None and kind != "cuda":
        raise ConfigError("device.index", index, f"is of device=cuda; with device={kind} should be null")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device", name, "torch sees no CUDA device here; use device=cpu or device=auto")
    if index is not None and index >= (count := torch.cuda.device_count()):
        seen = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise ConfigError("device", name, f"no such GPU; torch sees {seen}")


@contextlib.contextmanager
def autocast(config: Device, device: torch.device) -> Iterator[None]:
    """Within it matrix products and convolutions run in bfloat16, if that was chosen."""
    chosen = config.precision == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16) if chosen else contextlib.nullcontext():
        yield


def keep_memory() -> None:
    """Let glibc keep freed blocks for the next meta-step.

    By default it returns every large block to the system, and page faults of the fresh ones then cost as much as the
    arithmetic of a small convolution: ProtoNet's step takes up to twice as long. Nothing happens on other C libraries.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        trim_threshold, mmap_max = -1, -4  # names of malloc.h
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


def describe(device: torch.device) -> str:
    """The device in words, for the record of a run."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:  # noqa: PTH123
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
