"""The leaderboard: Holm and ranks in closed form, one test and budget for all its rows, and formats that agree."""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pytest
from made_runs import change, write_run
from matplotlib.colors import to_hex, to_rgba_array
from paths import ROOT
from program import run_metabench
from tex import needs_latex, set_in_latex

from metabench.board.formats import sheet
from metabench.board.leaderboard import make_boards
from metabench.board.pictures import ON_PAPER, figures, put_on_paper
from metabench.board.ranks import critical_difference, holm, letters, mean_ranks, told_apart
from metabench.report.charts import VARIABLES

BOARD = ("bench=sinusoid",)
FORMATS = ("md", "csv", "json", "latex", "html")


def made(folder, algo: str, mean: float, *, overrides=(), **more):
    """A finished run of the sinusoid board whose 40 tasks lie around `mean`."""
    values = mean + 0.01 * np.sin(np.arange(40))
    path = write_run(
        folder / algo, *BOARD, f"algo={algo}", *overrides, values=values.tolist(), board="sinusoid", changes=[], **more
    )
    change(path, "environment", "metabench", to="0.1.0")
    change(path, "test", "seconds", to=2.0)
    return path


@pytest.fixture
def runs(tmp_path):
    for algo, mean in (("maml", 0.3), ("anil", 0.5), ("cavia", 0.4)):
        made(tmp_path, algo, mean)
    return tmp_path


@pytest.mark.parametrize(("where", "processors"), [({}, 1), ({"threads": 2}, 2), ({"threads": 2, "ranks": 3}, 6)])
def test_the_cost_of_training_is_counted_in_cores(where, processors, tmp_path):
    path = made(tmp_path, "maml", 0.3)
    for key, value in where.items():
        change(path, "environment", key, to=value)
    (board,) = make_boards([tmp_path], None, "inductive")
    assert board.rows[0].train_seconds == pytest.approx(100.0 * processors)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_letters_are_shared_exactly_by_those_not_told_apart():
    apart = {frozenset(pair) for pair in (("a", "c"), ("a", "d"), ("b", "d"))}
    assert letters("abcd", apart) == {"a": "a", "b": "ab", "c": "bc", "d": "c"}
    assert letters("ab", set()) == {"a": "a", "b": "a"}


def test_more_seeds_do_not_tell_fewer_models_apart():
    tasks = np.sin(np.arange(40))
    values = {
        "a": np.array([0.0, 0.01, 0.02])[:, None] + 0.01 * tasks,
        "b": np.array([1.5, 1.6, 1.7])[:, None] + 0.3 * tasks,
        "c": np.array([[0.5]]) + 0.1 * tasks,
    }
    assert told_apart(values) == {frozenset(pair) for pair in ("ab", "ac", "bc")}


def test_a_seed_without_a_test_is_said(tmp_path):
    for seed in range(3):
        run = made(tmp_path / str(seed), "maml", 0.3, overrides=(f"seed={seed}",))
        of = json.loads((run / "summary.json").read_text())["identity"]
        if seed < 2:
            test = {"run": of, "name": "k5", "overrides": []}
            made(run / "tests", "maml", 0.4 + seed / 10, test_of=test, overrides=(f"seed={seed}",))
    (board,) = make_boards([tmp_path], None, "inductive")
    (row,) = board.rows
    assert row.cells["K=5"].mean == pytest.approx(0.45, abs=0.01)
    said = [fault.reason for fault in board.left_out]
    assert any("has no test k5" in reason for reason in said), said


def test_a_row_has_tests_of_its_own_runs_alone(tmp_path):
    """A copy of a run elsewhere, made again on another machine, holds other weights under the same identity."""
    made(tmp_path / "a", "maml", 0.3)
    copy = made(tmp_path / "b", "maml", 0.3)
    of = json.loads((copy / "summary.json").read_text())["identity"]
    made(copy / "tests", "maml", 0.4, test_of={"run": of, "names": ["k5"], "overrides": ["data.shots=5"]})
    (board,) = make_boards([tmp_path / "a", tmp_path / "b"], None, "inductive")
    (row,) = board.rows
    assert [run.path.parent.name for run in row.runs] == ["a"]
    assert "K=5" not in row.cells
    assert [str(fault) for fault in board.left_out] == [f"{copy}: seed 0 is there already: {tmp_path / 'a/maml'}"]


def three_tested_seeds(folder):
    """The test K=5 of each of three seeds."""
    tests = []
    for seed in range(3):
        run = made(folder / str(seed), "maml", 0.3, overrides=(f"seed={seed}",))
        of = json.loads((run / "summary.json").read_text())["identity"]
        test = {"run": of, "names": ["k5"], "overrides": ["data.shots=5"]}
        tests.append(made(run / "tests", "maml", 0.4 + seed / 10, test_of=test, overrides=(f"seed={seed}",)))
    return tests


def test_seeds_that_came_through_a_test_are_no_cell(tmp_path):
    """Where a seed diverged under a test, the mean of the others would be of no method."""
    *_, test = three_tested_seeds(tmp_path)
    shutil.rmtree(test)
    (test.parent / "refused.json").write_text(json.dumps({"k5": "3 of 40 test tasks are not finite"}))
    (board,) = make_boards([tmp_path], None, "inductive")
    assert "K=5" not in board.rows[0].cells
    (skip,) = board.left_out
    assert str(skip).endswith("2/maml: has no test k5: 3 of 40 test tasks are not finite: the cell is empty")


def test_a_column_is_of_tests_that_set_the_algorithm_alike(tmp_path):
    """A test card does not show values of the algorithm."""
    test, *_ = three_tested_seeds(tmp_path)
    change(test, "test_of", "overrides", to=["data.shots=5", "algo.eval_inner_steps=1"])
    (board,) = make_boards([tmp_path], None, "inductive")
    assert board.rows[0].cells["K=5"].mean == pytest.approx(0.55, abs=0.01)
    assert "overrides algo.eval_inner_steps=1 for null" in board.left_out[0].reason


def test_a_test_that_is_there_twice_is_said(tmp_path):
    test, *_ = three_tested_seeds(tmp_path)
    shutil.copytree(test, test.with_name("more"))
    (board,) = make_boards([tmp_path], None, "inductive")
    (skip,) = board.left_out
    assert str(skip) == f"{test.with_name('more')}: the test k5 is there already: {test}"


def test_ranks_and_the_critical_difference_are_those_of_demsar():
    values = np.array([[0.9, 0.8], [0.7, 0.8], [0.1, 0.2]])
    assert mean_ranks(values, highest=True).tolist() == [1.25, 1.75, 3.0]
    assert mean_ranks(values, highest=False).tolist() == [2.75, 2.25, 1.0]
    for methods, q in ((2, 1.960), (5, 2.728), (10, 3.164)):  # table 5 (a)
        assert critical_difference(methods, 6) == pytest.approx(q * np.sqrt(methods * (methods + 1) / 36), rel=1e-3)


def test_rows_are_ranked_by_the_main_result(runs):
    (board,) = make_boards([runs], None, "inductive")
    assert [row.name for row in board.rows] == ["maml", "cavia", "anil"]
    assert not board.left_out


@pytest.mark.parametrize(
    ("change_of", "said"),
    [
        ((("changes",), ["train.steps=5"]), "train.steps=5"),
        ((("budget",), "smoke"), "smoke"),
        ((("environment", "metabench"), "9.9"), "9.9"),
    ],
)
def test_what_is_of_another_budget_or_version_is_left_out_and_named(change_of, said, runs):
    keys, value = change_of
    change(runs / "anil", *keys, to=value)
    (board,) = make_boards([runs], None, "inductive")
    assert [row.name for row in board.rows] == ["maml", "cavia"]
    (skipped,) = board.left_out
    assert said in skipped.reason


@pytest.mark.slow
def test_every_format_says_the_same(runs):
    found = {}
    for kind in FORMATS:
        done = run_metabench("leaderboard", str(runs), "--format", kind, cwd=runs)
        assert (done.code, done.err) == (0, ""), kind
        found[kind] = done.out
    assert [row["method"] for row in csv.DictReader(io.StringIO(found["csv"]))][:3] == ["maml", "cavia", "anil"]
    assert "boards" in json.loads(found["json"])
    for text in found.values():
        assert text.index("maml") < text.index("cavia") < text.index("anil")


def test_a_terminal_of_80_columns_is_enough(runs):
    done = run_metabench("leaderboard", str(runs), cwd=runs, env={"COLUMNS": "80"})
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.slow
def test_pictures_of_a_board_are_files_for_papers(runs):
    for suffix, head in (("svg", b"<svg"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        done = run_metabench("leaderboard", ".", "--pictures", "p", "--picture-format", suffix, cwd=runs)
        assert (done.code, done.err) == (0, "")
        for name in ("cost", "ranks"):
            assert (runs / f"p/sinusoid_{name}.{suffix}").read_bytes().startswith(head)


def test_a_picture_on_paper_has_no_colour_that_stands_for_a_pages(runs):
    (board,) = make_boards([runs], None, "inductive")
    for figure in figures(board).values():
        put_on_paper(figure)
        colours = [
            to_hex(rgba)
            for artist in figure.findobj()
            for name in ("color", "facecolor", "edgecolor")
            if hasattr(artist, f"get_{name}")
            for rgba in to_rgba_array(getattr(artist, f"get_{name}")())
        ]
        assert not {*VARIABLES} & {*colours}
        assert ON_PAPER["var(--ink)"] in colours


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["--format", "pdf"], "--format=pdf: no such format"),
        (["-o", "board.pdf"], "--output=board.pdf: says no format"),
        (["--board", "chess"], "argument --board: invalid choice: 'chess'"),
        (["."], ""),
    ],
)
def test_bad_input_is_one_line(arguments, said, tmp_path):
    done = run_metabench("leaderboard", *arguments, cwd=tmp_path)
    assert done.code in (1, 2)
    assert done.err.startswith(f"metabench: {said}")
    assert done.err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(("page", "more"), [("leaderboard", ()), ("shift", ("--suite", "shift"))])
def test_a_page_in_the_documents_is_that_of_the_recorded_runs(page, more, tmp_path):
    """`metabench leaderboard outputs/reference/bench -o docs/leaderboard.md` writes the first."""
    (tmp_path / "work/outputs/reference").mkdir(parents=True)
    (tmp_path / "work/docs").mkdir()
    (tmp_path / "work/outputs/reference/bench").symlink_to(ROOT / "outputs/reference/bench")
    work, name = tmp_path / "work", f"docs/{page}.md"
    done = run_metabench("leaderboard", "outputs/reference/bench", *more, "-o", name, cwd=work)
    assert (done.code, done.err) == (0, "")
    assert (work / name).read_text() == (ROOT / name).read_text()


def test_a_changed_algorithm_does_not_look_like_the_plain_one(runs):
    write = {"values": (0.2 + 0.01 * np.sin(np.arange(40))).tolist(), "board": "sinusoid", "changes": []}
    tuned = write_run(runs / "tuned", *BOARD, "algo=maml", "algo.inner_lr=0.02", tuned=["algo.inner_lr=0.02"], **write)
    old = write_run(runs / "old", *BOARD, "algo=cavia", "algo.inner_lr=0.3", **write)  # its command alone says it
    for path in (tuned, old):
        change(path, "environment", "metabench", to="0.1.0")
    (board,) = make_boards([runs], None, "inductive")
    assert {row.name for row in board.rows} == {
        "maml", "maml (algo.inner_lr=0.02)", "cavia", "cavia (algo.inner_lr=0.3)", "anil"
    }  # fmt: skip


def test_memory_is_a_column_where_a_run_has_it_and_costs_say_how_they_were_measured(runs):
    assert "memory (MB)" not in sheet(make_boards([runs], None, "inductive")[0]).headings
    change(runs / "maml", "train", "peak_memory", to=300_000_000)
    change(runs / "maml", "train", "alone", to=True)
    (board,) = make_boards([runs], None, "inductive")
    shown = sheet(board)
    column = shown.headings.index("memory (MB)")
    assert {line[1]: line[column] for line in shown.lines} == {"maml": "300", "cavia": "", "anil": ""}
    assert any("1 run measured alone" in note for note in board.notes)


def test_a_page_links_to_the_pictures_that_were_written(runs):
    done = run_metabench("leaderboard", str(runs), "-o", "page.html", "--pictures", "drawn", cwd=runs)
    assert (done.code, done.err) == (0, "")
    page = (runs / "page.html").read_text()
    for name in ("sinusoid_cost.svg", "sinusoid_ranks.svg"):
        assert f'href="drawn/{name}"' in page
        assert (runs / "drawn" / name).exists()


@needs_latex
@pytest.mark.slow
@pytest.mark.parametrize("suite", [(), ("--suite", "shift")], ids=["boards", "shift"])
def test_the_latex_tables_compile_and_fit_the_page(suite, tmp_path):
    done = run_metabench("leaderboard", str(ROOT / "outputs/reference/bench"), *suite, "--format=latex", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "Overfull" not in set_in_latex(done.out, tmp_path)
