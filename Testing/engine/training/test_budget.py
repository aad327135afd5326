"""Tests of the budget: fractions by hand for steps, bounds for seconds, and a run that goes on after a pause."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from uncol.core.config import BudgetConfig
from uncol.training.budget import TrainingBudget

# A hundred steps: 35 for stage 1, 65 for stage 2.
STEPS = BudgetConfig(minutes=None, steps=100, stage1_part=0.35)
# Ten minutes, 600 s, of which 2 % are kept for writing the model: 588 s.
TEN_MINUTES = BudgetConfig(minutes=10, stage1_part=0.35)
FEW_SECONDS = 5.0  # more than a busy machine takes between two lines of a test


class TestWithoutStage1:
    def test_stage_2_has_all_steps(self) -> None:
        clock = TrainingBudget(BudgetConfig(minutes=None, steps=40, stage1_part=0.0))

        assert clock.stage1_is_over(0)
        clock.start_stage2()
        assert [clock.fraction(step) for step in (0, 10, 40)] == [0, 0.25, 1]
        assert [clock.stage2_fraction(step) for step in (0, 10, 40)] == [0, 0.25, 1]

    def test_stage_2_has_all_of_a_time(self) -> None:
        clock = TrainingBudget(BudgetConfig(minutes=10, stage1_part=0.0))

        assert clock.fraction(0) == 0
        assert clock.stage1_is_over(0)


class TestSteps:
    @pytest.mark.parametrize(
        ("step", "expected"),
        [
            pytest.param(0, 0.0, id="start"),
            pytest.param(7, 0.07, id="0.35 * 7/35"),
            pytest.param(34, 0.34, id="0.35 * 34/35"),
            pytest.param(35, 0.35, id="end of stage 1"),
        ],
    )
    def test_fraction_in_stage_1(self, step: int, expected: float) -> None:
        assert TrainingBudget(STEPS).fraction(step) == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("step", "stage2", "whole"),
        [
            pytest.param(35, 0.0, 0.35, id="start of stage 2"),
            # 26 / 65 = 0.4; 0.35 + 0.65 * 0.4
            pytest.param(61, 0.4, 0.61, id="26 of 65"),
            pytest.param(100, 1.0, 1.0, id="end"),
        ],
    )
    def test_fraction_in_stage_2(self, step: int, stage2: float, whole: float) -> None:
        clock = TrainingBudget(STEPS)
        clock.start_stage2()

        assert clock.stage2_fraction(step) == pytest.approx(stage2)
        assert clock.fraction(step) == pytest.approx(whole)

    def test_stage_2_has_not_begun_before_it_is_started(self) -> None:
        assert TrainingBudget(STEPS).stage2_fraction(50) == 0

    @pytest.mark.parametrize(("step", "over"), [(0, False), (34, False), (35, True), (36, True)])
    def test_stage_1_ends_after_its_part(self, step: int, *, over: bool) -> None:
        assert TrainingBudget(STEPS).stage1_is_over(step) is over

    @pytest.mark.parametrize(("step", "over"), [(0, False), (99, False), (100, True), (101, True)])
    def test_the_run_ends_after_its_steps(self, step: int, *, over: bool) -> None:
        assert TrainingBudget(STEPS).is_over(step) is over

    def test_a_run_of_stage_1_only_reaches_its_end(self) -> None:
        clock = TrainingBudget(BudgetConfig(minutes=None, steps=40, stage1_part=1.0))

        assert [clock.fraction(step) for step in (0, 10, 40)] == [0, 0.25, 1]

    def test_a_single_step_belongs_to_stage_1(self) -> None:
        clock = TrainingBudget(BudgetConfig(minutes=None, steps=1))

        assert not clock.stage1_is_over(0)
        assert clock.is_over(1)

    def test_time_does_not_matter(self) -> None:
        fresh, resumed = TrainingBudget(STEPS), TrainingBudget(STEPS, elapsed_s=1e6)

        assert [resumed.fraction(step) for step in range(36)] == [fresh.fraction(step) for step in range(36)]
        assert not resumed.is_over(99)
        assert resumed.total_s is None

    def test_the_time_left_is_told_by_the_pace_of_each_stage(self) -> None:
        now = 0.0
        clock = TrainingBudget(STEPS, clock=lambda: now)
        assert clock.seconds_left(0) is None
        clock.expected_step_s = 2.0
        # 35 steps of stage 1, and 65 of stage 2 that take 2.2 times as long
        assert clock.seconds_left(0) == pytest.approx(2.0 * (35 + 2.2 * 65))

        now, clock.expected_teacher_s = 30.0, 40.0
        clock.start_stage1()
        now += 20 * 3.0
        assert clock.seconds_left(20) == pytest.approx(3.0 * (15 + 2.2 * 65) + 40.0)

        now += 15 * 3.0
        clock.start_stage2()
        assert clock.seconds_left(35) == pytest.approx(3.0 * 2.2 * 65)
        now += 10 * 5.0
        assert clock.seconds_left(45) == pytest.approx(5.0 * 55)


class TestMinutes:
    def test_a_little_is_kept_for_writing_the_model(self) -> None:
        assert TrainingBudget(TEN_MINUTES).total_s == pytest.approx(588)

    def test_it_starts_at_nothing(self) -> None:
        clock = TrainingBudget(TEN_MINUTES)
        clock.start_stage1()

        assert clock.fraction(0) == pytest.approx(0, abs=FEW_SECONDS / 588)
        assert not clock.stage1_is_over(0)
        assert not clock.is_over(10**9)

    def test_stage_1_takes_its_part_of_what_preparation_left(self) -> None:
        # a second: 0.98 s, half of it for stage 1
        clock = TrainingBudget(BudgetConfig(minutes=1 / 60, stage1_part=0.5))
        time.sleep(0.1)
        before_s = clock.elapsed_s
        clock.start_stage1()
        after_s = clock.elapsed_s
        time.sleep(0.05)
        earliest_s = clock.elapsed_s
        fraction = clock.fraction(0)
        latest_s = clock.elapsed_s

        # t/T of stage 1 = (now - began) / (0.5 * (0.98 - began)), half of it for the whole run
        lowest = 0.5 * min(1, (earliest_s - after_s) / (0.5 * (0.98 - after_s)))
        highest = 0.5 * min(1, (latest_s - before_s) / (0.5 * (0.98 - before_s)))
        assert lowest - 1e-3 <= fraction <= highest + 1e-3

    def test_the_teachers_time_is_not_taken_from_stage_2_alone(self) -> None:
        with_teacher, alone = TrainingBudget(TEN_MINUTES), TrainingBudget(TEN_MINUTES)
        for clock in (with_teacher, alone):
            clock.start_stage1()
        with_teacher.expected_teacher_s = 294.0
        time.sleep(0.05)

        earlier, between, later = alone.fraction(0), with_teacher.fraction(0), alone.fraction(0)
        # half of the time is the teacher's: stage 1 is half as long and runs twice as fast
        assert 2 * 0.98 * earlier <= between <= 2 * 1.02 * later

    def test_stage_1_ends_in_time(self) -> None:
        clock = TrainingBudget(BudgetConfig(minutes=1 / 60, stage1_part=0.2))
        clock.start_stage1()
        assert not clock.stage1_is_over(0)

        time.sleep(0.21)  # 0.2 * 0.98 * 1 s = 0.196 s

        assert clock.stage1_is_over(0)

    def test_stage_2_shares_what_is_left(self) -> None:
        clock = TrainingBudget(TEN_MINUTES, elapsed_s=400.0, stage2_began_s=200.0)

        # (400 - 200) / (588 - 200) = 0.515464; 0.35 + 0.65 * 0.515464 = 0.685052
        assert clock.stage2_fraction(0) == pytest.approx(0.515464, abs=FEW_SECONDS / 388)
        assert clock.fraction(0) == pytest.approx(0.685052, abs=FEW_SECONDS / 388)

    def test_stage_2_starts_when_it_is_told_to(self) -> None:
        clock = TrainingBudget(TEN_MINUTES, elapsed_s=300.0)

        clock.start_stage2()

        assert clock.stage2_began_s == pytest.approx(300, abs=FEW_SECONDS)
        assert clock.fraction(0) == pytest.approx(0.35, abs=FEW_SECONDS / 288)

    @pytest.mark.parametrize(
        ("part", "elapsed_s", "stage2_began_s", "spare_s"),
        [
            # Stage 1 took 240 s; stage 2 would have 240 * 0.2 / 0.8 = 60 s, half of which stays.
            pytest.param(0.8, 240.0, None, 588 - 240 - 30, id="at the end of stage 1"),
            pytest.param(0.8, 300.0, 240.0, 588 - 300 - 30, id="in stage 2"),
            pytest.param(0.8, 580.0, 540.0, 0.0, id="too late"),
            pytest.param(0.0, 88.0, None, 250.0, id="no stage 1: half of what is left"),
        ],
    )
    def test_asking_leaves_half_of_stage_2(
        self, part: float, elapsed_s: float, stage2_began_s: float | None, spare_s: float
    ) -> None:
        budget = BudgetConfig(minutes=10, stage1_part=part)
        clock = TrainingBudget(budget, elapsed_s=elapsed_s, stage2_began_s=stage2_began_s)

        assert clock.spare_s == pytest.approx(spare_s, abs=FEW_SECONDS)

    def test_where_steps_are_counted_there_is_no_such_limit(self) -> None:
        assert TrainingBudget(STEPS).spare_s is None

    def test_the_time_left_is_exact(self) -> None:
        assert TrainingBudget(TEN_MINUTES, elapsed_s=400.0).seconds_left(0) == pytest.approx(188, abs=FEW_SECONDS)

    def test_an_exceeded_budget_is_over_and_complete(self) -> None:
        clock = TrainingBudget(TEN_MINUTES, elapsed_s=600.0, stage2_began_s=200.0)

        assert clock.is_over(0)
        assert (clock.fraction(0), clock.stage2_fraction(0), clock.seconds_left(0)) == (1, 1, 0)

    def test_a_short_budget_ends_by_itself(self) -> None:
        clock = TrainingBudget(BudgetConfig(minutes=0.05 / 60))

        time.sleep(0.06)

        assert clock.is_over(0)

    def test_time_never_runs_backwards(self) -> None:
        clock = TrainingBudget(BudgetConfig(minutes=0.2 / 60, stage1_part=0.25))
        clock.start_stage1()
        fractions = []
        while not clock.is_over(0):
            if clock.stage2_began_s is None and clock.stage1_is_over(0):
                clock.start_stage2()
            fractions.append(clock.fraction(0))
            time.sleep(0.005)

        assert all(earlier <= later for earlier, later in pairwise(fractions))
        assert fractions[-1] <= 1


class TestResuming:
    def test_earlier_sittings_count(self) -> None:
        clock = TrainingBudget(TEN_MINUTES, elapsed_s=200.0)

        assert clock.elapsed_s == pytest.approx(200, abs=FEW_SECONDS)
        assert clock.elapsed_s >= 200

    def test_a_run_interrupted_in_stage_1_goes_on_where_it_was(self) -> None:
        clock = TrainingBudget(TEN_MINUTES, elapsed_s=147.0)

        # stage 1 lasts 0.35 * 588 = 205.8 s; 147 s of it are 147 / 588 = a quarter of the run
        assert clock.fraction(0) == pytest.approx(0.25, abs=FEW_SECONDS / 588)

    def test_a_run_whose_stage_1_was_used_up_goes_on_to_stage_2(self) -> None:
        assert TrainingBudget(TEN_MINUTES, elapsed_s=210.0).stage1_is_over(0)

    def test_a_run_interrupted_in_stage_2_goes_on_where_it_was(self) -> None:
        interrupted = TrainingBudget(TEN_MINUTES, elapsed_s=300.0, stage2_began_s=250.0)

        resumed = TrainingBudget(TEN_MINUTES, interrupted.elapsed_s, 0.0, interrupted.stage2_began_s)

        assert resumed.fraction(0) == pytest.approx(interrupted.fraction(0), abs=FEW_SECONDS / 338)
