"""The one reader of runs: every run is found once, by any way that leads there, and what is not is said."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from made_runs import change, write_run
from program import run_metabench

from metabench.errors import UserError
from metabench.report.cells import name_variants
from metabench.runs.groups import gather
from metabench.runs.reader import RunReader, find
from metabench.utils.files import DamagedError


def names(root: Path, *folders: Path) -> list[str]:
    """The runs found in `folders`, or in `root`, by their paths from there."""
    return [run.path.relative_to(root).as_posix() for run in find(folders or [root])[0]]


def skips(root: Path) -> list[str]:
    return [str(skip).removeprefix(f"{root}/") for skip in find([root])[1]]


def test_links_are_followed(tmp_path):
    write_run(tmp_path / "scratch/runs/a")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/protonet").symlink_to("../scratch/runs")
    assert names(tmp_path, tmp_path / "outputs") == ["outputs/protonet/a"]
    assert not skips(tmp_path / "outputs")


def test_a_folder_is_entered_once_and_goes_by_its_own_name(tmp_path):
    write_run(tmp_path / "x/run")
    (tmp_path / "latest").symlink_to("x/run")
    (tmp_path / "x/up").symlink_to("..")  # a loop
    (tmp_path / "x/run/self").symlink_to(".")
    (tmp_path / "z").symlink_to("x")
    assert names(tmp_path) == ["x/run"]
    assert names(tmp_path, tmp_path / "z", tmp_path) == ["z/run"]
    assert not skips(tmp_path)


def test_links_that_lead_nowhere_are_listed(tmp_path):
    (tmp_path / "gone").symlink_to("/scratch/gone")
    (tmp_path / "loop").symlink_to("loop")
    found = skips(tmp_path)
    assert found[0] == "gone: is a broken link to /scratch/gone"
    assert found[1].startswith("loop: is a link that cannot be followed: ")


def test_a_folder_that_may_not_be_entered_is_listed(tmp_path, monkeypatch):
    write_run(tmp_path / "a")
    write_run(tmp_path / "shut")
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert names(tmp_path) == ["a"]
    assert skips(tmp_path) == ["shut: cannot be entered: Permission denied"]


def test_runs_in_folders_with_the_names_of_a_runs_own_are_found(tmp_path):
    write_run(tmp_path / "pictures/checkpoints")
    write_run(tmp_path / "run")
    write_run(tmp_path / "run/inner")
    write_run(tmp_path / "run/checkpoints/copy")  # no run's folder of checkpoints holds runs
    assert names(tmp_path) == ["pictures/checkpoints", "run", "run/inner"]


def test_what_is_given_must_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: is not a folder"):
        find([tmp_path / "file"])
    with pytest.raises(UserError, match="nowhere: no such folder"):
        find([tmp_path / "nowhere"])


def spoil(name: str, how):
    def act(run: Path) -> None:
        (run / name).unlink()
        how(run / name)

    return act


DAMAGE = {
    "a folder for a file": (spoil("summary.json", lambda file: file.mkdir()), "summary.json: is a folder"),
    "a broken link": (spoil("summary.json", lambda file: file.symlink_to("x")), "summary.json: is a broken link"),
    "a pipe": (spoil("summary.json", os.mkfifo), "summary.json: is no regular file"),
    "a device": (spoil("summary.json", lambda file: file.symlink_to("/dev/zero")), "summary.json: is no regular file"),
    "no more than a name": (spoil("summary.json", lambda file: file.write_text("")), "summary.json: Expecting"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGE)
def test_a_run_that_cannot_be_read_is_a_line_of_report_and_of_plot(name, tmp_path):
    damage, reason = DAMAGE[name]
    for run in ("a", "b"):
        write_run(tmp_path / f"outputs/{run}", f"algo={'maml' if run == 'a' else 'anil'}", per_step=STEPS)
    damage(tmp_path / "outputs/b")
    for command in (["report"], ["plot", "steps", "outputs"]):
        done = run_metabench(*command, cwd=tmp_path)
        assert (done.code, done.err) == (0, ""), command
        assert f"outputs/b: {reason}" in done.out


STEPS = [{"step": 0, "mean": 0.9, "ci95": 0.1}, {"step": 1, "mean": 0.55, "ci95": 0.1}]


def test_links_and_refusals_are_the_same_for_plots(tmp_path):
    write_run(tmp_path / "scratch/a", per_step=STEPS)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/maml").symlink_to(tmp_path / "scratch")
    (tmp_path / "outputs/gone").symlink_to("nowhere")
    done = run_metabench("plot", "steps", "outputs", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "left out: outputs/gone: is a broken link to nowhere\n" in done.out
    assert "MAML (1 seed): outputs/maml/a\n" in done.out


def test_names_of_folders_hold_nothing_that_a_terminal_obeys(tmp_path):
    run = write_run(tmp_path / "a\x1b[31m")
    (run / "summary.json").write_text("{")
    done = run_metabench("report", ".", cwd=tmp_path)
    assert "\x1b[31m" not in done.out
    assert "a�[31m: summary.json" in done.out


def test_lines_are_numbers_and_a_cut_one_is_left_out(tmp_path):
    run = write_run(tmp_path / "a", validations=(0.5, 0.4))
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 300, "split": "validation", "mse": null, "ci95": 1e999}\n{"step": 400, "split": "valida')
    lines = RunReader(run).lines("validation")
    assert [line["step"] for line in lines] == [100, 200, 300]
    assert lines[2]["mse"] != lines[2]["mse"]
    with (run / "metrics.jsonl").open("a") as file:
        file.write('tion", "mse": "high"}\n')
    with pytest.raises(DamagedError, match="line 4 is not a line of metrics"):
        RunReader(run).lines("validation")


def test_a_cell_is_the_same_however_its_runs_were_computed(tmp_path):
    runs = [write_run(tmp_path / f"{i}", f"seed={i}", *o) for i, o in enumerate([(), ("device=cpu",), ("chunk=2",)])]
    (cell,), spare = gather(map(RunReader, runs))
    assert ([run.path for run in cell.values()], spare) == (runs, [])


def test_a_run_that_goes_on_joins_the_finished_ones_of_its_configuration(tmp_path):
    runs = [write_run(tmp_path / str(i), f"seed={i}", validations=(0.5,)) for i in range(2)]
    other = write_run(tmp_path / "other", "algo.inner_lr=0.5", validations=(0.5,))
    (runs[0] / "summary.json").unlink()
    cells, _ = gather(map(RunReader, [*runs, other]))
    assert [sorted(cell) for cell in cells] == [[0, 1], [0]]


def test_runs_of_two_protocols_are_apart_in_plots_too(tmp_path):
    for seed in range(3):
        write_run(tmp_path / f"runs/{seed}", f"seed={seed}", per_step=STEPS, card={"shots": 10 + seed // 2})
    shutil.copytree(tmp_path / "runs/0", tmp_path / "runs/copy")
    done = run_metabench("plot", "steps", "runs", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "left out: runs/copy: seed 0 is there already: runs/0\n" in done.out
    assert "MAML shots=10 (2 seeds): runs/0, runs/1\n" in done.out
    assert "MAML shots=11 (1 seed): runs/2\n" in done.out


def test_tests_of_all_seeds_are_one_cell_and_those_of_another_model_another(tmp_path):
    for model, overrides in {"a": (), "b": ("algo.inner_lr=0.5",)}.items():
        for seed in range(3):
            given = (*overrides, f"seed={seed}")
            run = write_run(tmp_path / f"{model}{seed}", *given, per_step=STEPS)
            of = {"run": RunReader(run).summary.identity, "name": None, "overrides": []}
            inputs = {"init": {"digest": f"{model}{seed}", "meta_steps": 1}}  # each seed has weights of its own
            write_run(run / "tests/x", *given, "train.steps=0", card={"shots": 5}, test_of=of, inputs=inputs)
    cells, spare = gather(find([tmp_path])[0])
    assert ([len(cell) for cell in cells], spare) == ([3, 3, 3, 3], [])
    tests = [(cell[0],) for cell in cells if cell[0].tested]
    assert (
        name_variants(tests)[0] == f"algo.inner_lr 0.01, init a test of {RunReader(tmp_path / 'a0').summary.identity}"
    )
    assert sum(run.path.parent.name == "tests" for run in cells[1].values()) == 3
    shutil.move(tmp_path / "a0/tests/x", tmp_path / "moved")  # nothing says any more what it is a seed of
    assert sorted(len(cell) for cell in gather(find([tmp_path])[0])[0]) == [1, 2, 3, 3, 3]


def test_tests_of_models_of_other_data_are_never_seeds_of_one_cell(tmp_path):
    for seed, images in enumerate("abb"):
        card = {"data": {"source": "images", "digest": images}}
        run = write_run(tmp_path / str(seed), f"seed={seed}", card=card)
        of = {"run": RunReader(run).summary.identity, "names": [], "overrides": []}
        other = {"data": {"source": "images", "digest": "c"}}  # that all are tested on
        write_run(run / "tests/x", f"seed={seed}", "train.steps=0", card=other, test_of=of)
    cells, spare = gather(find([tmp_path])[0])
    assert ([[*cell] for cell in cells], spare) == ([[0], [0], [1, 2], [1, 2]], [])


def test_plots_and_comparisons_leave_further_tests_to_the_report(tmp_path):
    for name in "ab":
        run = write_run(tmp_path / f"{name}/0", f"algo={'maml' if name == 'a' else 'anil'}", per_step=STEPS)
        write_run(run / "tests/x", "train.steps=0", card={"shots": 5}, per_step=STEPS)
    done = run_metabench("compare", "a", "b", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    done = run_metabench("plot", "steps", "a", cwd=tmp_path)
    assert (done.code, done.out.count("a/0")) == (0, 1)
    assert "a/0/tests/x" in run_metabench("report", ".", cwd=tmp_path).out.replace("\n", "")


def test_a_config_of_another_run_is_refused(tmp_path):
    run = write_run(tmp_path / "a")
    change(run, "identity", to="0" * 12)
    with pytest.raises(DamagedError, match=r"config.yaml: is not the configuration that this run had"):
        _ = RunReader(run).config
