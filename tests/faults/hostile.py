"""Files that people pass to each other, made to do harm: each would make the folder `touched`."""

from __future__ import annotations

import builtins
import functools
import importlib
import io
import os
import pickle
import subprocess
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz
import numpy as np
import torch
from bad_inputs import CASES, HOSTILE, MINE, TOUCH
from fake_omniglot import FAKE, drawings, png, write, write_zip
from program import Ended, run_fresh, run_metabench

from faults.archives import loaded
from faults.fault import Attempt, fault
from metabench.utils.files import _SEAL

REFUSED = "exit code 2; one line names the fault; nothing is called or written"


def refused(done: Ended, work: Path, before: list[Path], code: int = 2) -> None:
    assert done.code == code, done
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("metabench: "), done.err
    assert [path for path in sorted(work.rglob("*")) if "__pycache__" not in path.parts] == before


def folder(attempt: Attempt, files: dict[str, str | bytes]) -> tuple[Path, list[Path]]:
    """A working directory with these files, and all that is in it."""
    work = attempt.folder / "work"
    work.mkdir()
    for name, content in files.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return work, sorted(work.rglob("*"))


@fault(
    "a bad command line: types, ranges, names, contradictions, what is not there",
    f"{REFUSED}; under 3 s including start-up",
    tries=len(CASES),
    short=0,  # tests/cli/test_bad_input.py has all of them
    alone=True,
)
def command_line(attempt: Attempt) -> None:
    work, before = folder(attempt, {})
    began = time.monotonic()
    done = run_fresh("metabench", *list(CASES)[attempt.number].split(), cwd=work, env={"CUDA_VISIBLE_DEVICES": ""})
    attempt.note("seconds", time.monotonic() - began, 3)
    refused(done, work, before)


@fault("a shared experiment that names what Hydra or logging would call", REFUSED, tries=2 * len(HOSTILE), short=0)
def experiment(attempt: Attempt) -> None:
    text = list(HOSTILE)[attempt.number // 2].replace("TOUCH", TOUCH)
    work, before = folder(attempt, {"experiment/shared.yaml": f"# @package _global_\n{text}\n"})
    mode = ("--run", "-m")[attempt.number % 2]
    refused(run_metabench(mode, "--config-dir=.", "experiment=shared", cwd=work), work, before)


@fault("a config with object tags, or that is none", REFUSED, tries=len(MINE), short=0)
def config(attempt: Attempt) -> None:
    modules = {"mine/raises.py": "raise ZeroDivisionError('for a test')", "mine/exits.py": "raise SystemExit(0)"}
    work, before = folder(attempt, {"algo/mine.yaml": f"{list(MINE)[attempt.number]}\n", **modules})
    refused(run_metabench("--config-dir=.", "algo=mine", cwd=work), work, before)


TARGETS = (
    *("os.mkdir", "os.makedirs", "os.system", "posix.mkdir", "pathlib.Path.mkdir", "shutil.copytree"),
    *(
        "subprocess.run",
        "subprocess.Popen",
        "builtins.exec",
        "builtins.eval",
        "importlib.import_module",
        "runpy.run_path",
    ),
    *("antigravity.fly", "this.s", "unittest.__main__.main", "pydoc.Helper", "code.interact"),
    *("torch.load", "torch.hub.load", "torch.utils.cpp_extension.load", "hydra.utils.instantiate"),
    *(
        "metabench.algo.maml.torch.load",
        "metabench.utils.files.os.mkdir",
        "metabench.algo.base.Algorithm",
        "torch.nn.Module",
    ),
)


@fault("a hostile _target_, in each group", REFUSED, tries=4 * len(TARGETS))
def target(attempt: Attempt) -> None:
    group, name = ("algo", "data", "backbone", "optim")[attempt.number % 4], TARGETS[attempt.number // 4]
    task = "defaults: [/task@_here_: regression, _self_]\n" if group == "data" else ""
    text = f"{task}_target_: {name}\npath: touched\nname: touched\ncmd: mkdir touched\nargs: mkdir touched\n"
    work, before = folder(attempt, {f"{group}/mine.yaml": text})
    done = run_metabench("--config-dir=.", f"{group}=mine", cwd=work)
    refused(done, work, before)
    assert f"{group}._target_={name}: " in done.err


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Builds(dict[str, Any]):
    """Pickles as a dictionary whose state is set by a call."""

    def __reduce__(self) -> Any:
        return dict, (), None, None, iter([("algo", MKDIR)])


def saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


MKDIR = Calls(os.mkdir, "touched")
PAYLOADS: dict[str, Callable[[], bytes]] = {
    "os.mkdir for a weight": lambda: saved({"algo": {"w": MKDIR}}),
    "os.system in its place": lambda: saved(Calls(os.system, "mkdir touched")),
    "exec": lambda: saved({"algo": Calls(builtins.exec, "import os; os.mkdir('touched')")}),
    "eval": lambda: saved({"algo": Calls(builtins.eval, "__import__('os').mkdir('touched')")}),
    "a process": lambda: saved({"algo": Calls(subprocess.Popen, ["mkdir", "touched"])}),
    "an import of a module that lies there": lambda: saved({"algo": Calls(importlib.import_module, "evil")}),
    "getattr on a module": lambda: saved({"algo": Calls(getattr, Calls(importlib.import_module, "evil"), "x")}),
    "a partial": lambda: saved({"algo": functools.partial(os.mkdir, "touched")}),
    "a pickle within, by torch's own function": lambda: saved(
        {"algo": Calls(torch.storage._load_from_bytes, saved(MKDIR))}
    ),
    "a rebuilt tensor of a type": lambda: saved(
        {"algo": {"w": Calls(torch._tensor._rebuild_from_type_v2, os.mkdir, torch.Tensor, ("touched",), {})}}
    ),
    "an array of objects": lambda: saved({"algo": {"w": np.array([MKDIR], dtype=object)}}),
    "a default": lambda: saved({"algo": defaultdict(functools.partial(os.mkdir, "touched"))}),
    "items of an ordered dictionary": lambda: saved(OrderedDict(algo=OrderedDict(w=MKDIR))),
    "items of a dictionary": lambda: saved(Builds()),
    "torch's older form": lambda: saved({"algo": {"w": MKDIR}}, _use_new_zipfile_serialization=False),
    "a bare pickle": lambda: pickle.dumps({"algo": {"w": MKDIR}}),
}


def sealed(payload: bytes) -> bytes:
    """With the checksum that anyone can compute."""
    import hashlib

    return payload + _SEAL + hashlib.sha256(payload).hexdigest().encode()


@fault("a hostile checkpoint: code in a pickle", REFUSED, tries=len(PAYLOADS), short=2)
def checkpoint(attempt: Attempt) -> None:
    payload = list(PAYLOADS.values())[-1 - attempt.number]()
    files = {"run/checkpoints/best.pt": sealed(payload), "evil.py": "import os\nos.mkdir('touched')\n"}
    work, before = folder(attempt, files)
    done = run_metabench("init=run", cwd=work)
    refused(done, work, before)
    assert "init=run: has no intact best checkpoint: " in done.err


OUTSIDE = (
    *(
        "../evil.png",
        "images_background/../../evil.png",
        "a/../../../evil.png",
        "..",
        "..\\evil.png",
        "a\\..\\..\\evil.png",
    ),
    *("/etc/evil.png", "//evil.png", "\\evil.png", "C:\\evil.png", "c:evil.png", "images_background/Alpha/.."),
)


@fault(
    "an archive with a path that leads outside",
    "exit code 1; one line names the path; nothing is written",
    tries=len(OUTSIDE),
)
def archive(attempt: Attempt) -> None:
    name, root = OUTSIDE[attempt.number], write(attempt.folder / "data")
    write_zip(root / f"{FAKE[0].name}.zip", drawings(0) | {name: png()})
    before = sorted(attempt.folder.rglob("*"))
    code, told = loaded(root, attempt.folder / "cache", attempt.folder / "said")
    assert code == 1
    assert "points outside the archive" in told
    kept = [path for path in sorted(attempt.folder.rglob("*")) if "cache" not in path.parts and path.name != "said"]
    assert kept == before
    assert not list((attempt.folder / "cache").glob("*.pt"))


BATCH = 100


@fault(
    f"any {{}}, {BATCH} at random",
    "accepted, or refused in one line; no traceback",
    tries=10,
    short=0,
    over=fuzz.PROPERTIES,
)
def anything(attempt: Attempt, kind: str) -> None:
    fuzz.search(kind, BATCH, attempt.number)  # tests/cli/test_fuzz.py has a few
