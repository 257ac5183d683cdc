"""What decides a number is part of a run's id: the checkpoint it starts from, code from outside, the data."""

from __future__ import annotations

import importlib
import json
import shutil
import sys

import pytest
import torch
import yaml
from image_sets import THREE_WAY
from image_sets import write as write_images
from program import GLYPHS, SINUSOID, TINY, only_run, run_metabench, summary
from user import write_package

from metabench.algo.maml import MAML
from metabench.errors import ConfigError, DataError
from metabench.runs.inputs import check_same_data, find_inputs, load_init, source_digest
from metabench.runs.run_dir import RunDirectory
from metabench.runs.run_id import digest

TEST = ("algo=protonet", "train.steps=0", "seed=0")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder on the path, for packages that a test writes; they are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]
    importlib.invalidate_caches()


def write(folder, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def digests(folder, module: str, name: str, changes: dict[str, str]) -> tuple[str, str]:
    """The digest of a class before and after some files are changed; the class itself is loaded once."""
    cls = getattr(importlib.import_module(module), name)
    before = source_digest(cls)
    write(folder, changes)
    return before, source_digest(cls)


MINE = {
    "mine_a/__init__.py": "",
    "mine_a/algo.py": (
        "import beside_a\nfrom metabench.api import MAML\nfrom mine_a.maths import f\n"
        "class Mine(MAML):\n    def sign(self):\n        from . import late\n        return f(late.SIGN)\n"
    ),
    "mine_a/maths.py": "def f(x):\n    return x\n",
    "mine_a/late.py": "SIGN = 1\n",
    "beside_a.py": "SIGN = 1\n",
}


@pytest.mark.parametrize("file", MINE)
def test_a_change_anywhere_in_the_users_code_changes_its_digest(file, package):
    write(package, MINE)
    before, after = digests(package, "mine_a.algo", "Mine", {file: MINE[file] + "# changed\n"})
    assert before != after


def test_what_it_does_not_use_does_not(package):
    write(package, MINE)
    before, after = digests(package, "mine_a.algo", "Mine", {"mine_a/notes.py": "1\n", "other_a.py": "2\n"})
    assert before == after


def test_a_base_class_of_another_package_counts(package):
    write(package, {"base_c.py": "from metabench.api import MAML\nclass Base(MAML):\n    sign = 1\n"})
    write(package, {"mine_c.py": "from base_c import Base\nclass Mine(Base):\n    pass\n"})
    before, after = digests(package, "mine_c", "Mine", {"base_c.py": "class Base:\n    sign = -1\n"})
    assert before != after


def test_the_programs_own_classes_are_named_by_its_version():
    assert find_inputs(None, [MAML, torch.optim.Adam]) == {}


def saved(path, value: float, step: int = 3) -> RunDirectory:
    directory = RunDirectory(path, "id")
    (path / "checkpoints").mkdir(parents=True)
    directory.save_best({"algo": {"w": torch.tensor([value])}, "step": step, "value": 0.5})
    return directory


def test_a_checkpoint_is_known_by_its_weights_wherever_it_lies(tmp_path):
    first, copy, other = (tmp_path / name for name in ("first", "copy", "other"))
    for path, value in ((first, 1.0), (copy, 1.0), (other, 2.0)):
        saved(path, value)
    named = [find_inputs(str(path), [])["init"] for path in (first, copy, other)]
    assert named[0] == named[1] != named[2]
    assert named[0]["meta_steps"] == 3


def test_an_init_that_holds_no_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^init=.*: has no intact best checkpoint: "):
        load_init(tmp_path)
    directory = saved(tmp_path / "run", 1.0)
    directory.save_best({"algo": {"w": "text"}})
    with pytest.raises(ConfigError, match=r"^init=.*: holds no model: "):
        load_init(directory.path)


def test_data_is_compared_by_what_both_cards_say(tmp_path):
    check_same_data(tmp_path, None, {"digest": "a"})
    check_same_data(tmp_path, {"digest": "a", "size": 28}, {"digest": "a", "size": 20})
    with pytest.raises(DataError, match="its digest was a and is now b; resume=false runs it anew"):
        check_same_data(tmp_path, {"digest": "a"}, {"digest": "b"})


# ---- as a user meets it


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_a_base_that_was_trained_anew_is_another_start(work):
    for seed in (0, 1):
        shutil.rmtree(work / "base", ignore_errors=True)
        assert run_metabench(*GLYPHS, "algo=protonet", "run_dir=base", f"seed={seed}", cwd=work).code == 0
        done = run_metabench(*GLYPHS, *TEST, "init=base", cwd=work)
        assert (done.code, "finished before" in done.out) == (0, False)
    runs = sorted(path.parent for path in (work / "outputs").rglob("summary.json"))
    cards = [summary(run)["protocol"]["training"]["init"] for run in runs]
    assert len(runs) == 2
    assert cards[0]["digest"] != cards[1]["digest"]
    assert "finished before" in run_metabench(*GLYPHS, *TEST, "init=./base/", cwd=work).out
    assert "finished before" in run_metabench(*GLYPHS, *TEST, f"init={work}/base", cwd=work).out


@pytest.mark.slow
def test_a_class_whose_source_changed_is_another_run(work):
    write_package(work)
    command = ("--config-dir=conf", "algo=shrinking", *SINUSOID)
    assert run_metabench(*command, cwd=work).code == 0
    assert "finished before" in run_metabench(*command, cwd=work).out
    path = work / "mine/algo.py"
    path.write_text(path.read_text().replace("self.inner_lr *= shrink", "self.inner_lr *= -shrink"))
    again = run_metabench(*command, cwd=work)
    assert (again.code, "finished before" in again.out) == (0, False)
    runs = [path.parent for path in (work / "outputs").rglob("summary.json")]
    assert len(runs) == 2
    assert len({summary(run)["inputs"]["sources"]["mine.algo.Shrinking"] for run in runs}) == 2


def test_two_spellings_of_a_number_are_one_run(work):
    assert run_metabench(*SINUSOID, "optim.lr=1", "train.steps=0", cwd=work).code == 0
    for spelling in ("1.0", "1e0", "10e-1"):
        again = run_metabench(*SINUSOID, f"optim.lr={spelling}", "train.steps=0", cwd=work)
        assert "finished before" in again.out, spelling
    assert yaml.safe_load((only_run(work) / "config.yaml").read_text())["optim"]["lr"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("finished", [True, False], ids=["finished", "stopped"])
def test_a_run_whose_data_has_changed_says_so(finished, work):
    """Images of another root, under the same command: no old number is shown, and nothing is mixed."""
    command = (*GLYPHS, "algo=protonet", "run_dir=run")
    assert run_metabench(*command, cwd=work).code == 0
    run = work / "run"
    kept = "summary.json" if finished else "environment.json"
    content = json.loads((run / kept).read_text())
    (content["protocol"]["test"] if finished else content)["data"]["digest"] = "of others"
    if finished:
        content["protocol"]["hash"] = digest(content["protocol"]["test"])[:12]
    else:
        (run / "summary.json").unlink()
    (run / kept).write_text(json.dumps(content))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = run_metabench(*command, cwd=work)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("metabench: run: the data has changed since this run: its digest was of others and is ")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_damaged_images_are_not_taken_for_those_of_a_finished_run(work):
    """The names of the files, which are part of what the run is, are the same."""
    write_images(work / "birds")
    command = (*TINY, "algo=protonet", "data=images", *THREE_WAY, "data.train.ways=3", "backbone.filters=4")
    done = run_metabench(*command, f"data.root={work}/birds", cwd=work)
    assert (done.code, done.err) == (0, "")
    shutil.copytree(work / "birds", work / "copy")
    assert "finished before" in run_metabench(*command, f"data.root={work}/copy", cwd=work).out
    image = next((work / "copy/bird 01").iterdir())
    image.write_bytes(image.read_bytes()[:60])
    done = run_metabench(*command, f"data.root={work}/copy", cwd=work)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert f"{image}: cannot be read as an image" in done.err


def test_what_another_environment_has_installed_is_no_code_of_the_user(package, monkeypatch):
    """With --system-site-packages, pip install --user or a .pth file: else all of torch would be digested."""
    site = package / "other/lib/site-packages"
    write(site, {"installed_b/__init__.py": "SIGN = 1\n"})
    monkeypatch.syspath_prepend(site)
    write(package, {"mine_b.py": "import installed_b\nfrom metabench.api import MAML\nclass Mine(MAML):\n    pass\n"})
    before, after = digests(site, "mine_b", "Mine", {"installed_b/__init__.py": "SIGN = 2\n"})
    assert before == after
