"""Progress: what survives on a narrow terminal, and a time left that compiling and validation do not spoil."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.console import Console

from metabench.utils.progress import Clock, Phase, can_draw, in_words, line

NOTES = ("loss 0.1234", "accuracy 45.21%", "best validation 46.80%", "3210 tasks/s", "1:02:03 so far")


@pytest.fixture
def now(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


def test_step_bar_time_left_loss_and_metric_survive_at_80_columns():
    shown = line(["meta-training 12345/60000", "2:50:03 left", *NOTES], 0.2, 80).plain
    assert len(shown) <= 80
    assert shown.startswith("meta-training 12345/60000  ━━━━━━━━")
    assert shown.endswith("2:50:03 left  loss 0.1234  accuracy 45.21%")


def test_a_wide_terminal_shows_everything_and_a_narrow_one_the_step():
    parts = ["meta-training 1/9", "0:03 left", *NOTES]
    wide = line(parts, 0.5, 200).plain
    assert all(part in wide for part in parts)
    assert line(parts, 0.5, 20).plain == "meta-training 1/9"


def test_the_first_unit_is_no_measure_of_the_others(now):
    clock = Clock(101, 0)
    assert clock.left is None
    now[0] += 59 * 60  # it compiles
    clock.update(1)
    assert clock.left is None
    now[0] += 1.0
    clock.update(11)
    assert clock.left == pytest.approx(9.0)


def test_interludes_are_counted_by_themselves(now):
    clock = Clock(30, 0, interludes=(10, 20, 30))
    clock.update(1)
    now[0] += 9.0
    clock.update(10)
    now[0] += 5.0
    clock.interlude(5.0)
    assert clock.rate == pytest.approx(1.0)
    assert clock.left == pytest.approx(20 * 1.0 + 2 * 5.0)


def test_a_resumed_phase_counts_from_where_it_stands(now):
    clock = Clock(100, 90, interludes=(50, 100))
    clock.update(91)
    now[0] += 2.0
    clock.update(93)
    now[0] += 1.0
    clock.interlude(1.0)
    assert clock.left == pytest.approx(7.0)  # the one that was ahead is over


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    assert not can_draw(console)
    with Phase(console, None, "meta-test", 2) as phase:
        phase.update(2, ["loss 1"])
    assert stream.getvalue() == "meta-test 2/2  loss 1\n"


def test_whatever_takes_long_says_where_it_stands_in_plain_lines(now):
    stream, kept = io.StringIO(), []
    with Phase(Console(file=stream, width=80), None, "meta-test", 1000, keep=kept.append) as phase:
        phase.update(100)
        now[0] += 11.0
        phase.update(200)
        now[0] += 1.0
        phase.update(300)
        with phase.interlude("validation", 50) as tick:
            tick(10)
            now[0] += 11.0
            tick(20)
        now[0] += 1.0
        phase.update(1000)
    assert stream.getvalue().splitlines() == kept
    assert kept == ["meta-test 200/1000  1:28 left", "meta-test 300/1000  validation 20/50"]


def test_a_line_between_two_reports_has_the_metrics_of_the_last(now):
    stream = io.StringIO()
    with Phase(Console(file=stream, width=80), None, "meta-training", 100) as phase:
        phase.update(1)
        now[0] += 5.0
        phase.update(50, ["loss 1"])
        now[0] += 6.0
        phase.update(60)
    assert stream.getvalue().splitlines() == ["meta-training 60/100  loss 1  0:07 left"]


def test_a_short_phase_without_anything_to_say_says_nothing(now):
    stream = io.StringIO()
    with Phase(Console(file=stream, width=80), None, "meta-test", 2) as phase:
        now[0] += 5.0
        phase.update(2)
    assert not stream.getvalue()


def test_a_sweep_is_told_of_interludes_too():
    told: list[dict[str, Any]] = []
    console = Console(file=io.StringIO())
    with Phase(console, lambda **message: told.append(message), "meta-training", 4) as phase:
        with phase.interlude("validation", 8) as tick:
            time.sleep(0.25)
            tick(3)
        phase.update(4)
    assert [(one["phase"], one["done"], one["total"]) for one in told][:3] == [
        ("meta-training", 0, 4),
        ("validation", 3, 8),
        ("meta-training", 0, 4),
    ]


@pytest.mark.parametrize(("seconds", "words"), [(8.4, "8 s"), (2100, "35 min"), (10200, "2 h 50 min")])
def test_seconds_in_words(seconds, words):
    assert in_words(seconds) == words
