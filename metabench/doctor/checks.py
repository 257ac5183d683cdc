"""The checks of `metabench doctor`: each returns what it found, and raises `UserError` with what to do about it.

Nothing is downloaded, and what is written is removed again, but for Omniglot's packed file in the cache.
"""

from __future__ import annotations

import os
import platform
import shutil
import sysconfig
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

from metabench import __version__
from metabench.errors import MissingDataError, UserError

DRIVER = Path("/proc/driver/nvidia/version")  # there where NVIDIA's driver is loaded
LITTLE = 1 << 30  # bytes of free disk: a few hundred runs with their checkpoints


class Finding(NamedTuple):
    """What a check says: all is well, something optional is not there, or there is something to mend."""

    mark: Literal["ok", "absent", "problem"]
    said: str


class AbsentError(Exception):
    """Something that is not there and need not be."""


Check = Callable[[], str]


def examine(check: Check) -> Finding:
    """The finding of a check, whatever happens in it."""
    try:
        return Finding("ok", check())
    except AbsentError as fault:
        return Finding("absent", str(fault))
    except UserError as fault:
        return Finding("problem", str(fault))
    except Exception as fault:  # of a broken installation, anything
        return Finding("problem", f"{type(fault).__name__}: {fault}")


def versions() -> str:
    """Every package that this version of metabench needs, in a version that it bears."""
    from packaging.requirements import Requirement

    named = [Requirement(line) for line in requires("metabench") or ()]
    needed = [requirement for requirement in named if not requirement.marker or requirement.marker.evaluate()]
    for requirement in needed:
        wanted = f"pip install '{requirement.name}{requirement.specifier}'"
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            raise UserError(f"{requirement.name} is not installed: {wanted}") from None
        if not requirement.specifier.contains(found, prereleases=True):
            raise UserError(f"{requirement.name} {found} is not one of {requirement.specifier}: {wanted}")
    own = f"metabench {__version__}, Python {platform.python_version()}, torch {version('torch')}"
    return f"{own}, and {len(needed) - 1} other packages in range"


def device() -> str:
    """A product on the CUDA device, if there is one, agrees with the CPU's."""
    import torch

    from metabench.engine.device import describe

    if not torch.cuda.is_available():
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        if DRIVER.exists() and hidden is None:
            raise UserError(
                f"there is an NVIDIA driver, but torch {torch.__version__} sees no GPU: update the driver, or install "
                "a torch built for it (https://pytorch.org/get-started); until then device=cpu"
            )
        return f"no CUDA device, so runs use the CPU: {describe(torch.device('cpu'))}"
    here = torch.device("cuda", torch.cuda.current_device())
    x = torch.rand(64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if not torch.allclose((x.to(here) @ x.to(here)).cpu(), x @ x):
        raise UserError(f"{describe(here)} computes a wrong product: use device=cpu, and have the device looked at")
    free, total = torch.cuda.mem_get_info(here)
    return f"{describe(here)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, torch built for {torch.version.cuda}"


def data() -> str:
    """Omniglot, where it is: every drawing, as published."""
    from metabench.data.images import raw
    from metabench.data.images.ingest import load_omniglot

    try:
        bank = load_omniglot(None, size=28, resize="nearest", invert=True, download=False, say=lambda line: None)
    except MissingDataError as fault:
        raise AbsentError(f"{fault}; data=omniglot downloads it where the network allows") from None
    if bank.digest != raw.DIGEST:
        raise UserError("Omniglot is whole, but its images are not the published ones: fetch the two zips again")
    return f"Omniglot is whole: {len(bank.names)} characters, {bank.images.shape[1]} images each, as published"


def folders() -> str:
    """Outputs can be written and locked here, and there is room for them."""
    from filelock import FileLock

    from metabench.utils.files import write_bytes

    outputs = Path("outputs")
    home = outputs if outputs.is_dir() else Path()
    try:
        with TemporaryDirectory(dir=home, prefix=".doctor-") as aside:
            write_bytes(Path(aside, "file"), b"content")
            with FileLock(Path(aside, "lock"), timeout=0):
                free = shutil.disk_usage(aside).free
    except (OSError, NotImplementedError) as fault:
        raise UserError(
            f"{home.resolve()} cannot be written ({fault}): go to a folder that can, or give run_dir="
        ) from None
    if free < LITTLE:
        raise UserError(f"{home.resolve()} has {free >> 20} MiB left: make room, or give run_dir= on another disk")
    return f"{home.resolve()} can be written, {free / 2**30:.0f} GiB free"


def compiler() -> str:
    """What engine=compile needs on a CPU."""
    from metabench.engine.plan import find_compiler

    found = find_compiler()
    if found is None:
        raise AbsentError(
            "no c++, g++ or clang++, so engine=auto stays with the eager engine: install one for engine=compile"
        )
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise AbsentError(
            "Python.h is not there, which engine=compile needs: install the headers of this Python (python3-dev)"
        )
    return f"{found}, for engine=compile"


def self_check() -> str:
    """MAML learns sinusoids, and a second run gives the same bytes."""
    from metabench.doctor.selfcheck import train

    with TemporaryDirectory(prefix="metabench-doctor-") as aside:
        first, second = (train(Path(aside, name)) for name in ("first", "second"))
    if first.state != second.state:
        raise UserError(
            "two runs of one command differ: this torch does not repeat itself on this machine; try another"
        )
    if not first.after < 0.6 * first.before:
        raise UserError(
            f"MAML did not learn sinusoids (error {first.before:.2f} before meta-training, {first.after:.2f} after): "
            "this torch computes wrongly on this machine; try another version"
        )
    steps = f"{first.steps} meta-steps of MAML on sinusoids, twice with the same bytes"
    return f"{steps}; error after adaptation {first.before:.2f} untrained, {first.after:.2f} trained"


CHECKS: tuple[Check, ...] = (versions, device, data, folders, compiler, self_check)
