from __future__ import annotations

import pytest

from uncol.cli.time_left import TimeLeft, left_text
from uncol.core.progress import Progress


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_steady_run_is_estimated_within_a_third_from_a_tenth_on(clock: Clock) -> None:
    left = TimeLeft(clock)
    for percent in range(101):
        clock.now = 100.0 + 2 * percent
        left.hear(Progress("Segmenting", percent / 100))
        if 10 <= percent < 100:
            assert left.left() == pytest.approx(2 * (100 - percent), rel=0.3)
            assert left.done == pytest.approx(percent / 100, abs=0.05)


def test_a_run_that_becomes_slower_is_estimated_by_its_last_pace(clock: Clock) -> None:
    left = TimeLeft(clock)
    for percent in range(81):
        clock.now += 0.1 if percent <= 20 else 4.0
        left.hear(Progress("Segmenting", percent / 100))

    assert left.left() == pytest.approx(20 * 4.0, rel=0.3)


def test_what_the_run_itself_says_counts_and_the_bar_never_goes_back(clock: Clock) -> None:
    left = TimeLeft(clock)
    shown = []
    for second in range(0, 60, 10):
        clock.now = 100.0 + second
        left.hear(Progress("Training", 0.9, seconds_left=60.0 - second))
        shown.append(left.done)
    clock.now += 10
    left.hear(Progress("Segmenting", 0.0))
    shown.append(left.done)

    assert shown == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])


def test_nothing_is_told_before_there_is_a_pace(clock: Clock) -> None:
    left = TimeLeft(clock)
    clock.now += 1

    left.hear(Progress("Reading", 0.0))
    assert (left.done, left.left()) == (0.0, None)
    clock.now += 60
    left.hear(Progress("Reading", 0.0))
    assert left.left() is None


def test_what_was_told_counts_down_until_more_is_told(clock: Clock) -> None:
    left = TimeLeft(clock)
    left.hear(Progress("Segmenting", 0.5, seconds_left=30.0))
    clock.now += 12
    assert left.left() == 18.0

    left.hear(Progress("Writing the results", 1.0))
    assert left.left() == 18.0
    clock.now += 30
    assert left.left() == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4, "a few seconds left"), (42, "about 40 s left"), (89, "about 90 s left"), (200, "about 3 min left")],
)
def test_a_time_left_is_told_as_coarse_as_it_is_known(seconds: float, text: str) -> None:
    assert left_text(seconds) == text
