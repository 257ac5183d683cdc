"""The architecture: rooms in layers, imports that go down, no circle, few modules in one place."""

from __future__ import annotations

import ast
import re
from collections import Counter
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest
from paths import ROOT

# A room imports itself and rooms of the lines above, wherever the import stands.
LAYERS = (
    ("errors", "tasks", "objective", "axis"),
    ("rng", "utils"),
    ("figures",),
    ("config",),
    ("data", "backbone", "optim", "runs", "sweep"),
    ("algo", "report", "tracker"),
    ("engine", "evaluation", "board"),
    ("plots",),
    ("training",),
    ("inference",),
    ("doctor",),
    ("cli",),
    ("api", "__main__"),
)
AT_ROOT, IN_A_ROOM = 9, 18  # modules at most; methods have a file each, however many they are
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "metabench").rglob("*.py")
}


def imported(module: str) -> set[str]:
    """The modules of the program that a module imports, at its head, in a function or for a type alone."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names = {f"{node.module}.{name.name}" for name in node.names}
            found |= names & FILES.keys() or {str(node.module)}
    return found & FILES.keys()


IMPORTS = {module: imported(module) for module in FILES}


def room(module: str) -> str:
    """The folder below metabench/ that a module is in, or its own name at the root; '' for the package itself."""
    return ([*module.split("."), ""])[1]


def test_every_room_has_a_layer():
    assert {room(module) for module in FILES} - {""} - {"conf"} == RANK.keys() & {room(module) for module in FILES}


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_go_down(module):
    for other in IMPORTS[module]:
        here, there = room(module), room(other)
        assert here == there or not there or RANK[there] < RANK[here], f"{module} imports {other}"


def test_algorithms_know_no_data():
    assert not {
        other for module in FILES if room(module) == "algo" for other in IMPORTS[module] if room(other) == "data"
    }


def test_the_tour_has_the_layers():
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", (ROOT / "docs/tour.md").read_text(encoding="utf-8"), re.MULTILINE)
    told = {int(number): set(re.findall(r"`metabench/(\w+)", rooms)) for number, rooms in rows}
    assert told == {number: {*layer} - {"__main__"} for number, layer in enumerate(LAYERS, start=1)}


def test_there_is_no_circle():
    TopologicalSorter({module: others - {module} for module, others in IMPORTS.items()}).prepare()


def test_a_room_can_be_taken_in_at_a_glance():
    folders = Counter(path.parent for path in FILES.values())
    assert folders.pop(ROOT / "metabench") <= AT_ROOT
    assert {folder: count for folder, count in folders.items() if count > IN_A_ROOM}.keys() <= {ROOT / "metabench/algo"}


def test_tests_stand_where_their_subject_stands():
    rooms = {path.name for path in (ROOT / "metabench").iterdir() if path.is_dir()}
    beside = {"helpers", "faults", "benchmarks", "docs"}
    folders = {
        path.parent.relative_to(ROOT / "tests").parts[0]
        for path in chain(*map(Path.rglob, [ROOT / "tests"], ["*/test_*.py"]))
    }
    assert folders - beside <= rooms
