"""The notebooks and the Python of docs/python.md do what they show; its tables name what there is."""

from __future__ import annotations

import re
from functools import wraps
from pathlib import Path

import documents
import pytest
from paths import ROOT
from real_data import omniglot_root

from metabench import api
from metabench.config.catalog import entries, folders

PAGE = ROOT / "docs/python.md"
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))
SHORT = ("budget=smoke", "device=cpu", "engine=eager", "device.threads=1", "data.train.ways=5")


def test_names_in_the_tables_exist():
    text = PAGE.read_text()
    for name in re.findall(r"`(run|evaluate|load|tasks|compose)\(", text):
        assert name in api.__all__
    for cls in ("Result", "Learner", "TaskSet"):
        table = text.partition(f"| `{cls}` | |")[2].partition("\n\n")[0]
        first = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
        names = {n for cell in first for n in re.findall(r"`(\w+)", cell)} - {"for", "len"}
        assert names, cls
        assert {n for n in names if not hasattr(getattr(api, cls), n)} <= {"folder", "summary"}, cls
    algos = re.findall(r"`(\w+)`", text.partition("| method | takes |")[2].partition("\n\n")[0])
    assert set(algos) <= entries("algo", folders(None)).keys()


@pytest.mark.slow
def test_the_python_of_the_page_runs(tmp_path, monkeypatch):
    if omniglot_root() is None:
        pytest.skip("Omniglot is neither in METABENCH_DATA nor in ../shared/data")
    monkeypatch.chdir(documents.write_images(tmp_path))
    monkeypatch.setenv("METABENCH_DATA", str(omniglot_root()))

    @wraps(api.run)
    def short(*overrides: str, **options: object) -> api.Result:
        return whole(*(o for o in overrides if not o.startswith("train.steps")), *SHORT, **options)  # type: ignore[arg-type]

    whole = api.run
    monkeypatch.setattr(api, "run", short)
    names: dict[str, object] = {}
    for block in documents.blocks(PAGE, "python"):
        exec(block, names)
    assert set(names["labels"]) <= set("abc")  # type: ignore[call-overload]
    assert names["probabilities"].shape == (2, 3)  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "error":  # a wrong value, on purpose: the message alone
                assert "raises-exception" in cell.metadata.tags
                assert output.traceback == [f"{output.ename}: {output.evalue}"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_has_its_outputs(path: Path):
    assert path.stat().st_size < 100_000
    text = path.read_text()
    assert '"outputs": [\n' in text
    for link in re.findall(r"\]\(([\w.]+)\)", text):
        assert (ROOT / "docs" / link).exists(), link
