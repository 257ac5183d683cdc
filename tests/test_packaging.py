"""What is published is whole: installed from its wheel, away from the checkout, the program lists, helps and runs."""

from __future__ import annotations

import os
import shutil
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml
from paths import ROOT
from program import SINUSOID, Ended, only_run, run_fresh, summary

SHIPPED = {
    *(f"metabench/conf/{path.relative_to(ROOT / 'conf')}" for path in (ROOT / "conf").rglob("*.yaml")),
    *(f"{path.relative_to(ROOT)}" for path in (ROOT / "metabench").rglob("*.txt")),
    *(f"{path.relative_to(ROOT)}" for path in (ROOT / "metabench").rglob("*.py")),
    *(f"{path.relative_to(ROOT)}" for path in (ROOT / "metabench/report/templates").iterdir()),
    "metabench/conf/__init__.py",
    "metabench/py.typed",
    "metabench/config/published.csv",
}


def setuptools_suffices() -> bool:
    """Else an isolated environment gets one from the registry."""
    try:
        return int(version("setuptools").split(".")[0]) >= 77
    except PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from the source distribution, itself built from a copy of the checkout."""
    work = tmp_path_factory.mktemp("build")
    source = work / "source"
    for name in ("metabench", "conf", "build_backend"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    options = ["--outdir", str(work), *["--no-isolation"] * setuptools_suffices()]
    done = run_fresh("python", "-m", "build", *options, str(source), cwd=work)
    assert done.code == 0, done.err
    (found,) = work.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel) -> Path:
    """A folder with the installed package, its dependencies left where they are."""
    target = wheel.parent / "site"
    options = ("--quiet", "--no-deps", "--no-index", "--no-compile", "--target", str(target))
    done = run_fresh("python", "-m", "pip", "install", *options, str(wheel), cwd=wheel.parent)
    assert done.code == 0, done.err
    return target


def test_an_editable_install_comes_before_a_folder_of_the_same_name(tmp_path):
    build = (
        "import sys; sys.path.insert(0, 'build_backend'); import backend; print(backend.build_editable(sys.argv[1]))"
    )
    for name in ("metabench", "conf", "build_backend"):
        shutil.copytree(ROOT / name, tmp_path / "clone" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "clone")
    done = run_fresh("python", "-c", build, str(tmp_path), cwd=tmp_path / "clone")
    assert done.code == 0, done.err
    (found,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(found).extractall(tmp_path / "site")
    (tmp_path / "beside/metabench").mkdir(parents=True)
    load = f"import site; site.addsitedir({str(tmp_path / 'site')!r}); import metabench, metabench.conf as c; "
    done = run_fresh("python", "-S", "-c", f"{load}print(metabench.__file__, c.__file__)", cwd=tmp_path / "beside")
    assert done.out.split() == [str(tmp_path / "clone" / place / "__init__.py") for place in ("metabench", "conf")]
    (tmp_path / "beside/metabench/__init__.py").touch()  # a package on the path still comes first
    done = run_fresh("python", "-S", "-c", load.replace(", metabench.conf as c", "") + "print(metabench.__file__)",
                     cwd=tmp_path / "beside")  # fmt: skip
    assert done.out.strip() == str(tmp_path / "beside/metabench/__init__.py")


@pytest.fixture
def metabench(installed, tmp_path):
    def run(*arguments: str) -> Ended:
        return run_fresh("python", *arguments, cwd=tmp_path, env={"PYTHONPATH": str(installed)})

    return run


def test_the_wheel_holds_every_module_config_and_split_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert sum(name.endswith(".yaml") for name in names) > 30
    assert sum(name.startswith("metabench/data/splits/") for name in names) == 3
    assert names == SHIPPED


def test_the_installed_program_lists_and_helps(metabench, installed):
    assert metabench("-c", "import metabench; print(metabench.__file__)").out.startswith(f"{installed}{os.sep}")
    assert metabench("-c", "import metabench.conf; print(metabench.conf.__file__)").out.startswith(str(installed))
    assert "protonet" in metabench("-m", "metabench", "--help").out
    assert "prototypical networks" in metabench("-m", "metabench", "ls", "algo").out
    assert (installed / "bin/metabench").is_file()


@pytest.mark.slow
def test_the_installed_program_runs(metabench, tmp_path):
    done = metabench("-m", "metabench", *SINUSOID)
    assert (done.code, done.err) == (0, "")
    found = summary(only_run(tmp_path))
    assert found["status"] == "complete"
    assert found["environment"]["git"] is None
    assert found["environment"]["metabench"] == version("metabench")


def test_the_installed_splits_are_read(metabench):
    program = (
        "from metabench.data.images.splits import *; print({name: len(read_split(name)) for name in split_names()})"
    )
    assert metabench("-c", program).out == "{'lake': 3, 'maml': 3, 'vinyals': 3}\n"


def test_the_release_workflow_builds_what_is_tested_here_and_publishes_a_tag_alone():
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    steps = [step["run"] for step in jobs["build"]["steps"] if "run" in step]
    assert "python -m build --outdir dist ." in steps
    check = next(step for step in steps if step.startswith("grep"))
    done = run_fresh("python", "-c", f"import subprocess; print(subprocess.call({check!r}, shell=True))", cwd=ROOT,
                     env={"GITHUB_REF_NAME": f"v{version('metabench')}"})  # fmt: skip
    assert done.out == "0\n"
    assert jobs["publish"]["if"] == "github.ref_type == 'tag'"
    assert jobs["publish"]["needs"] == "build"
