"""scripts/benchmarks/scale.py: slopes that are those of the data, and sizes that every axis and long run can have."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from build import composed, make_source
from paths import ROOT


@pytest.fixture
def scale() -> Iterator[ModuleType]:
    scripts = str(ROOT / "scripts/benchmarks")
    sys.path.insert(0, scripts)
    try:
        import scale

        yield scale
    finally:
        sys.path.remove(scripts)


def test_a_slope_is_the_power_of_the_larger_sizes(scale):
    sizes = [1.0, 2, 4, 8, 16, 32]
    assert scale.slope(sizes, [3 * n**2 for n in sizes]) == pytest.approx(2)
    assert scale.slope(sizes, [7.0] * 6) == pytest.approx(0)
    assert scale.slope(sizes, [100, 100, 100, 8, 16, 32]) == pytest.approx(1)  # what does not grow hides small sizes


@pytest.mark.slow
def test_every_size_is_one_that_the_data_has(scale):
    for axis in scale.AXES.values():
        for overrides in axis.lines.values():
            for size in axis.sizes:
                make_source(composed(*scale.BASE, *overrides(size)))
    for sizes, overrides in scale.LONG.values():
        for size in sizes:
            make_source(composed(*overrides(size)))


@pytest.mark.slow
def test_a_picture_states_its_slopes(scale, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(scale, "REPETITIONS", 1)
    monkeypatch.setattr(scale, "BASE", (*scale.BASE, "data.characters=40", "data.size=16", "backbone.filters=2"))
    monkeypatch.setitem(scale.AXES, "tasks", scale.Axis("tasks a meta-step", (4, 8, 16), scale.AXES["tasks"].lines))
    monkeypatch.setattr(sys, "argv", ["scale.py", str(tmp_path), "--axes", "tasks"])
    scale.main()
    assert (tmp_path / "scale_tasks.png").exists()
    rows = [row for row in (tmp_path / "scale.md").read_text().splitlines() if row.startswith("| tasks a")]
    assert rows == [row for row in capsys.readouterr().out.splitlines() if row.startswith("| tasks a")]
    assert [row.split(" | ")[2] for row in rows] == ["MAML", "ProtoNet"]
    for row in rows:
        assert abs(float(row.split(" | ")[-1].strip(" |"))) < 0.1, "memory is not flat in the tasks at a fixed chunk"
