"""Trackers: every line once, whatever happens to the run; a tracker that fails is left; none decides a run."""

from __future__ import annotations

import csv
import json
import re
import signal
import struct
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from program import ODD, SINUSOID, only_run, run_metabench, signal_in, until

from metabench.config.compose import compose, compose_plain
from metabench.errors import ConfigError
from metabench.runs.run_id import first_identity, identity
from metabench.tracker.base import TrackedRun, Tracker, points, results
from metabench.tracker.csv import Csv
from metabench.tracker.mlflow import Mlflow
from metabench.tracker.tensorboard import TensorBoard
from metabench.tracker.trackers import Trackers, find_trackers
from metabench.tracker.wandb import Wandb

LINES = [{"step": 5 * i, "split": "train", "loss": 1 / i, "note": None} for i in range(1, 8)]
LINES.insert(2, {"step": 10, "split": "validation", "mse": 0.5, "ci95": float("nan")})
CARD = {"hash": "0123", "test": {"shots": 5}, "training": {"seed": 0}}
SUMMARY = {
    "status": "complete",
    "train": {"steps": 35},
    "test": {"metric": "mse", "mean": 0.25, "ci95": 0.1, "episodes": 8,
             "modes": {"inductive": {"mean": 0.25, "ci95": 0.1, "episodes": 8}}},
}  # fmt: skip
POINTS = sorted(points(LINES))


@pytest.fixture
def run(tmp_path) -> TrackedRun:
    return TrackedRun("sinusoid/maml/0123", tmp_path, compose_plain(), CARD, {"command": "metabench", "git": None})


class Fake(Tracker):
    """Keeps what it is given; fails in the call named `fails`, once."""

    def __init__(self, *, fails: str | None = None) -> None:
        self.fails, self.lines, self.ended = fails, [], None
        self.begun: list[bool] = []

    def fail(self, call: str) -> None:
        if self.fails == call:
            self.fails = None
            raise RuntimeError("no network\nat all")

    def begin(self, run, memo):
        self.fail("begin")
        self.begun.append(not memo)
        memo["begun"] = True
        return "here"

    def log(self, lines, first):
        assert first == len(self.lines)
        self.fail("log")
        self.lines += lines

    def finish(self, summary, pictures):
        self.fail("finish")
        self.lines += [summary]

    def end(self, status):
        self.ended = status


def follow(tracker: Tracker, run: TrackedRun, said: list[str], kept: int, upto: int | None = None) -> None:
    """A process that continues the run from line `kept` to line `upto`, or to its end."""
    trackers = Trackers({"one": tracker}, run.folder, said.append)
    trackers.begin(run, LINES[:kept])
    for line in LINES[kept:upto]:
        trackers.log(line)
    if upto is None:
        trackers.finish(SUMMARY, [])
    else:
        trackers.end("stopped")


def test_a_continued_run_gives_a_tracker_every_line_once(run):
    fake, said = Fake(), []
    follow(fake, run, said, 0, 5)
    assert (fake.lines, fake.ended) == (LINES[:5], "stopped")
    follow(fake, run, said, 3, 4)  # cut back to a checkpoint, and stopped again before it was where it had been
    follow(fake, run, said, 3)
    assert (fake.lines, fake.ended) == ([*LINES, SUMMARY], "complete")
    assert fake.begun == [True, False, False]
    assert said == 3 * ["tracker one: here"]


def test_a_tracker_that_is_asked_for_late_gets_all(run):
    fake = Fake()
    follow(fake, run, [], 4)
    assert fake.lines == [*LINES, SUMMARY]
    trackers = Trackers({"one": fake}, run.folder, print)
    trackers.begin(run, LINES, finished=True)
    assert trackers.open == {}  # it has all


@pytest.mark.parametrize("call", ["begin", "log", "finish"])
def test_a_tracker_that_fails_is_left_with_one_warning_and_gets_the_rest_the_next_time(call, run):
    fake, sound, said = Fake(fails=call), Fake(), []
    trackers = Trackers({"one": fake, "two": sound}, run.folder, said.append)
    trackers.begin(run, LINES[:3])
    for line in LINES[3:]:
        trackers.log(line)
    trackers.finish(SUMMARY, [])
    assert [line for line in said if "warning" in line] == [
        "warning: tracker one: no network at all; the run goes on without it"
    ]
    assert sound.lines == [*LINES, SUMMARY]
    follow(fake, run, said, len(LINES))
    assert fake.lines == [*LINES, SUMMARY]


def test_a_damaged_memory_is_no_fault_of_the_run(run):
    (run.folder / "trackers.json").write_text('{"one": 3')
    fake = Fake()
    follow(fake, run, [], 0)
    assert fake.lines == [*LINES, SUMMARY]


# ---- the trackers there are, with the packages themselves


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


def read_csv(folder: Path) -> dict[str, Any]:
    found = sorted((int(step), f"{split}/{name}", float(value)) for step, split, name, value in
                   table(folder / "trackers/csv/metrics.csv"))  # fmt: skip
    about = dict(table(folder / "trackers/csv/protocol.csv")) | dict(table(folder / "trackers/csv/parameters.csv"))
    return {"points": found, "about": about, "test": float(dict(table(folder / "trackers/csv/test.csv"))["test/mse"])}


def read_tensorboard(folder: Path) -> dict[str, Any]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    found = sorted((e.step, name, e.value) for name in events.Tags()["scalars"] for e in events.Scalars(name))
    (text,) = events.Tensors("protocol/text_summary")
    cells = text.tensor_proto.string_val[0].decode().splitlines()[2:]
    about = dict(tuple(part.strip() for part in row.strip("| ").split("|", 1)) for row in cells)
    start = HParamsPluginData.FromString(events.summary_metadata["_hparams_/session_start_info"].plugin_data.content)
    about["train.steps"] = str(int(start.session_start_info.hparams["train.steps"].number_value))
    test = next(value for _, name, value in found if name == "test/mse")
    return {"points": [p for p in found if not p[1].startswith("test/")], "about": about, "test": test,
            "pictures": events.Tags()["images"]}  # fmt: skip


def records(path: Path) -> list[bytes]:
    """The records of a file of wandb: LevelDB's log format after a header of seven bytes."""
    content, place, found, part = path.read_bytes(), 7, [], b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, size, kind = struct.unpack("<IHB", content[place : place + 7])
        if kind == 0:
            break
        part += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):
            found.append(part)
            part = b""
    return found


def read_wandb(folder: Path) -> dict[str, Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    def values(items: Any) -> dict[str, Any]:
        return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}

    def contents() -> list[Record]:
        paths = sorted(folder.glob("trackers/wandb/offline-run-*/*.wandb"))
        return [Record.FromString(content) for path in paths for content in records(path)]

    def whole() -> bool:  # its service writes on for a moment
        return sum(record.WhichOneof("record_type") == "exit" for record in contents()) == 2

    until(whole)
    rows, numbers, about, test, pictures, ids = [], [], {}, {}, [], set()
    for record in contents():
        if record.WhichOneof("record_type") == "run":
            about |= values(record.run.config.update)
            ids.add(record.run.run_id)
        elif record.WhichOneof("record_type") == "history":
            row = values(record.history.item)
            numbers.append(row["_step"])
            pictures += [name for name in row if re.fullmatch(r"pictures/\w+\.path", name)]
            rows += [(row["meta_step"], n, v) for n, v in row.items() if n.startswith(("train/", "validation/"))]
        elif record.WhichOneof("record_type") == "summary":
            test |= values(record.summary.update)
    assert len(ids) == 1
    assert numbers == [*range(len(LINES))]  # what it calls steps: rows; pictures join the last
    return {"points": sorted(rows), "about": about, "test": test["test/mse"], "pictures": pictures}


def read_mlflow(folder: Path) -> dict[str, Any]:
    from mlflow import MlflowClient

    store = folder / "mlflow.db"
    client = MlflowClient(tracking_uri=f"sqlite:///{store}" if store.exists() else f"file://{folder}/mlruns")
    (run,) = client.search_runs([client.get_experiment_by_name("metabench").experiment_id])
    assert run.info.status == "FINISHED"
    found = sorted(
        (m.step, m.key, m.value) for key in run.data.metrics for m in client.get_metric_history(run.info.run_id, key)
    )
    assert [artifact.path for artifact in client.list_artifacts(run.info.run_id)] == ["pictures", "protocol.json"]
    return {"points": [p for p in found if not p[1].startswith("test/")],
            "about": run.data.tags | run.data.params, "test": run.data.metrics["test/mse"],
            "pictures": [a.path for a in client.list_artifacts(run.info.run_id, "pictures")]}  # fmt: skip


READERS = {
    "csv": (Csv, read_csv),
    "tensorboard": (TensorBoard, read_tensorboard),
    "wandb": (partial(Wandb, mode="offline"), read_wandb),
    "mlflow": (Mlflow, read_mlflow),
}
HEAVY = [
    pytest.param(name, store, marks=pytest.mark.slow)
    for name, store in {"tensorboard": "", "wandb": "", "mlflow": "file://{}/mlruns"}.items()
]
DATABASE = pytest.param("mlflow", "sqlite:///{}/mlflow.db", marks=pytest.mark.slow)


@pytest.mark.parametrize(("name", "store"), [("csv", ""), *HEAVY, DATABASE])
def test_a_tracker_shows_a_run_that_was_stopped_and_continued(name, store, run, monkeypatch):
    make, read = READERS[name]
    if make is not Csv:
        pytest.importorskip(name)
    monkeypatch.chdir(run.folder)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    options = {"uri": store.format(run.folder)} if store else {}
    Image.new("RGB", (8, 6), "red").save(run.folder / "curve.png")
    said: list[str] = []
    follow(make(**options), run, said, 0, 5)
    trackers = Trackers({"one": make(**options)}, run.folder, said.append)
    trackers.begin(run, LINES[:3])
    for line in LINES[3:]:
        trackers.log(line)
    trackers.finish(SUMMARY, [run.folder / "curve.png"])
    found = read(run.folder)
    assert not [line for line in said if "warning" in line]
    assert [(step, name) for step, name, _ in found["points"]] == [(step, name) for step, name, _ in POINTS]
    assert [value for *_, value in found["points"]] == pytest.approx([p.value for p in POINTS])
    assert found["about"]["protocol.hash"] == "0123"
    assert str(found["about"]["train.steps"]) == "15000"
    assert found["test"] == 0.25
    assert len(found.get("pictures", ["beside"])) == 1


# ---- in a run


def metrics(folder: Path) -> list[list[str]]:
    return [row for row in table(folder / "trackers/csv/metrics.csv") if row[2] != "seconds"]


def test_a_run_that_is_killed_and_continued_has_every_point_once_and_a_finished_one_gets_all(tmp_path):
    tiny = (*SINUSOID, *ODD)
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    assert run_metabench(*tiny, cwd=tmp_path / "whole").code == 0
    assert not (only_run(tmp_path / "whole") / "trackers").exists()
    again = run_metabench(*tiny, "tracker=[csv]", cwd=tmp_path / "whole")
    assert "finished before" in again.out
    assert "tracker csv: outputs/sinusoid/maml/" in again.out
    killed = partial(signal_in, "train", 30, signal.SIGKILL)  # after lines that the checkpoint does not have
    assert run_metabench(*tiny, "tracker=csv", cwd=tmp_path / "stopped", patch=killed).code == -signal.SIGKILL
    assert run_metabench(*tiny, "tracker=csv", cwd=tmp_path / "stopped").code == 0
    whole, stopped = (only_run(tmp_path / name) for name in ("whole", "stopped"))
    assert whole.name == stopped.name
    assert metrics(whole) == metrics(stopped)
    assert len(metrics(whole)) == len({(*row[:3],) for row in metrics(whole)}) > 20
    assert (whole / "trackers/csv/test.csv").read_text() == (stopped / "trackers/csv/test.csv").read_text()


def test_a_tracker_is_no_part_of_a_run(tmp_path):
    plain, tracked = compose_plain(), compose_plain("tracker=[wandb,csv]", "tracker.wandb.mode=offline")
    assert list(tracked["tracker"]) == ["wandb", "csv"]
    assert identity(plain) == identity(tracked)
    assert first_identity(plain) == first_identity(tracked)
    assert find_trackers(compose()) == {}


def test_the_earlier_key_asks_for_tensorboard():
    pytest.importorskip("tensorboard")
    assert list(find_trackers(compose("log.tensorboard=true", "tracker=csv"))) == ["tensorboard", "csv"]


def test_results_are_those_of_every_mode():
    assert results(SUMMARY) == {
        "test/mse": 0.25, "test/ci95": 0.1, "test/episodes": 8, "test/inductive/mse": 0.25, "test/inductive/ci95": 0.1
    }  # fmt: skip


def without(*names: str) -> None:
    for name in names:
        sys.modules[name] = None  # type: ignore[assignment]


def test_what_is_not_installed_is_said_in_one_line_and_imported_by_no_other_run(tmp_path):
    patch = partial(without, "tensorboard", "wandb", "mlflow")
    for asked, name in {"log.tensorboard=true": "tensorboard", "tracker=[csv,wandb]": "wandb"}.items():
        done = run_metabench(*SINUSOID, asked, cwd=tmp_path, patch=patch)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"metabench: tracker={name}: needs pip install ")
        assert done.err.endswith(f'[{name}]"\n')
        assert list(tmp_path.iterdir()) == []
    assert run_metabench(*SINUSOID, "train.steps=2", cwd=tmp_path, patch=patch).code == 0


def test_a_tracker_of_ones_own_is_a_subclass():
    with pytest.raises(ConfigError, match=r"tracker\.mine\._target_=os\.system: should name a subclass of"):
        find_trackers(compose("+tracker.mine._target_=os.system", "tracker=csv"))
    with pytest.raises(ConfigError, match=r"tracker\.wandb\.projekt=x: no such key; did you mean project\?"):
        find_trackers(compose("+tracker.wandb.projekt=x", "tracker=wandb"))
