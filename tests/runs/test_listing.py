"""Lists of runs: how each stands, in which order, and which pass a filter."""

from __future__ import annotations

import json
import os
import socket

import pytest
from made_runs import write_run

from metabench.errors import UserError
from metabench.runs.listing import age_text, row_of, rows_of, size_text
from metabench.runs.reader import RunReader, find


@pytest.fixture
def runs(tmp_path):
    """Two finished runs, the youngest first, and one that is not."""
    for name, overrides, mean in (("a", ("algo=maml",), 0.3), ("b", ("algo=anil", "seed=1"), 0.2)):
        write_run(tmp_path / name, *overrides, values=[mean - 0.1, mean + 0.1])
    write_run(tmp_path / "c", "algo=maml", "data=sinusoid_online")
    (tmp_path / "c/summary.json").unlink()
    (tmp_path / "c/status.json").write_text('{"status": "stopped", "reason": "stopped by SIGTERM"}')
    for age, name in ((100, "b"), (200, "a"), (300, "c")):
        for file in (tmp_path / name).iterdir():
            os.utime(file, (file.stat().st_atime, file.stat().st_mtime - age))
    return tmp_path


def names(folder, *filters: str, **options) -> list[str]:
    return [row.name for row in rows_of(find([folder])[0], filters, **options)]


def test_a_row_says_what_a_run_is_and_found(runs):
    row = row_of(RunReader(runs / "b"))
    assert (row.data, row.algo, row.seed, row.status, row.metric) == ("sinusoid", "anil", 1, "complete", "mse")
    assert row.value == pytest.approx(0.2)
    assert 100 <= row.age < 160
    assert row.size == sum(file.stat().st_size for file in (runs / "b").iterdir())
    row = row_of(RunReader(runs / "c"))
    assert (row.data, row.status, row.reason, row.value) == ("sinusoid_online", "stopped", "stopped by SIGTERM", None)


def test_a_list_is_sorted_by_any_column(runs):
    assert names(runs) == ["b", "a", "c"]  # the youngest first
    assert names(runs, sort="metric") == ["b", "a", "c"]  # the smallest error first, those without a result last
    assert names(runs, sort="name") == ["a", "b", "c"]
    assert names(runs, sort="algo")[0] == "b"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["algo=maml"], ["a", "c"]),
        (["algo=maml", "status=complete"], ["a"]),
        (["algo=maml,anil", "sta*=*"], None),
        (["status=comp*"], ["b", "a"]),
        (["seed=1"], ["b"]),
        (["data.shots=10", "train.steps=15000"], ["b", "a", "c"]),
        (["name=[bc]"], ["b", "c"]),
        (["algo=none"], []),
    ],
)
def test_a_filter_is_a_column_or_a_key_of_the_configuration(filters, expected, runs):
    if expected is None:
        with pytest.raises(UserError, match=r"sta\*=\*: no run has such a key; did you mean status\?"):
            names(runs, *filters)
    else:
        assert names(runs, *filters) == expected


@pytest.mark.parametrize(
    ("owner", "status"),
    [
        ({"pid": os.getpid(), "host": socket.gethostname()}, "running"),
        ({"pid": 2**22 + 1, "host": socket.gethostname()}, "killed"),  # beyond the largest id of a process
        ({"pid": 1, "host": "elsewhere"}, "running"),  # as far as is known here
        (None, "killed"),
    ],
)
def test_a_run_whose_process_is_gone_was_killed(owner, status, runs):
    (runs / "c/status.json").write_text('{"status": "running", "reason": null}')
    if owner is not None:
        (runs / "c/.owner").write_text(json.dumps(owner))
    assert row_of(RunReader(runs / "c")).status == status


def test_a_damaged_run_is_listed_with_its_fault(runs):
    (runs / "a/summary.json").write_text("{")
    row = row_of(RunReader(runs / "a"))
    assert row.status == "damaged"
    assert row.reason is not None
    assert row.reason.startswith("summary.json: ")


def test_ages_and_sizes_in_words():
    assert [age_text(s) for s in (0, 59.9, 60, 7199, 7200, 200_000)] == ["0 s", "59 s", "1 min", "1 h", "2 h", "2 d"]
    assert [size_text(s) for s in (0, 999, 1000, 123_456, 2_000_000)] == ["0 B", "999 B", "1 kB", "123 kB", "2 MB"]
