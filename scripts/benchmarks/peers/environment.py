"""The peers' own virtual environment, made once: metabench depends on none of them.

It sees the packages of the interpreter that runs metabench through a `.pth` file, so torch is the same for all and is
not downloaded again; what pip installs here comes first and stays here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

Say = Callable[[str], None]

JAX = {"cpu": ["jax"], "cuda": ["jax[cuda13]"]}


MODULES = {"parallel-metalearn": "metalearn"}  # what a peer is imported as, where that is not its name


class Present:
    """The peers that this interpreter has; nothing is installed, for a machine without a network."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.python = folder, Path(sys.executable)

    def prepare(self, peers: list[str], again: bool) -> dict[str, str]:
        """The reasons, by name, of those that are not here."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return {peer: "is not on this machine" for peer in peers if find_spec(MODULES.get(peer, peer)) is None}


class InstallError(Exception):
    """One line that says why."""


class Environment:
    """A folder with an interpreter that can import the peers, and a record of those that it cannot."""

    def __init__(self, folder: Path, device: str, say: Say) -> None:
        self.folder, self.device, self.say = folder, device, say
        self.python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        self.record = folder / "peers.json"
        self.log = folder / "install.log"
        self.fingerprint = {"python": sys.version, "prefix": sys.prefix, "torch": version("torch"), "device": device}

    def prepare(self, peers: list[str], again: bool) -> dict[str, str]:
        """Install what is missing of `peers`; the reasons, by name, of those that cannot be had."""
        known = self._known() if not again else {}
        if not known:
            self._create()
            known = {"fingerprint": self.fingerprint, "reasons": {}}
        for peer in peers:
            if peer not in known["reasons"]:
                self.say(f"installing {peer} into {self.folder}")
                try:
                    self._install(peer)
                    known["reasons"][peer] = None
                except InstallError as reason:
                    known["reasons"][peer] = str(reason)
                self.record.write_text(json.dumps(known, indent=2))
        return {peer: known["reasons"][peer] for peer in peers if known["reasons"][peer]}

    def _known(self) -> dict:
        """The record of an environment made for this interpreter and this torch, else nothing."""
        if not (self.record.is_file() and self.python.exists()):
            return {}
        known: dict = json.loads(self.record.read_text())
        return known if known["fingerprint"] == self.fingerprint else {}

    def _create(self) -> None:
        if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / "pyvenv.cfg").is_file():
            raise SystemExit(f"{self.folder} holds something else than a virtual environment; name another with --env")
        self.say(f"making the peers' environment in {self.folder}")
        self.folder.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(self.folder)], capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise SystemExit(f"no virtual environment in {self.folder}: {last_line(made.stderr or made.stdout)}")
        ours = sysconfig.get_paths(vars={"base": str(self.folder), "platbase": str(self.folder)})["purelib"]
        theirs = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        (Path(ours) / "metabench_packages.pth").write_text("\n".join(theirs) + "\n")
        # Whatever a peer asks for, torch and numpy stay those of metabench.
        (self.folder / "constraints.txt").write_text(
            "".join(f"{name}=={version(name)}\n" for name in ("torch", "torchvision", "numpy"))
        )

    def _install(self, peer: str) -> None:
        match peer:
            case "learn2learn":
                self.pip("h5py", "tqdm", "requests")
                self.pip("--no-deps", "gym", "cloudpickle", "gym-notices")
                self._build_learn2learn()
            case "torchmeta":  # pins torch<1.10 and torchvision<0.11
                self.pip("h5py", "tqdm", "requests", "ordered-set")
                self.pip("--no-deps", "torchmeta")
            case "jax":
                self.pip(*JAX[self.device], "optax")
            case "torch":
                pass  # metabench's own
            case _:
                self.pip(peer)

    def _build_learn2learn(self) -> None:
        """From source: its last wheel is for Python 3.9, and the C files it ships are of a Cython as old."""
        self.pip("cython", "setuptools", "wheel")
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            self._run(
                "pip", "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--dest", str(work),
                "learn2learn",
            )  # fmt: skip
            self._run("tarfile", "-e", str(next(work.glob("learn2learn-*.tar.gz"))), str(work))
            source = next(path for path in work.glob("learn2learn-*") if path.is_dir())
            self._run("cython", "-3", *(str(path) for path in (source / "learn2learn" / "data").glob("*.pyx")))
            self.pip("--no-deps", "--no-build-isolation", str(source))

    def pip(self, *arguments: str) -> None:
        self._run("pip", "install", "--quiet", "--constraint", str(self.folder / "constraints.txt"), *arguments)

    def _run(self, module: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.python), "-m", module, *arguments], capture_output=True, text=True, check=False, cwd=self.folder
        )
        with self.log.open("a") as log:
            log.write(f"$ {module} {' '.join(arguments)}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            raise InstallError(f"{module} {arguments[0]}: {last_line(done.stderr or done.stdout)}")


def last_line(text: str) -> str:
    """The last line that says something, or the last error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    faults = [line for line in lines if line.startswith(("ERROR", "error"))]
    return (faults or lines or ["no message"])[-1][:300]
