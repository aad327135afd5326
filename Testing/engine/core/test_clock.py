"""The clock that stands still while nobody looks at it, by seconds that a test gives."""

from __future__ import annotations

import pytest

from uncol.core.clock import AwakeClock, awake_s
from uncol.core.config import BudgetConfig
from uncol.training.budget import TrainingBudget


class Seconds:
    """Seconds that pass when a test says so; `looked_at` every second, as by the thread of a process that runs."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.clock = AwakeClock(lambda: self.now)

    def work(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1
            self.clock()
        self.now += seconds % 1

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


def test_a_long_step_is_counted_and_a_sleep_is_not(seconds: Seconds) -> None:
    began = seconds.clock()

    seconds.work(300)  # one slice on a slow computer
    seconds.sleep(8 * 3600)
    seconds.work(5.5)

    assert seconds.clock() - began == pytest.approx(305.5, abs=1.01)  # the beat in which it woke


def test_a_computer_that_is_only_slow_does_not_sleep(seconds: Seconds) -> None:
    began = seconds.clock()

    for _ in range(10):
        seconds.sleep(29)
        seconds.clock()

    assert seconds.clock() - began == pytest.approx(290)


def test_slept_time_is_no_learning_time(seconds: Seconds) -> None:
    budget = TrainingBudget(BudgetConfig(minutes=1, stage1_part=0.5), clock=seconds.clock)
    budget.start_stage1()
    seconds.work(10)

    seconds.sleep(70)  # more than there is for everything

    assert not budget.is_over(step=8)
    assert budget.elapsed_s == pytest.approx(10)
    assert budget.fraction(step=8) == pytest.approx(10 / 58.8)
    seconds.work(49)
    assert budget.is_over(step=50)


def test_a_run_that_goes_on_keeps_its_clock(seconds: Seconds) -> None:
    budget = TrainingBudget(BudgetConfig(minutes=1), clock=seconds.clock).goes_on(20.0)

    seconds.sleep(3600)

    assert budget.elapsed_s == pytest.approx(20)


def test_the_clock_of_this_process_goes_on() -> None:
    assert awake_s() <= awake_s()
