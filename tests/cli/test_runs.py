"""`metabench runs`, `show` and `rm` as a user meets them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_runs import write_run
from program import run_metabench

from metabench.cli.commands import report, rm, runs, show

CURVE = [4.0, 2.0, 1.0, 0.5]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The working directory of a user with two runs, one of them stopped."""
    write_run(tmp_path / "outputs/sinusoid/maml/one", "algo=maml", validations=CURVE, changes=[])
    stopped = write_run(tmp_path / "outputs/sinusoid/anil/two", "algo=anil", validations=CURVE)
    (stopped / "summary.json").unlink()
    (stopped / "status.json").write_text('{"status": "stopped", "reason": "stopped by SIGTERM"}')
    for run in (stopped, tmp_path / "outputs/sinusoid/maml/one"):
        (run / "environment.json").write_text(json.dumps({"identity": run.name, "command": f"metabench {run.name}"}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_list_as_table_json_and_csv(work, capsys):
    runs.main(["--sort", "name"])
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["run", "data", "algo", "status", "metric", "age", "size"]
    assert table[1].split()[:5] == ["outputs/sinusoid/maml/one", "sinusoid", "maml", "complete", "0.5500"]
    assert table[2].split()[:4] == ["outputs/sinusoid/anil/two", "sinusoid", "anil", "stopped"]
    runs.main(["outputs", "algo=maml", "--json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["path"], row["metric"], row["value"]) == ("outputs/sinusoid/maml/one", "mse", 0.55)
    runs.main(["status=stopped", "-o", "list.csv"])
    assert capsys.readouterr().out == "written to list.csv\n"
    (line,) = csv.DictReader((work / "list.csv").open())
    assert (line["name"], line["reason"], line["value"]) == ("two", "stopped by SIGTERM", "")


def test_the_recorded_runs_of_a_checkout_are_not_a_users(work, capsys):
    for name in ("three", "four"):
        write_run(work / "outputs/reference/sinusoid" / name, "algo=cavia", changes=[])
    note = "without outputs/reference: name it to see the recorded runs"
    for command, word in ((runs, "cavia"), (report, "cavia")):
        command.main([])
        said = capsys.readouterr().out
        assert word not in said
        assert said.splitlines()[-1] == note
        for named in ("outputs/reference", "outputs"):
            command.main([named])
            said = capsys.readouterr().out
            assert word in said
            assert note not in said
    runs.main(["--json"])
    assert {row["algo"] for row in json.loads(capsys.readouterr().out)} == {"maml", "anil"}


def test_what_cannot_be_followed_beside_recorded_runs_is_said(work, capsys):
    write_run(work / "outputs/reference/sinusoid/three", "algo=cavia", changes=[])
    (work / "outputs/lost").symlink_to("nowhere")
    runs.main([])
    said = capsys.readouterr().out
    assert "left out: outputs/lost: " in said
    assert "cavia" not in said


def test_where_there_are_none_but_recorded_runs_these_are_listed(tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "outputs/reference/sinusoid/three", "algo=cavia", changes=[])
    monkeypatch.chdir(tmp_path)
    runs.main([])
    assert "outputs/reference/sinusoid/three" in capsys.readouterr().out


def test_columns_go_where_a_terminal_is_narrow_and_paths_stay_whole(work, monkeypatch, capsys):
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    runs.main([])
    shown = capsys.readouterr().out
    assert "outputs/sinusoid/maml/one" in shown
    assert "size" not in shown
    assert max(map(len, shown.splitlines()[1:])) <= 80  # the heading has codes of its look


def test_one_run_on_a_page(work, capsys):
    (work / "outputs/sinusoid/maml/one/pictures").mkdir()
    (work / "outputs/sinusoid/maml/one/pictures/fits.png").touch()
    show.main(["outputs/sinusoid/maml/one"])
    said = capsys.readouterr().out
    for part in ("maml on sinusoid, seed 0", "metabench one", "inductive  0.5500", "protocol ", "test.shots"):
        assert part in said
    assert "validation mse: first 4.0000, best 0.5000, last 0.5000 at meta-step 400\n  █" in said
    assert "picture outputs/sinusoid/maml/one/pictures/fits.png" in said
    show.main(["outputs/sinusoid/anil/two"])
    assert "stopped: stopped by SIGTERM; the same command continues it; last written" in capsys.readouterr().out


def test_rm_asks(work, monkeypatch, capsys):
    one, two = (str(Path("outputs/sinusoid", name)) for name in ("maml/one", "anil/two"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    with pytest.raises(SystemExit):
        rm.main([one])
    assert capsys.readouterr().err == "metabench: nothing was removed\n"
    assert Path(one).exists()
    monkeypatch.setattr("builtins.input", lambda question: "y" if question.startswith("remove all of 2 runs?") else "")
    rm.main([one, two, f"{one}/"])
    assert capsys.readouterr().out.endswith("removed 2 runs\n")
    assert not Path(one).exists()
    assert not Path(two).exists()


def test_rm_without_a_terminal_needs_yes(work):
    done = subprocess.run(
        [sys.executable, "-m", "metabench", "rm", "outputs/sinusoid/maml/one"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--yes does not ask" in done.stderr
    assert (work / "outputs/sinusoid/maml/one/summary.json").exists()
    rm.main(["--yes", "outputs/sinusoid/maml/one"])
    assert not (work / "outputs/sinusoid/maml/one").exists()


BAD = {
    "runs nowhere": "nowhere: no such folder",
    "runs --sort best": "--sort=best: no such column",
    "runs --format xml": "--format=xml: no such format",
    "runs -o list.txt": "--output=list.txt: says no format",
    "runs alg=maml": "alg=maml: no run has such a key; did you mean algo?",
    "show nowhere": "nowhere: no such folder",
    "show outputs": "outputs: holds no run",
    "rm nowhere": "nowhere: no such folder",
    "rm --yes outputs": "outputs: is no run",
    "rm --yes --checkpoints outputs/sinusoid/anil/two": "outputs/sinusoid/anil/two: is not finished",
}


@pytest.mark.parametrize("command", BAD)
def test_bad_input_is_one_line_and_changes_nothing(command, work):
    before = sorted(work.rglob("*"))
    done = run_metabench(*command.split(), cwd=work)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"metabench: {BAD[command]}")
    assert sorted(work.rglob("*")) == before


def test_a_run_whose_summary_is_gone_is_shown_without_it(tmp_path):
    run = write_run(tmp_path / "run", "data=sinusoid", "algo=maml")
    (run / "status.json").write_text('{"status": "complete", "reason": null}')
    (run / "summary.json").unlink()
    done = run_metabench("show", str(run), cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "summary.json: is missing; the same command makes it anew" in done.out
