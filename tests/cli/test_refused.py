"""What the system refuses is one line that names the path, exit code 1 or 2, in every command."""

from __future__ import annotations

import ctypes
import os
import pwd
import sys

import pytest
from patches import remove_working_directory
from program import Ended, run_metabench, start_metabench

COMMANDS = ("seed=1", "-m seed=1,2", "--cfg job", "doctor", "report", "compare a b", "plot curves a", "test a")
COMMANDS += ("validate", "tune algo.inner_lr=log(0.1,1)")


def refused(done: Ended, path: str) -> None:
    assert done.code in (1, 2), done
    lines = [line for line in done.err.splitlines() if "Matplotlib" not in line]  # says where it puts its cache
    assert len(lines) == 1, done.err
    assert lines[0].startswith("metabench: ")
    assert path in lines[0]


def no_home() -> None:
    """A patch: no HOME, and a user that the system does not know."""

    def unknown(*_):
        raise KeyError

    for name in ("HOME", "XDG_CACHE_HOME", "METABENCH_CACHE", "METABENCH_DATA"):
        os.environ.pop(name, None)
    pwd.getpwuid = pwd.getpwnam = unknown


def obey_permissions() -> None:
    """A patch: root gives up the two capabilities by which it reads and writes all the same (linux/capability.h)."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice, the low 32 first
    assert libc.capget(header, sets) == 0
    for i in range(3):
        sets[i] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, sets) == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_working_directory_that_is_gone(command, tmp_path):
    done = start_metabench(*command.split(), cwd=tmp_path, patch=remove_working_directory).wait()
    refused(done, f"{tmp_path}/gone: the working directory cannot be read")


@pytest.mark.parametrize(
    "command",
    [
        *("run_dir='~/x'", "run_dir='~nobody-here/x'", "init='~/x'", "--config-dir ~/x", "ls --config-dir ~/x"),
        *("data=omniglot algo=protonet", "data=omniglot algo=protonet data.root='~/x'", "plot curves ~/x"),
        "tune algo.inner_lr=log(0.1,1) study=~/x trials=1",
    ],
)
def test_a_home_that_is_not_known(command, tmp_path):
    refused(run_metabench(*command.split(), cwd=tmp_path, patch=no_home), "~")


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
@pytest.mark.parametrize(
    "command",
    [
        *("run_dir=locked/x", "init=locked/x", "--config-dir locked", "--config-dir half", "ls --config-dir locked"),
        *("ls --config-dir half", "--help --config-dir locked", "validate --config-dir half sinusoid/maml_k5"),
        *("report --config-dir locked", "report locked/x", "compare locked locked", "plot curves locked"),
        *("test locked", "test locked/x", "tune algo.inner_lr=log(0.1,1) study=locked/x trials=1"),
        *("data=omniglot algo=protonet data.root=locked", "-m seed=1,2 hydra.sweep.dir=locked/x"),
    ],
)
def test_a_folder_that_cannot_be_read(command, tmp_path):
    (tmp_path / "locked").mkdir(mode=0)
    (tmp_path / "half").mkdir()
    (tmp_path / "half/algo").mkdir(mode=0)
    done = run_metabench(
        *command.split(), cwd=tmp_path, patch=obey_permissions, env={"METABENCH_CACHE": str(tmp_path / "cache")}
    )
    refused(done, "half" if "half" in command else "locked")
    if "config-dir" in command:  # in every command
        assert done.code == 2
