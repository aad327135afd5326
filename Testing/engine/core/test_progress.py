"""Tests of the one monitor: what it tells, how it ends work, how its parts and phases add up."""

from __future__ import annotations

import json
import time

import pytest

from uncol.core.errors import CancelledError
from uncol.core.progress import UNWATCHED, Monitor, Progress


def test_progress_message_leaves_out_what_says_nothing() -> None:
    assert Progress("Reading", 0.5).as_message() == {"event": "progress", "phase": "Reading", "fraction": 0.5}


def test_progress_message_keeps_zeros() -> None:
    message = Progress("Training", 0.0, seconds_left=0.0, step=0).as_message()

    assert message == {"event": "progress", "phase": "Training", "fraction": 0.0, "seconds_left": 0.0, "step": 0}


def test_progress_message_holds_losses_and_survives_json() -> None:
    message = Progress("Training", 0.25, seconds_left=90.0, step=7, losses={"supervised_loss": 1.5}).as_message()

    assert json.loads(json.dumps(message)) == {
        "event": "progress",
        "phase": "Training",
        "fraction": 0.25,
        "seconds_left": 90.0,
        "step": 7,
        "losses": {"supervised_loss": 1.5},
    }


def test_each_progress_has_losses_of_its_own() -> None:
    assert Progress("Reading", 0).losses is not Progress("Reading", 0).losses


def test_without_a_listener_work_runs_to_its_end() -> None:
    UNWATCHED.step("Reading", 0.5)

    assert list(UNWATCHED.each("ab", "Reading")) == ["a", "b"]


def test_work_is_told_before_each_item() -> None:
    told: list[Progress] = []

    assert list(Monitor(told.append).each("abcd", "Reading")) == list("abcd")
    assert told == [Progress("Reading", part) for part in (0.0, 0.25, 0.5, 0.75)]


def test_cancelled_work_tells_nothing_more_and_ends_with_its_sentence() -> None:
    told: list[Progress] = []
    monitor = Monitor(told.append, lambda: True).cancelling_with("It was cancelled.")

    with pytest.raises(CancelledError, match=r"^It was cancelled\.$"):
        monitor.step("Reading", 0.5)

    assert told == []


def test_what_has_to_be_saved_is_saved_before_the_work_ends() -> None:
    saved: list[str] = []

    def save() -> str:
        saved.append("checkpoint")
        return "It can be resumed."

    with pytest.raises(CancelledError, match="It can be resumed"):
        Monitor(should_stop=lambda: True, before_cancel=save).check()

    assert saved == ["checkpoint"]


def test_a_part_is_told_as_a_part_of_the_whole_and_never_goes_back() -> None:
    told: list[Progress] = []
    part = Monitor(told.append).part(0.5, 0.75, seconds_after=10.0)

    for fraction in (0.0, 1.0, 0.4):
        part.report(Progress("Reading", fraction, seconds_left=3.0))

    # 0.5 + 0.25 * fraction, and 3 s of the part before 10 s of what follows
    assert [(each.fraction, each.seconds_left) for each in told] == [(0.5, 13.0), (0.75, 13.0), (0.75, 13.0)]


def test_a_timed_monitor_tells_the_time_left_where_the_work_does_not() -> None:
    told: list[Progress] = []
    timed = Monitor(told.append).timed(lambda: 20.0)

    timed.step("Segmenting", 0.5)
    timed.report(Progress("Learning", 0.5, seconds_left=3.0))

    assert [each.seconds_left for each in told] == [20.0, 3.0]


def test_what_follows_is_added_to_the_time_left_that_is_told() -> None:
    told: list[Progress] = []
    monitor = Monitor(told.append).followed_by(5.0)

    monitor.report(Progress("Segmenting", 0.5, seconds_left=20.0))
    monitor.step("Segmenting", 0.2)

    assert told == [Progress("Segmenting", 0.5, 25.0), Progress("Segmenting", 0.2)]


def test_a_phase_tells_the_part_that_is_done_and_when_its_time_is_up() -> None:
    told: list[Progress] = []
    phase = Monitor(told.append).phase("Asking", 4)
    for _ in range(5):
        phase.step()

    assert told == [Progress("Asking", part) for part in (0.25, 0.5, 0.75, 1.0, 1.0)]
    assert not phase.time_is_up
    late = UNWATCHED.phase("Asking", 4, limit_s=0.0)
    time.sleep(0.001)
    assert late.time_is_up


def test_a_phase_knows_how_long_its_steps_took() -> None:
    phase = UNWATCHED.phase("Asking", 4)
    assert phase.step_s(0.5) == 0.0
    for pause_s in (0.0, 0.0, 0.0, 0.2):
        time.sleep(pause_s)
        phase.step()

    assert phase.step_s(0.25) < 0.1
    assert phase.step_s(1.0) >= 0.2
