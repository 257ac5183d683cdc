"""Comparison in pairs: the statistics are scipy's, only the same test tasks are compared, and the words are true."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from made_runs import change, write_run
from program import SINUSOID, run_metabench
from scipy import stats

from metabench.errors import UserError
from metabench.report.compare import versus
from metabench.report.paired_tests import chance, compare, over_seeds

NORMAL = np.random.default_rng(0).normal


def pair(tmp_path: Path, a, b, **both) -> tuple[Path, Path]:
    return (
        write_run(tmp_path / "a", "algo=maml", values=list(a), **both),
        write_run(tmp_path / "b", "algo=anil", values=list(b), **both),
    )


def said(*sides: Path, **options) -> str:
    return "\n".join(versus(*sides, **options))


def test_the_statistics_are_scipys():
    b = NORMAL(0.5, 0.2, 300)
    a = b + NORMAL(0.03, 0.1, 300)
    found, expected = compare(a, b), stats.ttest_rel(a, b)
    assert (found.difference, found.p) == pytest.approx((np.mean(a - b), expected.pvalue))
    interval = expected.confidence_interval(0.95)
    assert (found.difference - found.ci95, found.difference + found.ci95) == pytest.approx(tuple(interval))
    assert found.p_ranks == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert found.p_flips == pytest.approx(found.p, rel=0.5, abs=2e-4)


def test_sign_flips_are_those_of_every_flip():
    d = np.array([0.3, 0.1, 0.25, -0.05, 0.2, 0.4, -0.1, 0.15])
    sums = [abs(np.dot(signs, d)) for signs in itertools.product((-1, 1), repeat=len(d))]
    exact = np.mean([one >= abs(d.sum()) - 1e-12 for one in sums])
    assert compare(d, np.zeros_like(d)).p_flips == pytest.approx(exact, abs=0.01)


def test_swapping_the_sides_swaps_the_sign_alone():
    a, b = NORMAL(1, 0.1, 50), NORMAL(1.1, 0.1, 50)
    one, other = compare(a, b), compare(b, a)
    assert one.difference == -other.difference
    for name in ("ci95", "p", "p_flips", "p_ranks"):
        assert getattr(one, name) == pytest.approx(getattr(other, name)), name


def test_pairing_sees_what_two_separate_intervals_do_not():
    b = NORMAL(0, 10, 100)
    a = b + NORMAL(0.1, 0.1, 100)
    assert compare(a, b).p < 1e-6 < 0.5 < stats.ttest_ind(a, b).pvalue


def test_chance_finds_a_difference_of_nothing_as_often_as_it_says():
    normal = np.random.default_rng(1).normal
    found = [compare(normal(0, 1, 20), normal(0, 1, 20)).p for _ in range(200)]
    low, high = stats.binom.interval(0.999, 200, 0.05)
    assert low <= sum(p < 0.05 for p in found) <= high


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (1.0, "every time"),
        (0.3, "300 of 1,000 times"),
        (0.003, "3 of 1,000 times"),
        (4e-5, "40 of 1,000,000 times"),
        (1e-9, "fewer than 1 of 1,000,000 times"),
        (0.0, "fewer than 1 of 1,000,000 times"),
    ],
)
def test_a_p_value_in_words(p, words):
    assert chance(p) == words


def test_over_seeds_it_is_welch_where_only_seeds_vary():
    a, b = (np.array(means)[:, None] + np.zeros(50) for means in ([0.9, 0.92, 0.91], [0.85, 0.9]))
    half, p = over_seeds(a, b)
    expected = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert (half, p) == pytest.approx(((interval.high - interval.low) / 2, expected.pvalue))
    assert over_seeds(a, b[:1]) is None
    assert over_seeds(a * 0, b * 0) is None


def test_over_seeds_it_is_the_paired_test_where_only_tasks_vary():
    tasks, other = NORMAL(1, 0.3, 40), NORMAL(1, 0.3, 40)
    half, p = over_seeds(np.tile(tasks, (3, 1)), np.tile(other, (4, 1)))
    paired = compare(tasks, other)
    assert (half, p) == pytest.approx((paired.ci95, paired.p))


def test_a_lower_error_and_a_higher_accuracy_are_better(tmp_path):
    low, high = [0.1, 0.2, 0.3, 0.2], [0.5, 0.7, 0.6, 0.7]
    assert "A is 0.4250 better than B in mse" in said(*pair(tmp_path / "mse", low, high))
    assert "A is 42.50 points worse than B in accuracy" in said(*pair(tmp_path / "acc", low, high, metric="accuracy"))


def test_words_about_nothing(tmp_path):
    same = pair(tmp_path / "x", [0.1, 0.2], [0.1, 0.2])
    assert "A and B have the same mse on each of 2 test tasks." in said(*same)
    level = said(*pair(tmp_path / "y", [0.1, 0.2], [0.2, 0.1]))
    assert "A and B have the same mean mse" in level
    assert "do not tell them apart" in level


@pytest.mark.parametrize(
    ("card", "field"),
    [
        ({"data": {"source": "sinusoid", "eval_seed": 1}}, "data.eval_seed (0 and 1)"),
        ({"shots": 5}, "shots (10 and 5)"),
        ({"selection": "last"}, "selection (best and last)"),
        ({"rotations": "none"}, "rotations (null and none)"),
    ],
)
def test_other_test_tasks_are_refused_and_the_field_is_named(card, field, tmp_path):
    sides = write_run(tmp_path / "a"), write_run(tmp_path / "b", card=card)
    with pytest.raises(UserError, match=f"A and B were not tested in the same way: {re.escape(field)}$"):
        versus(*sides)


def test_a_mode_of_prediction_that_both_have_can_be_chosen(tmp_path):
    a = write_run(tmp_path / "a", modes=("transductive", "inductive"))
    b = write_run(tmp_path / "b", modes=("inductive",))
    with pytest.raises(UserError, match=r"prediction \(transductive and inductive\); --prediction takes one"):
        versus(a, b)
    assert "on each of 4 test tasks" in said(a, b, prediction="inductive")
    with pytest.raises(UserError, match=r"--prediction=transductive: .*b has inductive"):
        versus(a, b, "transductive")


def test_seeds_are_averaged_task_by_task(tmp_path):
    values = NORMAL(0.5, 0.1, (3, 20))
    for seed, row in enumerate(values):
        write_run(tmp_path / f"a/{seed}", f"seed={seed}", values=row.tolist())
        write_run(tmp_path / f"b/{seed}", f"seed={seed}", "algo=anil", values=(row + 0.2).tolist())
    words = said(tmp_path / "a", tmp_path / "b")
    assert "maml, seeds 0, 1, 2" in words
    assert "A is 0.2000 better than B in mse: 0.2000 ± 0.0000" in words
    half, p = over_seeds(values, values + 0.2)
    how = f"A - B = -0.2000 ± {half:.4f} (95% interval, seeds and tasks crossed), p = {p:.2g}."
    assert f"For other seeds and other tasks, from 3 and 3 seeds: {how}" in words


def test_a_group_must_be_one_configuration_once(tmp_path):
    one = write_run(tmp_path / "one/a")
    write_run(tmp_path / "mixed/a")
    write_run(tmp_path / "mixed/b", "algo=anil")
    write_run(tmp_path / "twice/a")
    write_run(tmp_path / "twice/b", "device=cpu")
    with pytest.raises(UserError, match=r"mixed: holds 2 runs that differ in more than their seed: algo\..*; name one"):
        versus(one, tmp_path / "mixed")
    with pytest.raises(UserError, match="twice: holds several runs of one seed"):
        versus(tmp_path / "twice", one)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "is missing"),
        ("{", "Expecting"),
        ("[]", "has no values of inductive prediction"),
        ('{"metric": "mse", "modes": {"inductive": 3}}', "has no values of inductive"),
        ('{"metric": "mse", "modes": {"inductive": [0.1]}}', "is not of the test"),
        ('{"metric": "accuracy", "modes": {"inductive": [0.4, 0.5, 0.6, 0.7]}}', "is not of the test"),
        ('{"metric": "mse", "modes": {"inductive": [0.4, null, 0.6, true]}}', "2 of 4 values are not finite"),
        ('{"metric": "mse", "modes": {"inductive": [0.4, 0.5, 0.6, 0.8]}}', "its mean is not the one in summary.json"),
    ],
)
def test_damaged_figures_are_refused(content, reason, tmp_path):
    a, b = pair(tmp_path, [0.4, 0.5, 0.6, 0.7], [0.4, 0.5, 0.6, 0.7])
    (b / "episodes.json").unlink() if content is None else (b / "episodes.json").write_text(content)
    with pytest.raises(UserError, match=f"{b}: episodes.json: .*{reason}"):
        versus(a, b)


def test_a_damaged_summary_is_refused(tmp_path):
    a, b = pair(tmp_path, [0.4, 0.5], [0.4, 0.5])
    change(b, "test", "modes", "inductive", "mean", to=None)
    with pytest.raises(UserError, match=f"{b}: summary.json: .*is not a finite number"):
        versus(a, b)


@pytest.mark.slow
def test_two_runs_of_the_program_are_reported_and_compared(tmp_path):
    names = ("maml", "anil")
    for algo in names:
        assert run_metabench(*SINUSOID, f"algo={algo}", f"run_dir={algo}", cwd=tmp_path).code == 0
    done = run_metabench("compare", "maml", "anil", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    values = [
        json.loads((tmp_path / algo / "episodes.json").read_text())["modes"]["inductive"] for algo in ("maml", "anil")
    ]
    assert f"p = {stats.ttest_rel(*values).pvalue:.2g} (paired t)" in done.out
    report = run_metabench("report", ".", "--format", "json", cwd=tmp_path)
    cells = {cell["row"]: cell["ours"] for cell in json.loads(report.out)["cells"]}
    assert cells == pytest.approx({"maml": np.mean(values[0]), "anil": np.mean(values[1])})
    page = run_metabench("report", ".", "-o", "page.html", cwd=tmp_path)
    assert page.out == "written to page.html\n"
    assert (tmp_path / "page.html").read_text().count("<svg") >= 2 + 2  # charts, and the legend's lines


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a"], "the following arguments are required: B"),
        (["a", "b"], "a: no such folder"),
        ([".", "."], ".: holds no run, which is a folder with a summary.json"),
        (["a", "b", "--prediction", "best"], "invalid choice: 'best'"),
    ],
)
def test_bad_input_is_one_line(arguments, said, tmp_path):
    done = run_metabench("compare", *arguments, cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err
