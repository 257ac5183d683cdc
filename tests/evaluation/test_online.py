"""Online streams: what has come and nothing else is learned from, when a learner is judged, and what comes of it."""

from __future__ import annotations

import copy
import io
import math

import numpy as np
import pytest
import torch
from build import ALGOS, ONLINE, Setup, build, composed, make_source, needs_stream, small
from program import SINUSOID, only_run, records, run_metabench, summary
from scipy import stats

from metabench.data.base import TaskSource
from metabench.data.online import Buffer
from metabench.errors import ConfigError
from metabench.evaluation.evaluate import evaluate
from metabench.evaluation.online import Arrived, Rounds
from metabench.objective import OBJECTIVES
from metabench.plots.rounds import rounds, running
from metabench.tasks import Examples, Tasks, TaskSpec

SIZES = {
    "sinusoid_online": ("data.shots=4", "data.queries=3", "data.train.shots=1", "data.train.queries=2"),
    "glyphs_online": (
        *("data.characters=40", "data.size=16", "data.ways=3", "data.shots=4", "data.queries=3"),
        *("data.train.shots=1", "data.train.queries=2"),
    ),
}
ROUNDS, SHOTS, STEPS, TASKS = 5, 4, 50, 6
LENGTH = (f"data.online.rounds={ROUNDS}", f"train.steps={STEPS}", f"train.tasks={TASKS}")
STAGES = [(t, k) for t in range(ROUNDS) for k in range(1, SHOTS + 1)]
streams = pytest.mark.parametrize("data", ONLINE)


def source(data: str, *overrides: str) -> TaskSource:
    return make_source(composed("algo=ftml", f"data={data}", *SIZES[data], *LENGTH, *overrides))


def steps_of(stage: int) -> range:
    """The meta-steps of a stage."""
    return range(*(math.ceil(s * STEPS / len(STAGES)) for s in (stage, stage + 1)))


def rows(part: Examples) -> set[tuple[float, ...]]:
    """The examples of all tasks by their inputs."""
    return {tuple(x.flatten().tolist()) for task in part.x for x in task}


@streams
def test_a_draw_is_of_what_has_come_and_of_all_of_it(data):
    """Exactly: everything that has come turns up, and nothing else, at every stage."""
    found = source(data)
    unit = found.spec.eval.outputs
    stream = found.sample("test", 0, ROUNDS).support.x
    for stage, (t, k) in enumerate(STAGES):
        come = {tuple(x.flatten().tolist()) for task in stream[:t] for x in task}
        come |= {tuple(x.flatten().tolist()) for x in stream[t, : k * unit]}
        step = steps_of(stage)[0]
        many = Buffer(found.online.model_copy(update={"tasks": 400}), *parts(found))
        drawn = many.sample(step * 400, 400)
        assert rows(drawn.support) | rows(drawn.query) == come


def parts(found: TaskSource) -> tuple[Tasks, TaskSpec, int]:
    """What a buffer is made of."""
    return found.sample("test", 0, ROUNDS), found.spec, 0


@streams
def test_what_is_still_to_come_decides_nothing(data):
    """With everything from stage s on spoiled, all draws before it are as they were."""
    found = source(data)
    unit = found.spec.eval.outputs
    for stage, (t, k) in enumerate(STAGES[1:], start=1):
        stream, spec, seed = parts(found)
        stream.support.x[t, (k - 1) * unit :] = torch.nan
        stream.support.x[t + 1 :] = torch.nan
        spoiled = Buffer(found.online, stream, spec, seed)
        before = steps_of(stage)[0] * TASKS
        for mine, plain in zip(
            spoiled.sample(0, before).tensors(), found.sample("train", 0, before).tensors(), strict=True
        ):
            assert torch.equal(mine, plain)


@streams
def test_queries_are_never_drawn_and_those_of_a_draw_are_not_its_support(data):
    found = source(data)
    drawn = found.sample("train", 0, STEPS * TASKS)
    judged = rows(found.sample("test", 0, ROUNDS).query)
    assert not judged & (rows(drawn.support) | rows(drawn.query))
    now, come = found.buffer.stage(torch.arange(len(drawn)))
    plenty = (now > 0) & (come >= 3)
    apart = [not rows(one.support) & rows(one.query) for one in (drawn.tasks(i, i + 1) for i in range(len(drawn)))]
    assert all(ok for ok, enough in zip(apart, plenty.tolist(), strict=True) if enough)


def test_tasks_are_drawn_evenly_and_with_or_without_the_present_one():
    for present, of in ((True, ROUNDS), (False, ROUNDS - 1)):
        found = source("sinusoid_online", f"data.online.present={str(present).lower()}")
        amplitude = found.sample("test", 0, ROUNDS).truth["amplitude"]
        drawn = found.sample("train", 1 << 20, 3000).truth["amplitude"]
        counts = (drawn == amplitude.T).sum(0)
        assert (counts > 0).sum() == of
        assert stats.chisquare(counts[:of]).pvalue > 1e-3
    assert (
        found.sample("train", 0, 6).truth["amplitude"].unique().tolist() == amplitude[0].tolist()
    )  # for want of others


@streams
def test_a_draw_is_a_function_of_its_number(data):
    found = source(data)
    whole = found.sample("train", 0, 40)
    pieces = [found.sample("train", start, stop - start) for start, stop in ((0, 7), (7, 40))]
    for a, *b in zip(whole.tensors(), *(piece.tensors() for piece in pieces), strict=True):
        assert torch.equal(a, torch.cat(b))
    other = source(data, "seed=1")
    assert not torch.equal(other.sample("train", 0, 40).support.x, whole.support.x)
    assert torch.equal(other.sample("test", 0, 3).support.x, found.sample("test", 0, 3).support.x)


def test_rounds_have_classes_of_their_own_and_every_shot_has_one_of_each():
    found = source("glyphs_online")
    stream = found.sample("test", 0, ROUNDS)
    assert len(stream.truth["classes"].unique()) == ROUNDS * 3
    for y in stream.support.y:
        assert (y.view(SHOTS, 3).sort(dim=1).values == torch.arange(3)).all()
    firsts = source("glyphs_online", "data.online.rounds=13").sample("test", 0, 13).support.y[:, 0]
    assert len(firsts.unique()) == 3
    few = found.sample("test", 2, 2)
    assert torch.equal(few.support.x, stream.support.x[2:4])


def test_labels_of_a_draw_are_new_and_true():
    """An example's class is the one it came with, under a number that changes from draw to draw."""
    found = source("glyphs_online")
    stream, drawn = found.sample("test", 0, ROUNDS), found.sample("train", 1 << 20, 300)
    class_of = {
        tuple(x.flatten().tolist()): classes[y].item()
        for xs, ys, classes in zip(*stream.support, stream.truth["classes"], strict=True)
        for x, y in zip(xs, ys, strict=True)
    }
    numbers: dict[int, set[int]] = {}
    for part in (drawn.support, drawn.query):
        for xs, ys, classes in zip(*part, drawn.truth["classes"], strict=True):
            for x, y in zip(xs, ys, strict=True):
                assert class_of[tuple(x.flatten().tolist())] == classes[y]
                numbers.setdefault(int(classes[y]), set()).add(int(y))
    assert all(len(given) == 3 for given in numbers.values())


# ---- when a learner is judged


@pytest.mark.parametrize("steps", [0, 1, 3, 19, 20, 21, 50, 1000])
def test_every_stage_is_judged_once_in_order_and_after_its_own_meta_steps(steps):
    found = source("sinusoid_online", f"train.steps={steps}")
    rounds = Rounds(found, OBJECTIVES["mse"], steps)
    judged, stages = [], ROUNDS * SHOTS
    for step in range(steps + 1):
        due = [(t, part.shots) for part in rounds.due(step) for t in range(part.first, part.first + part.tasks)]
        if due and step:
            now, come = found.buffer.stage(torch.arange(step * TASKS))
            last = max(zip(now.tolist(), come.tolist(), strict=True))
            assert last == min(due)  # the learner has seen its shots, and no more
        judged += sorted(due)
    assert judged == STAGES
    assert len(judged) == stages


def test_a_learner_is_judged_on_the_shots_that_have_come():
    for data in ONLINE:
        found = source(data)
        whole, arrived = found.sample("test", 1, 3), Arrived(found, 1, 2).sample("test", 0, 3)
        assert torch.equal(arrived.support.x, whole.support.x[:, : 2 * found.spec.eval.outputs])
        assert torch.equal(arrived.query.y, whole.query.y)


# ---- what comes of it


def rounds_of(metric: str, threshold: float, *values: list[float]) -> Rounds:
    found = source("sinusoid_online", f"data.online.rounds={len(values)}", f"data.shots={len(values[0])}")
    found.online = found.online.model_copy(update={"threshold": threshold})
    rounds = Rounds(found, OBJECTIVES["mse" if metric == "mse" else "cross_entropy"], 0)
    for part in rounds.due(0):
        column = torch.tensor([row[part.shots - 1] for row in values])
        list(rounds.judge(part, {metric: column[:, None], "loss": column[:, None]}))
    return rounds


def test_following_the_leader_on_squares_has_its_regret():
    """f_t(w) = (w - a_t)²: the leader is the mean so far; in hindsight the best is the mean of all. O(log T)."""
    a = torch.randn(400, generator=torch.Generator().manual_seed(0)).double()
    leader = torch.cat([torch.zeros(1), a.cumsum(0)[:-1] / torch.arange(1, 400)])
    suffered = (leader - a).square()
    rounds = rounds_of("mse", 0.1, *[[value] for value in suffered.tolist()])
    outcome = rounds.outcome((a.mean() - a).square())
    expected = sum((leader[t] - a[t]) ** 2 for t in range(400)) - ((a - a.mean()) ** 2).sum()
    assert outcome["regret"][-1] == pytest.approx(expected.item(), rel=1e-5)
    assert 0 < outcome["regret"][-1] < 4 * a.abs().max() ** 2 * (1 + math.log(400))
    assert outcome["cumulative_error"][-1] == pytest.approx(suffered.sum().item(), rel=1e-6)


def test_the_examples_it_took_are_those_at_the_first_sight_of_the_threshold():
    rounds = rounds_of("mse", 0.5, [0.9, 0.5, 0.1], [0.4, 0.8, 0.9], [2, 2, 2])
    assert rounds.examples_to_threshold() == [2, 1, None]
    outcome = rounds.outcome(torch.tensor([0.0, 1.0, 0.5]))
    assert outcome["learned"] == pytest.approx(2 / 3)
    assert outcome["mean_examples_to_threshold"] == pytest.approx((2 + 1 + 3) / 3)
    assert outcome["cumulative_error"] == pytest.approx([0.1, 1.0, 3.0])
    assert outcome["regret"] == pytest.approx([0.1, 0.0, 1.5], abs=1e-6)


def test_of_accuracies_the_errors_are_what_they_lack():
    rounds = rounds_of("accuracy", 0.9, [0.2, 0.9], [0.95, 0.8])
    assert rounds.examples_to_threshold() == [2, 1]  # 0.9 in single precision is less than 0.9
    assert rounds.cumulative_error().tolist() == pytest.approx([0.1, 0.3])


# ---- the program

RUN = (
    *SINUSOID, *SIZES["sinusoid_online"], "data=sinusoid_online", "data.online.rounds=3", "data.online.threshold=4",
    "algo.inner_lr=0.01", "algo.eval_inner_steps=2",
)  # fmt: skip


def test_a_run_tells_of_every_round(tmp_path):
    done = run_metabench(*RUN, "algo=ftml", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    run = only_run(tmp_path)
    lines, found = records(run), summary(run)["test"]
    online = [line for line in lines if line["split"] == "online"]
    assert [(line["round"], line["shots"]) for line in online] == [(t, k) for t in (1, 2, 3) for k in (1, 2, 3, 4)]
    assert [line["step"] for line in online] == [math.ceil(s * 20 / 12) for s in range(1, 13)]
    assert not [line for line in lines if line["split"] == "validation"]
    for k in range(1, 5):
        mean = sum(line["mse"] for line in online if line["shots"] == k) / 3
        assert found["per_step"][k - 1]["step"] == k
        assert found["per_step"][k - 1]["mean"] == pytest.approx(mean)
    final = [line["mse"] for line in online if line["shots"] == 4]
    assert found["episodes"] == 3
    assert found["online"]["cumulative_error"] == pytest.approx([sum(final[: t + 1]) for t in range(3)])
    assert [line["cumulative_error"] for line in online if line["shots"] == 4] == found["online"]["cumulative_error"]
    hindsight = [line for line in lines if line["split"] == "hindsight"]
    assert [line["regret"] for line in hindsight] == found["online"]["regret"]
    lost = sum(a - line["mse"] for a, line in zip(final, hindsight, strict=True))
    assert found["online"]["regret"][-1] == pytest.approx(lost)
    assert "examples to 4.0000, mean" in done.out


def test_a_baseline_without_meta_training_meets_every_round_at_once(tmp_path):
    done = run_metabench(*RUN, "algo=scratch", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    found = summary(only_run(tmp_path))["test"]["online"]
    assert found["regret"] == [0, 0, 0]
    assert found["final"] == found["hindsight"]


@pytest.mark.slow
def test_methods_on_one_stream_share_their_protocol_and_their_picture(tmp_path):
    for algo in ("scratch", "ftml"):
        assert run_metabench(*RUN, f"algo={algo}", "log.pictures=true", cwd=tmp_path).code == 0
    runs = {path.parent.parent.name: path.parent for path in tmp_path.glob("outputs/*/*/*/summary.json")}
    assert summary(runs["ftml"])["protocol"]["hash"] == summary(runs["scratch"])["protocol"]["hash"]
    assert {path.name for path in (runs["ftml"] / "pictures").iterdir()} == {"rounds.png", "fits.png"}

    from metabench.plots.rounds import beside

    others = beside(runs["ftml"], summary(runs["ftml"])["protocol"]["hash"])
    ((name, (other,)),) = others.items()
    recorded = summary(runs["scratch"])["test"]
    assert name == "Scratch"
    assert other["online"] == {key: recorded["online"][key] for key in other["online"]}
    assert [entry["mean"] for entry in other["per_step"]] == [entry["mean"] for entry in recorded["per_step"]]
    assert beside(runs["ftml"], "another") == {}
    plotted = run_metabench("plot", "rounds", "outputs", cwd=tmp_path)
    assert (plotted.code, plotted.err) == (0, "")
    assert (tmp_path / "rounds.png").is_file()
    other = run_metabench(*RUN, "algo=scratch", "data.eval_seed=1", cwd=tmp_path)
    assert other.code == 0
    refused = run_metabench("plot", "rounds", "outputs", cwd=tmp_path)
    assert (refused.code, "of protocol" in refused.err) == (2, True)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_a_method_that_diverged_is_drawn_beside_the_others():
    fine = {
        "metric": "mse",
        "per_step": [{"step": k, "mean": 2.0 / k} for k in (1, 2)],
        "online": {
            "threshold": 0.5, "examples_of_a_shot": 1, "final": [1.0, 0.5], "examples_to_threshold": [None, 2],
            "cumulative_error": [1.0, 1.5], "regret": [0.1, 0.2],
        },
    }  # fmt: skip
    bad = copy.deepcopy(fine)
    bad["per_step"][1]["mean"] = None
    bad["online"] |= {"final": [None, 0.5], "cumulative_error": [None, None], "regret": [None, None]}
    for named in ({"A": [fine], "B": [bad]}, {"B": [bad, fine], "A": [fine]}):
        rounds(named).savefig(io.BytesIO(), format="png")


def test_a_running_mean_is_of_the_last_tenth():
    values = np.arange(30.0)
    expected = [values[max(0, i - 2) : i + 1].mean() for i in range(30)]
    np.testing.assert_allclose(running(values), expected)


@streams
@pytest.mark.slow
@pytest.mark.parametrize("algo", [algo for algo in ALGOS if not needs_stream(algo)])
def test_whatever_learns_from_a_support_set_learns_online_too(algo, data):
    setup = built(algo, data)
    if isinstance(setup, ConfigError):
        assert setup.key == "algo"
        return
    if setup.optimizer:
        assert all(loss.isfinite().all() for loss in setup.train(1))
    for shots in (1, 2):
        found = evaluate(setup.algo, Arrived(setup.source, 0, shots), "test", 2, batch=2)
        assert found["loss"].isfinite().all()


def built(algo: str, data: str) -> Setup | ConfigError:
    try:
        return build(*small(algo, data))
    except ConfigError as fault:
        return fault


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("algo=ftml", "data=sinusoid"), "algo=ftml: online method; choose an online data set"),
        (
            ("algo=baseline", "data=glyphs_online"),
            "algo=baseline: needs complete tasks; choose a data set that is not online",
        ),
        (
            ("algo=ftml", "data=glyphs_online", "data.characters=40", "data.online.rounds=9"),
            "data.online.rounds=9: at most 8: there are 40 test classes",
        ),
        (("algo=ftml", "data=glyphs_online", "data.train.ways=3"), "data.train.ways=3: should be data.ways, 5"),
        (("algo=ftml", "data=sinusoid_online", "data.shots=4"), "data.train.shots=5: at most data.shots, 4"),
        (
            ("algo=lstm", "data=glyphs_sequence", "+data.online={rounds:1,threshold:1.0,present:true,steps:1,tasks:1}"),
            "data.online=given: null",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(overrides, message):
    with pytest.raises(ConfigError) as fault:
        build(*overrides)
    assert str(fault.value).startswith(message)
