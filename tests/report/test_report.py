"""The report: what is averaged, what a verdict means, and that every format says the same; and nothing breaks it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import change, composed, write_run
from paths import CONF, ROOT
from program import run_fresh, run_metabench
from rich.console import Console
from tex import needs_latex, set_in_latex

from metabench.evaluation.evaluate import estimate
from metabench.report import latex
from metabench.report.expected import Experiments
from metabench.report.formats import FORMATS, SUFFIXES, writer
from metabench.report.tables import Part, Report, make_report
from metabench.report.terminal import show
from metabench.report.verdict import DEFINITION, Figure, Kind, judge
from metabench.utils.console import format_metric
from metabench.utils.interval import crossed, half_width

CELL = "experiment=omniglot/protonet_5w1s"
PAPER = {"metric": "accuracy", "row": "ProtoNet", "column": "5-way 1-shot", "source": "Snell et al. 2017, table 1"}
GOOD, BAD = [0.9, 0.92, 0.94, 0.94], [0.1, 0.2, 0.3, 0.2]


KNOWN = {"omniglot/protonet_5w1s": {**composed(CELL), "published": {"value": 0.92, **PAPER}}}


@pytest.fixture
def published():
    """What the experiment of these tests publishes: 92%; set its entries to change that."""
    asked = KNOWN["omniglot/protonet_5w1s"]
    before = dict(asked["published"])
    yield asked["published"]
    asked["published"] = before


def made_report(root: Path) -> Report:
    return make_report([root], Experiments(known=KNOWN))


def cell_run(path: Path, *overrides: str, **made):
    made = {"values": GOOD, "metric": "accuracy", **made}
    return write_run(path, CELL, *overrides, **made)


def one_cell(root: Path):
    (cell,) = made_report(root).cells
    return cell


def text(report: Report) -> str:
    stream = io.StringIO()
    show(report, Console(file=stream, width=200), full=True)
    return stream.getvalue()


def screen(report: Report, width: int = 80, height: int = 25) -> list[str]:
    """The lines of the short form on a terminal."""
    stream = io.StringIO()
    show(report, Console(file=stream, width=width, height=height, force_terminal=True, color_system=None))
    return stream.getvalue().splitlines()


# ---- the verdict


@pytest.mark.parametrize(
    ("ours", "ci95", "paper", "paper_ci95", "kind"),
    [
        (0.90, 0.02, 0.95, 0.03, Kind.MATCHES),  # they touch
        (0.90, 0.02, 0.95, 0.02, Kind.WORSE),
        (0.95, 0.02, 0.90, 0.02, Kind.BETTER),
        (0.95, 0.06, 0.90, None, Kind.MATCHES),  # a value without an interval is a point
        (0.95, 0.04, 0.90, None, Kind.BETTER),
        (0.90, None, 0.90, None, Kind.MATCHES),
        (0.90, 0.001, 0.95, 0.10, Kind.MATCHES),  # ours within the paper's
    ],
)
def test_a_verdict_is_whether_the_intervals_overlap_and_who_is_better(ours, ci95, paper, paper_ci95, kind):
    assert judge(Figure(ours, ci95, 1, 600), paper, paper_ci95, "accuracy").kind == kind
    mirrored = {Kind.BETTER: Kind.WORSE, Kind.WORSE: Kind.BETTER}
    error = judge(Figure(ours, ci95, 1, 600), paper, paper_ci95, "mse").kind
    assert error == mirrored.get(kind, kind)


def test_the_half_width_is_that_of_an_evaluation():
    values = torch.rand(30, generator=torch.Generator().manual_seed(0)).double()
    assert half_width(values.tolist()) == pytest.approx(estimate(values).ci95)


SETS = [[0.90, 0.92, 0.93], [0.91, 0.95, 0.92], [0.88, 0.96, 0.94]]  # of three seeds, over the same tasks


def seeds_of(root: Path, sets, *overrides: str, **made) -> list[Path]:
    return [cell_run(root / str(i), f"seed={i}", *overrides, values=v, **made) for i, v in enumerate(sets)]


def test_over_seeds_the_interval_is_of_seeds_and_tasks(tmp_path):
    seeds_of(tmp_path, SETS)
    cell, means = one_cell(tmp_path), list(map(mean, SETS))
    assert (cell.ours.over, cell.ours.seeds, cell.ours.tasks) == ("seeds and tasks", 3, 3)
    assert cell.ours.mean == pytest.approx(mean(means))
    assert cell.ours.ci95 == pytest.approx(crossed(np.array(SETS)).half_width())
    assert cell.difference == pytest.approx(mean(means) - 0.92)
    assert cell.verdict.kind == Kind.MATCHES
    assert "3 seeds × 3 tasks" in text(made_report(tmp_path))
    assert "Searle" in " ".join(made_report(tmp_path).notes)


@pytest.mark.parametrize("content", [None, "{", '{"metric": "accuracy", "modes": {"inductive": [0.9, null, 0.9]}}'])
def test_without_the_value_of_every_task_what_seeds_and_tasks_give_is_added(content, tmp_path):
    runs = seeds_of(tmp_path, SETS)
    (runs[1] / "episodes.json").unlink() if content is None else (runs[1] / "episodes.json").write_text(content)
    cell, means = one_cell(tmp_path), list(map(mean, SETS))
    assert cell.ours.over == "seeds plus tasks"
    over_seeds, over_tasks = half_width(means), mean(half_width(values) for values in SETS)
    assert cell.ours.ci95 == pytest.approx(math.hypot(over_seeds, over_tasks))
    assert "3 seeds + 3 tasks" in text(made_report(tmp_path))


def test_the_value_of_an_earlier_step_has_its_tasks_in_it(published, tmp_path):
    for seed, first in enumerate((0.50, 0.51, 0.49)):
        steps = [{"step": 1, "mean": first, "ci95": 0.05}, {"step": 2, "mean": mean(GOOD), "ci95": 0.1}]
        cell_run(tmp_path / str(seed), f"seed={seed}", per_step=steps)
    published |= {"at": 2, "also": [{**published, "value": 0.55, "at": 1, "column": "after 1 step"}]}
    cells = {cell.column: cell for cell in made_report(tmp_path).cells}
    assert cells["after 1 step"].ours.ci95 == pytest.approx(math.hypot(0.05, half_width((0.50, 0.51, 0.49))))
    assert cells["after 1 step"].ours.over == "seeds plus tasks"
    assert cells["after 1 step"].verdict.kind == Kind.MATCHES


def test_seeds_that_agree_are_no_surer_than_their_tasks(tmp_path):
    seeds_of(tmp_path, [GOOD] * 3)  # as methods without training
    assert one_cell(tmp_path).ours.ci95 == pytest.approx(half_width(GOOD))


def test_two_seeds_are_shown_and_judged_each_by_itself(published, tmp_path):
    seeds_of(tmp_path, [[0.90, 0.92], [0.98, 1.0]])
    cell = one_cell(tmp_path)
    assert (cell.ours.over, cell.ours.ci95, cell.ours.mean) == ("each seed", None, pytest.approx(0.95))
    shown = [f"{100 * mean(v):.2f} ± {100 * half_width(v):.2f}%" for v in ([0.90, 0.92], [0.98, 1.0])]
    assert " and ".join(shown) in writer("md")(made_report(tmp_path))
    published["value"] = 0.5
    assert cell.runs[0].summary.test.modes["inductive"].ci95 > 0.1  # too wide to match
    assert one_cell(tmp_path).verdict.kind == Kind.BETTER
    entry = json.loads(writer("json")(made_report(tmp_path)))["cells"][0]
    assert (entry["ours_ci95"], len(entry["ci95s"]), entry["interval_over"]) == (None, 2, "each seed")


def test_two_seeds_that_differ_in_their_verdict_decide_nothing():
    each = [Figure(0.9, 0.01, 1, 600), Figure(0.95, 0.01, 1, 600)]
    both = Figure(0.925, None, 2, 600, "each seed")
    assert judge(both, 0.90, None, "accuracy", each).kind == Kind.UNDECIDED
    assert judge(both, 0.90, None, "accuracy", each).reason == "one seed matches and one better"
    assert judge(both, 0.80, None, "accuracy", each).kind == Kind.BETTER


@pytest.mark.parametrize(
    ("metric", "ours", "ci95", "paper", "kind"),
    [
        ("mse", 8.08, 23.6, 2.41, Kind.UNDECIDED),
        ("mse", 0.358, 0.105, 0.35, Kind.MATCHES),
        ("mse", 0.5, 0.2, 0.35, Kind.UNDECIDED),  # more than half of 0.35
        ("mse", 8.08, 2.0, 2.41, Kind.WORSE),  # wide, and yet it decides
        ("accuracy", 0.3782, 1.2774, 0.9, Kind.UNDECIDED),
        ("accuracy", 0.93, 0.06, 0.98, Kind.MATCHES),
        ("accuracy", 0.9989, 0.0012, 0.999, Kind.MATCHES),  # as wide as the error is large: well measured
        ("accuracy", 0.4, 0.2, 0.98, Kind.WORSE),
    ],
)
def test_an_interval_that_says_nothing_is_undecided(metric, ours, ci95, paper, kind):
    assert judge(Figure(ours, ci95, 3, 1000, "seeds and tasks"), paper, None, metric).kind == kind


def test_verdicts_read_the_same_everywhere():
    assert list(DEFINITION) == ["matches", "better", "worse", "undecided", "short run", "not comparable"]
    style = (ROOT / "metabench/report/templates/page.css").read_text()
    assert all(f".{kind.identifier} " in style for kind in DEFINITION)


def test_of_one_seed_the_interval_is_over_tasks(tmp_path):
    cell_run(tmp_path / "a")
    cell = one_cell(tmp_path)
    assert (cell.ours.over, cell.ours.seeds, cell.ours.tasks) == ("tasks", 1, 4)
    assert cell.ours.ci95 == pytest.approx(estimate(torch.tensor(GOOD)).ci95, rel=1e-5)
    assert "interval over 4 tasks" in text(made_report(tmp_path))


def test_a_shorter_run_is_called_short_whatever_it_reaches(tmp_path):
    cell_run(tmp_path / "a", "train.steps=100")
    cell = one_cell(tmp_path)
    assert cell.verdict.kind == Kind.SHORT_RUN
    assert cell.verdict.reason == "train.steps 100 for 20000"


def test_a_smaller_budget_is_a_short_run(tmp_path):
    cell_run(tmp_path / "a", "budget=short")
    cell = one_cell(tmp_path)
    assert cell.verdict.kind == Kind.SHORT_RUN
    assert "train.steps 1000 for 20000" in cell.verdict.reason


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("data.shots=5", "data.shots 5 for 1"),
        ("data.split=lake", "data.split lake for vinyals"),
        ("train.steps=30000", "train.steps 30000 for 20000"),
        ("optim.lr=0.1", "optim.lr 0.1 for 0.001"),
        ("backbone.filters=32", "backbone.filters 32 for 64"),
        ("validate.select=last", "validate.select last for best"),
        ("validate.every=500", "validate.every 500 for 1000"),  # more choice, not a shorter run
        ("init=elsewhere", "init True for False"),
        ("device.precision=tf32", "device.precision tf32 for float32"),
    ],
)
def test_another_configuration_is_not_comparable_and_what_differs_is_named(override, reason, tmp_path):
    cell_run(tmp_path / "a", override)
    cell = one_cell(tmp_path)
    assert cell.verdict.kind == Kind.NOT_COMPARABLE
    assert reason in cell.verdict.reason
    assert cell.difference is None


@pytest.mark.parametrize(
    "override", ["seed=3", "engine=eager", "chunk=2", "device=cpu", "log.every=1", "checkpoint.every=7", "data.root=/x"]
)
def test_seed_place_and_machine_leave_a_run_comparable(override, tmp_path):
    cell_run(tmp_path / "a", override)
    assert one_cell(tmp_path).verdict.kind == Kind.MATCHES


def test_what_the_paper_predicts_with_is_what_it_is_set_against(published, tmp_path):
    run = cell_run(tmp_path / "a", modes=("inductive", "transductive"))
    change(run, "test", "modes", "transductive", "mean", to=0.5)
    published["prediction"] = "transductive"
    cell = one_cell(tmp_path)
    assert (cell.prediction, cell.ours.mean, cell.verdict.kind) == ("transductive", 0.5, Kind.WORSE)


def test_a_prediction_that_a_run_has_not_is_not_comparable(published, tmp_path):
    cell_run(tmp_path / "a")
    published["prediction"] = "transductive"
    assert one_cell(tmp_path).verdict.kind == Kind.NOT_COMPARABLE


def test_one_run_fills_several_cells_of_a_table(published, tmp_path):
    steps = [{"step": 1, "mean": 0.5, "ci95": 0.01}, {"step": 2, "mean": mean(GOOD), "ci95": 0.1}]
    cell_run(tmp_path / "a", per_step=steps)
    also = {**published, "value": 0.55, "at": 1, "column": "after 1 step"}
    published |= {"at": 2, "also": [also, {**also, "at": 7, "column": "after 7 steps"}]}
    cells = {cell.column: cell for cell in made_report(tmp_path).cells}
    assert cells["5-way 1-shot"].final
    assert cells["5-way 1-shot"].verdict.kind == Kind.MATCHES
    assert cells["after 1 step"].ours == Figure(0.5, 0.01, 1, 4)
    assert cells["after 1 step"].verdict.kind == Kind.WORSE
    assert cells["after 7 steps"].verdict.kind == Kind.NOT_COMPARABLE


def test_a_run_of_no_experiment_has_no_verdict(tmp_path):
    write_run(tmp_path / "a", "algo=maml", "data.shots=5")
    cell = one_cell(tmp_path)
    assert (cell.row, cell.column, cell.data, cell.verdict.kind) == ("maml", "K = 5", "sinusoid", Kind.NONE)


def test_an_experiment_that_this_program_has_not_is_not_comparable(tmp_path):
    cell_run(tmp_path / "a", experiment="omniglot/none_such", published={"value": 0.9, **PAPER})
    assert one_cell(tmp_path).verdict.reason == "experiment omniglot/none_such is not one of this program's"


def test_experiments_are_composed_anew_and_from_the_programs_folder_alone():
    experiments = Experiments()
    assert experiments["omniglot/protonet_5w1s"] == composed(CELL)
    for name in ("omniglot/none_such", "../../etc", "a=b", "x,hydra/launcher=y", "", "x" * 500):
        assert experiments[name] is None


def test_many_experiments_are_the_same_composed_side_by_side():
    names = [
        path.relative_to(CONF / "experiment").with_suffix("").as_posix()
        for path in sorted((CONF / "experiment").rglob("sinusoid/m*.yaml"))
    ][:8]
    ahead = Experiments()
    ahead.prepare(names)
    assert len(names) == 8
    assert {name: ahead[name] for name in names[:2]} == {name: composed(f"experiment={name}") for name in names[:2]}


def test_an_experiment_of_ones_own(tmp_path):
    (tmp_path / "conf/experiment").mkdir(parents=True)
    published = "{value: 0.5, metric: mse, row: Mine, column: here, source: me}"
    text = f"# @package _global_\n# mine\ntrain: {{steps: 30}}\npublished: {published}\n"
    (tmp_path / "conf/experiment/mine.yaml").write_text(text)
    run = write_run(tmp_path / "run", "train.steps=30", values=[0.4, 0.6, 0.5], experiment="mine")
    (cell,) = make_report([run], Experiments(str(tmp_path / "conf"))).cells
    assert (cell.row, cell.column, cell.verdict.kind) == ("Mine", "here", Kind.MATCHES)
    done = run_metabench("report", "run", "--config-dir", "conf", "--format", "csv", cwd=tmp_path)
    assert ",matches," in done.out


# ---- what is averaged


def test_protocols_are_not_averaged_and_it_is_said(tmp_path):
    for seed, episodes in enumerate((4, 4, 5)):
        write_run(tmp_path / str(seed), f"seed={seed}", values=[0.1 * i for i in range(episodes)])
    report = made_report(tmp_path)
    assert [len(cell.runs) for cell in report.cells] == [2, 1]
    assert len({cell.protocol for cell in report.cells}) == len(report.marks) == 2
    (line,) = report.apart
    assert line == "maml, sinusoid K = 10: 2 protocols are not averaged; they differ in episodes"
    assert [cell.variant for cell in report.cells] == ["episodes 4", "episodes 5"]


def test_configurations_are_not_averaged_and_named_by_what_differs(tmp_path):
    for lr in (0.01, 0.1):
        write_run(tmp_path / str(lr), f"algo.inner_lr={lr}")
    report = made_report(tmp_path)
    assert [cell.variant for cell in report.cells] == ["algo.inner_lr 0.01", "algo.inner_lr 0.1"]
    assert report.apart == ["maml, sinusoid K = 10: 2 configurations are not averaged; they differ in algo.inner_lr"]


def test_one_seed_counts_once(tmp_path):
    cell_run(tmp_path / "a")
    cell_run(tmp_path / "b", "device=cpu", values=BAD)
    report = made_report(tmp_path)
    (cell,), (skip,) = report.cells, report.skipped
    assert cell.ours.tasks == 4
    assert skip.reason == f"seed 0 is there already: {tmp_path}/a"


BASES = ({"digest": "0123456789abcdef", "meta_steps": 30}, {"digest": "fedcba9876543210", "meta_steps": 30})


@pytest.mark.parametrize("seeds", [(0, 1), (0, 0)])
def test_runs_that_start_from_different_models_are_never_averaged_nor_dropped(seeds, tmp_path):
    for name, seed, base in zip("ab", seeds, BASES, strict=True):
        write_run(tmp_path / name, f"seed={seed}", "init=base", training={"init": base})
    report = made_report(tmp_path)
    assert [len(cell.runs) for cell in report.cells] == [1, 1]
    assert not report.skipped
    assert report.apart == ["maml, sinusoid K = 10: 2 configurations are not averaged; they differ in init"]
    assert [cell.variant for cell in report.cells] == [f"init {base['digest']}" for base in BASES]


def test_the_same_model_under_another_path_is_the_same_cell(tmp_path):
    for seed, path in enumerate(("base", "elsewhere/base", "base")):
        write_run(tmp_path / str(seed), f"seed={seed}", f"init={path}", training={"init": BASES[0]})
    assert [len(cell.runs) for cell in made_report(tmp_path).cells] == [3]


def test_older_summaries_go_by_the_path_that_they_start_from(tmp_path):
    for name, init in {"a": "one", "b": "two", "c": "null"}.items():
        write_run(tmp_path / name, f"init={init}")
    report = made_report(tmp_path)
    assert ([len(cell.runs) for cell in report.cells], report.skips) == ([1, 1, 1], [])
    assert report.apart[0].endswith("they differ in init")


def test_classes_of_ones_own_are_one_cell_only_if_their_source_agrees(tmp_path):
    for seed, source in enumerate(("aa", "aa", "bb")):
        write_run(tmp_path / str(seed), f"seed={seed}", inputs={"sources": {"mine.Method": source}})
    report = made_report(tmp_path)
    assert sorted(len(cell.runs) for cell in report.cells) == [1, 2]
    assert report.apart[0].endswith("they differ in sources.mine.Method")


def test_two_copies_of_one_run_are_one(tmp_path):
    for name in "ab":
        write_run(tmp_path / name, "init=base", training={"init": BASES[0]})
    (skip,) = made_report(tmp_path).skipped
    assert skip.reason == f"seed 0 is there already: {tmp_path}/a"


def test_two_spellings_of_one_number_are_averaged(tmp_path):
    write_run(tmp_path / "a", "algo.inner_lr=2")
    write_run(tmp_path / "b", "algo.inner_lr=2.0", "seed=1")
    assert [len(cell.runs) for cell in made_report(tmp_path).cells] == [2]


def test_a_full_and_a_short_run_of_one_cell_stand_apart(tmp_path):
    cell_run(tmp_path / "a")
    cell_run(tmp_path / "b", "train.steps=10", "seed=1")
    found = {cell.verdict.kind: cell.variant for cell in made_report(tmp_path).cells}
    assert found[Kind.MATCHES] == PAPER["source"]
    assert found[Kind.SHORT_RUN].endswith("train.steps 10")


def test_cells_that_share_no_row_and_no_column_are_tables_of_their_own(tmp_path):
    for name, overrides in {
        "a": ("data.shots=5",),
        "b": ("data.shots=20",),
        "c": ("algo=anil", "data.shots=7"),
    }.items():
        write_run(tmp_path / name, *overrides)
    assert [(list(table.rows), table.columns) for table in made_report(tmp_path).tables] == [
        ([("anil", "")], ["K = 7"]),
        ([("maml", "")], ["K = 5", "K = 20"]),
    ]
    write_run(tmp_path / "d", "data.shots=7")  # joins them
    (table,) = made_report(tmp_path).tables
    assert table.columns == ["K = 5", "K = 7", "K = 20"]


# ---- what lies in folders


def test_runs_are_found_at_any_depth_and_once(tmp_path):
    write_run(tmp_path / "x/y/z/a")
    write_run(tmp_path / "b", "algo=anil")
    (tmp_path / "b/checkpoints").mkdir()
    assert len(make_report([tmp_path, tmp_path / "b", tmp_path / "x"], Experiments()).cells) == 2


def test_unfinished_and_foreign_folders(tmp_path):
    write_run(tmp_path / "a")
    (tmp_path / "notes").mkdir()
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped/status.json").write_text('{"status": "stopped", "reason": "by SIGTERM"}')
    report = made_report(tmp_path)
    assert report.skips == [f"{tmp_path}/stopped: is not finished: stopped, by SIGTERM; the same command continues it"]


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (("protocol", "test", "episodes"), 5, "protocol.hash"),
        (("protocol", "hash"), "x", "protocol.hash"),
        (("test", "modes", "inductive", "mean"), None, "is not a finite number"),
        (("test", "modes", "inductive", "mean"), "0.5", "test.modes.inductive.mean"),
        (("test", "modes", "inductive", "mean"), 1e200, "test.modes.inductive.mean"),
        (("test", "modes", "inductive", "ci95"), -1, "test.modes.inductive.ci95"),
        (("test", "modes", "inductive", "episodes"), 5, "the protocol card says 4"),
        (("test", "modes"), {}, "test.modes"),
        (("test", "metric"), "bleu", "test.metric"),
        (("test", "metric"), "accuracy", "the protocol card says mse"),
        (("status",), "running", "status"),
        (("train",), [], "train"),
        (("environment", "command"), 3, "environment.command"),
        (("protocol", "training"), {}, "protocol.training.seed"),
        (("published",), {"value": "high"}, "published"),
    ],
)
def test_a_changed_summary_is_left_out_with_a_reason(keys, value, reason, tmp_path):
    change(write_run(tmp_path / "a"), *keys, to=value)
    write_run(tmp_path / "b", "algo=anil")
    report = made_report(tmp_path)
    assert [cell.row for cell in report.cells] == ["anil"]
    (line,) = report.skips
    assert line.startswith(f"{tmp_path}/a: summary.json: ")
    assert reason in line


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "seed: 1\n", "&a [*a]", "x: " + "[" * 2000, "\0", "data: {shots: 1}"]
)
def test_a_run_without_its_configuration_is_shown_and_not_compared(content, tmp_path):
    (cell_run(tmp_path / "a") / "config.yaml").write_text(content)
    cell = one_cell(tmp_path)
    assert cell.verdict.kind == Kind.NOT_COMPARABLE
    assert cell.verdict.reason.startswith("config.yaml: ")


def test_a_configuration_changed_by_hand_is_found(tmp_path):
    path = cell_run(tmp_path / "a", "train.steps=100") / "config.yaml"
    path.write_text(path.read_text().replace("steps: 100\n", "steps: 20000\n"))
    assert one_cell(tmp_path).verdict.reason == "config.yaml: is not the configuration that this run had"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def paths(node, before=()):
    """The keys of every value in a summary."""
    for key, value in node.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from paths(value, (*before, key))


def over_tasks(seed: int) -> list[float]:
    return [0.91 + 0.01 * seed, 0.93, 0.93, 0.94]


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("intact") / "run", validations=(0.5, 0.4))


@pytest.mark.slow
@settings(max_examples=20)
@given(data=st.data())
def test_no_content_of_a_run_is_a_traceback(data, intact, tmp_path_factory):
    root = tmp_path_factory.mktemp("changed")
    run = root / "run"
    run.mkdir()
    for file in intact.iterdir():
        (run / file.name).write_bytes(file.read_bytes())
    if data.draw(st.booleans()):
        summary = json.loads((run / "summary.json").read_text())
        change(run, *data.draw(st.sampled_from(list(paths(summary)))), to=data.draw(JSON))
    else:
        file = run / data.draw(st.sampled_from([path.name for path in run.iterdir()]))
        content = file.read_bytes()
        cut = data.draw(st.integers(0, len(content)))
        file.write_bytes(
            content[:cut] + data.draw(st.binary(max_size=6)) + content[cut + data.draw(st.integers(0, 9)) :]
        )
    report = made_report(root)
    assert len(report.cells) + len(report.skipped) >= 1
    for kind in FORMATS:
        assert writer(kind)(report) is not None
    text(report)


def test_names_that_mean_something_to_a_format_are_shown_as_they_are(tmp_path):
    paper = {"value": 0.5, "metric": "mse", "row": "$x^_{", "column": "|$c$ <i>", "source": "[s]"}
    for seed in (0, 1):
        made = {"experiment": f"none/{seed}", "published": paper, "validations": (0.5, 0.4)}
        write_run(tmp_path / str(seed), f"algo.inner_steps={seed + 1}", **made)
    report = made_report(tmp_path)
    assert len(report.cells) == 2
    assert r"\$x\textasciicircum{}\_\{" in writer("latex")(report)
    assert r"\|$c$ \<i\>" in writer("md")(report)
    assert "|$c$ &lt;i&gt;" in writer("html")(report)
    assert writer("html")(report).count(">$x^_{<") >= 2 + 2  # rows of the table, points of the chart
    assert "$x^_{" in text(report)


def test_nothing_of_a_summary_reaches_a_terminal_as_a_command(tmp_path):
    change(write_run(tmp_path / "a"), "environment", "command", to="\x1b]0;owned\x07[bold]<script>alert(1)</script>")
    report = made_report(tmp_path)
    assert not set("\x1b\x07") & set(text(report))
    assert "[bold]<script>" in "".join(text(report).split())  # as it is, not obeyed
    assert "<script>alert" not in writer("html")(report)
    assert "<script>" not in writer("md")(report).replace("\\<script", "")


# ---- formats


@pytest.fixture
def report(tmp_path, published):
    for seed in (0, 1, 2):
        cell_run(tmp_path / f"full{seed}", f"seed={seed}", values=over_tasks(seed), validations=(0.5, 0.8, 0.9))
    cell_run(tmp_path / "short", "train.steps=100", values=BAD)
    write_run(tmp_path / "maml", validations=(3.0, 0.2))
    write_run(tmp_path / "anil", "algo=anil", values=[0.2, 0.3])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/summary.json").write_text("{")
    return made_report(tmp_path)


def test_csv_and_json_give_back_the_same_numbers(report):
    lines = list(csv.DictReader(io.StringIO(writer("csv")(report))))
    runs = list(csv.DictReader(io.StringIO(writer("runs")(report))))
    entries = json.loads(writer("json")(report))["cells"]
    assert len(lines) == len(entries) == len(report.cells) == 4
    for line, entry, cell in zip(lines, entries, report.cells, strict=True):
        assert float(line["ours"]) == entry["ours"] == cell.ours.mean
        assert float(line["ours_ci95"]) == entry["ours_ci95"] == cell.ours.ci95
        assert (line["verdict"], line["row"], line["column"]) == (entry["verdict"], cell.row, cell.column)
        if cell.difference is not None:
            assert float(line["difference"]) == entry["difference"] == pytest.approx(cell.ours.mean - 0.92)
    full = next(entry for entry in entries if entry["verdict"] == "matches")
    assert full["seeds"] == [0, 1, 2]
    assert full["means"] == [mean(over_tasks(seed)) for seed in (0, 1, 2)]
    assert len(runs) == sum(len(cell.runs) for cell in report.cells) == 6  # one row a run, and one a cell
    assert {run["run"] for run in runs} == {str(run.path) for cell in report.cells for run in cell.runs}
    assert [float(run["ours"]) for run in runs if "full" in run["run"]] == full["means"]


@pytest.mark.parametrize("kind", ["md", "html", "terminal"])
def test_every_page_has_paper_ours_difference_and_verdict(kind, report):
    shown = text(report) if kind == "terminal" else writer(kind)(report)
    cell = next(cell for cell in report.cells if cell.verdict.kind == Kind.MATCHES)
    assert f"{100 * cell.ours.mean:.2f} ± {100 * cell.ours.ci95:.2f}%" in shown
    for words in ("92.00%", "+1.00", "matches", "short run", "3 seeds", "1 seed", PAPER["source"], cell.protocol):
        assert words in shown, words
    for decides in ("selection", "best", "inductive", "abacus", "0123456789ab", "torch 2.15.0", f"metabench {CELL}"):
        assert decides in shown.replace("\\_", "_"), decides
    assert "bad: summary.json" in shown or "bad</code> summary.json" in shown


def test_a_latex_table_has_paper_ours_and_the_sign_of_the_verdict_on_one_line(report):
    shown = writer("latex")(report)
    cell = next(cell for cell in report.cells if cell.verdict.kind == Kind.MATCHES)
    half = f"{100 * cell.ours.mean:.2f} \\pm {100 * cell.ours.ci95:.2f}"
    assert f"ProtoNet & {half} & \\num{{92.00}} & $=$ \\\\" in shown
    assert "$=$ matches" in shown
    for decides in ("selection", "abacus", "0123456789ab", "torch 2.15.0", f"metabench {CELL}", cell.protocol):
        assert decides in shown, decides


@pytest.mark.parametrize("kind", ["md", "latex", "html", "terminal"])
@pytest.mark.parametrize("verified", ["from memory", "the paper's text"])
def test_a_value_from_memory_has_a_dagger_and_a_footnote(kind, verified, published, tmp_path):
    cell_run(tmp_path / "a")
    published |= {"verified": verified, "note": "an ensemble of 3 models"}
    report = made_report(tmp_path)
    shown = text(report) if kind == "terminal" else writer(kind)(report)
    shown = shown.replace(r"\num{92.00}", "92.00% ").replace(r"$\dagger$", "†").replace("% †", "%†")
    doubtful = verified == "from memory"
    assert ("92.00%†" in shown) == ("† quoted from memory" in shown) == doubtful
    assert "an ensemble of 3 models" in shown


@pytest.mark.parametrize("verified", ["from memory", "the paper's text"])
def test_csv_and_json_have_a_column_for_values_from_memory(verified, published, tmp_path):
    cell_run(tmp_path / "a")
    published["verified"] = verified
    (line,) = csv.DictReader(io.StringIO(writer("csv")(made_report(tmp_path))))
    (entry,) = json.loads(writer("json")(made_report(tmp_path)))["cells"]
    assert line["paper_verified"] == entry["paper_verified"] == verified
    assert entry["paper_from_memory"] == (line["paper_from_memory"] == "True") == (verified == "from memory")


def test_a_latex_table_has_as_many_columns_in_every_line(report):
    tables = re.findall(r"\\begin\{tabular\}\{(.*?)\}\n(.*?)\\end\{tabular\}", writer("latex")(report), re.DOTALL)
    assert len(tables) == len(report.tables)
    for form, content in tables:
        head, *rows = [line for line in content.splitlines() if line.endswith(r"\\")]
        columns = 1 + sum(map(int, re.findall(r"\\multicolumn\{(\d)\}", head)))
        assert len(re.sub(r"\[.*?\]", "", form)) == columns
        assert {line.count("&") for line in rows} == {columns - 1}


@needs_latex
@pytest.mark.slow
def test_the_latex_tables_compile_and_fit_the_page(report, tmp_path):
    assert "Overfull" not in set_in_latex(writer("latex")(report), tmp_path)


@needs_latex
@pytest.mark.slow
def test_the_recorded_runs_compile_and_fit_the_page(tmp_path):
    """Many columns, long names, errors of every size."""
    recorded = make_report([ROOT / "outputs/reference"], Experiments(None))
    assert "Overfull" not in set_in_latex(writer("latex")(recorded), tmp_path)


def test_the_short_form_fits_the_terminal_and_ends_with_counts(report):
    for width in (60, 80, 140):
        lines = screen(report, width)
        assert max(map(len, lines)) <= width
        joined = " ".join(lines)
        assert "4 cells · 1 matches · 1 short run · 2 without a published value" in joined.replace("  ", " ")
        assert "protocol" not in joined.replace("protocols", "")
    matching = next(line for line in screen(report, 120) if line.endswith("matches"))
    assert re.search(r"^ProtoNet +5-way 1-shot +93\.\d+ ± \d\.\d+% +92\.00% +matches", matching)


def test_on_a_small_terminal_exploratory_runs_are_counted_and_papers_shown(report):
    lines = " ".join(screen(report, height=8))
    assert "ProtoNet" in lines
    assert "maml" not in lines
    assert "not shown: " in lines


def test_tables_of_papers_come_first_then_boards_then_exploratory_runs(tmp_path):
    cell_run(tmp_path / "full")
    cell_run(tmp_path / "short", "train.steps=100", values=BAD)
    write_run(tmp_path / "maml")
    write_run(tmp_path / "board", "algo=anil", board="sinusoid")
    tables = made_report(tmp_path).tables
    assert [(table.part, table.name) for table in tables] == [
        (Part.PAPERS, PAPER["source"]),
        (Part.BOARDS, "board sinusoid"),
        (Part.EXPLORATORY, ""),
        (Part.EXPLORATORY, ""),
    ]
    assert list(tables[0].rows) == [("ProtoNet", "")]  # a short run of the same cell stands apart
    assert {cell.verdict.kind for cell in tables[2].cells} == {Kind.SHORT_RUN}


class Page(HTMLParser):
    """What a page asks for, and whether its elements close."""

    VOID = ("meta", "path", "line", "use", "br", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open, self.asked, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.asked += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_stands_alone(report):
    content = writer("html")(report)
    page = Page()
    page.feed(content)
    assert not page.open
    assert all(link.startswith("#") for link in page.asked)
    assert not {"link", "iframe", "img"} & set(page.tags)
    (script,) = re.findall(r"<script>(.*?)</script>", content, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'" in content
    assert not re.search(r"fetch|XMLHttp|import|eval|innerHTML", script)
    assert not re.search(r"url\((?!#)|@import|https?://(?!www.w3.org/)", content)
    ids = re.findall(r' id="([^"]*)"', content)
    assert {link[1:] for link in page.asked} <= set(ids)
    assert (
        content.count("<figure>") == 3
    )  # learning curves of the published and of the other cells, and the cost of these
    assert not re.search("#(0[1-4]){3}|#1010", content)  # every colour is the style sheet's


def test_the_axis_of_validation_ends_where_runs_diverge(tmp_path):
    """A run that reaches 1e18 is drawn to the edge; the others are still told apart."""
    write_run(tmp_path / "a", validations=(3.0, 1.0, 0.5))
    write_run(tmp_path / "b", "algo=anil", validations=(3.0, 1e18, 1e18))
    assert "1e+18" not in writer("html")(made_report(tmp_path))


def test_many_protocols_have_their_own_letters():
    from metabench.report.tables import _letters

    marks = [_letters(i) for i in range(800)]
    assert (marks[0], marks[25], marks[26], marks[27]) == ("a", "z", "aa", "ab")
    assert len(set(marks)) == 800


# ---- the program


@pytest.mark.slow
def test_the_program_reports_its_own_runs_without_torch(tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    write_run(tmp_path / "outputs/a")
    cell_run(tmp_path / "outputs/b")
    for arguments in ([], ["outputs", "-o", "page.html"], ["outputs/a", "--format", "json"]):
        done = run_fresh("metabench", "report", *arguments, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
        assert (done.code, done.err) == (0, ""), arguments
    assert json.loads(done.out)["cells"][0]["row"] == "maml"
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 2, "nowhere: no such folder"),
        (["."], 2, "holds no run, which is a folder with a summary.json"),
        (["--format", "pdf"], 2, "--format=pdf: no such format; valid: csv, html, json, latex, md, runs"),
        (["-o", "x.pdf"], 2, f"valid: {', '.join(sorted(SUFFIXES))}"),
        (["--config-dir", "x"], 2, "--config-dir x: no such folder"),
        (["--frmat", "md"], 2, "unrecognized arguments: --frmat"),
    ],
)
def test_bad_input_is_one_line(arguments, code, said, tmp_path):
    done = run_metabench("report", *arguments, cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert said in done.err


def test_only_damaged_runs_are_a_failure(tmp_path):
    (tmp_path / "summary.json").write_text("{")
    done = run_metabench("report", ".", cwd=tmp_path)
    assert done.code == 1
    assert done.err.startswith("metabench: none of these runs can be read: .: summary.json: Expecting")
    assert "summary.json: Expecting" in done.out


@pytest.mark.parametrize(
    ("metric", "mean", "ci95"), [("mse", 0.00061489, 0.00005975), ("mse", 2.3e-5, 4e-6), ("accuracy", 0.5, 0.01)]
)
def test_latex_shows_the_digits_of_every_other_format(metric, mean, ci95):
    shown = format_metric(metric, mean, ci95).removesuffix("%").replace("±", r"\pm")
    assert latex._number(metric, mean, ci95) == shown
