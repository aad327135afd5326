"""How much of a training budget is used: steps, which are repeatable, or seconds, which are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uncol.core.clock import awake_s
from uncol.core.config import BudgetConfig

_EXTENSION, _LATEST_STAGE2 = 0.05, 0.9
_TOLD_AFTER_STEPS = 3
"""Steps of a stage from which its pace can be told."""
_STAGE2_STEPS = 2.2
"""As many steps of stage 1 take as long as one of stage 2, until that is measured."""
_RESERVE_PART = 0.02
"""Part of a time budget that is kept for writing the model."""


class TrainingBudget:
    """Counts steps and seconds of a run, also across an interruption.

    Args:
        budget: Minutes or steps, and the part of stage 1.
        elapsed_s: Seconds that earlier sittings of the same run have used.
        stage1_began_s: When stage 1 began, in seconds of the run.
        stage2_began_s: When stage 2 began, in seconds of the run; None before.
        expected_teacher_s: Seconds that the generalized teacher is expected to take between the stages.
        stage1_part: Part of the budget for stage 1, in [0, 1], where it was extended; None takes the budget's.
        clock: Gives seconds; by default those for which this process could work, so that sleep is no learning.
    """

    def __init__(
        self,
        budget: BudgetConfig,
        elapsed_s: float = 0.0,
        stage1_began_s: float = 0.0,
        stage2_began_s: float | None = None,
        expected_teacher_s: float = 0.0,
        stage1_part: float | None = None,
        clock: Callable[[], float] = awake_s,
    ) -> None:
        self._budget, self._clock = budget, clock
        self._started = clock() - elapsed_s
        self._total_s = None if budget.minutes is None else budget.minutes * 60 * (1 - _RESERVE_PART)
        self.stage1_began_s = stage1_began_s
        self.stage2_began_s = stage2_began_s
        self.expected_teacher_s = expected_teacher_s
        self.stage1_part = budget.stage1_part if stage1_part is None else stage1_part
        """Part of the budget for stage 1, in [0, 1]."""
        self.expected_step_s: float | None = None
        """What a step of stage 1 is expected to take, in s, before there is one; None where nobody knows."""
        self._stopped_at: float | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds that the run has used."""
        return (self._stopped_at or self._clock()) - self._started

    def state(self) -> dict[str, float | None]:
        """Return what was used so far, as the arguments of a budget that goes on from here."""
        names = ("elapsed_s", "stage1_began_s", "stage2_began_s", "expected_teacher_s", "stage1_part")
        return {name: getattr(self, name) for name in names}

    def goes_on(self, elapsed_s: float, **began: Any) -> TrainingBudget:
        """Return the same budget after what an earlier sitting has used (`state`)."""
        return TrainingBudget(self._budget, elapsed_s, clock=self._clock, **began)

    def stop(self) -> None:
        """Count no further: training is over."""
        self._stopped_at = self._clock()

    @property
    def total_s(self) -> float | None:
        """Seconds that the run may use; None when steps are counted."""
        return self._total_s

    def start_stage1(self) -> None:
        """Note that preparation has ended and the first step follows."""
        self.stage1_began_s = self.elapsed_s

    def start_stage2(self) -> None:
        """Note that the generalized teacher has been prompted and stage 2 begins."""
        if self.stage2_began_s is None and self._stage1_steps:
            self.expected_step_s = (self.elapsed_s - self.stage1_began_s) / self._stage1_steps
        self.stage2_began_s = self.elapsed_s

    def extend_stage1(self) -> bool:
        """Give stage 1 a twentieth of the budget more, and return whether that was possible: a tenth is for stage 2."""
        if self.stage1_part >= _LATEST_STAGE2:
            return False
        self.stage1_part = min(_LATEST_STAGE2, self.stage1_part + _EXTENSION)
        return True

    def stage1_is_over(self, step: int) -> bool:
        """Say whether stage 1 has used its part of the budget."""
        return self._stage1_fraction(step) >= 1

    def stage2_fraction(self, step: int) -> float:
        """Return t/T of stage 2, in [0, 1]; 0 before it."""
        if self.stage2_began_s is None:
            return 0.0
        if self._budget.steps is not None:
            first = self._stage1_steps
            return min(1.0, (step - first) / max(1, self._budget.steps - first))
        return min(1.0, (self.elapsed_s - self.stage2_began_s) / max(1e-9, self._seconds - self.stage2_began_s))

    def fraction(self, step: int) -> float:
        """Return t/T of the whole training, in [0, 1]: what the learning rate follows."""
        part = self.stage1_part
        if self.stage2_began_s is None:
            return part * min(1.0, self._stage1_fraction(step))
        return part + (1 - part) * self.stage2_fraction(step)

    def is_over(self, step: int) -> bool:
        """Say whether the budget is used up."""
        return step >= self._budget.steps if self._budget.steps is not None else self.elapsed_s >= self._seconds

    def seconds_left(self, step: int) -> float | None:
        """Return the time to the end, in s: exact for a time budget, estimated for steps; None when it is over."""
        if self._stopped_at is not None:
            return None
        if self._budget.steps is None:
            return max(0.0, self._seconds - self.elapsed_s)
        left = self._budget.steps - step
        if self.stage2_began_s is not None:
            step_s = self._step_s(step - self._stage1_steps, self.stage2_began_s, _STAGE2_STEPS)
            return None if step_s is None else left * step_s
        stage2 = min(left, self._budget.steps - self._stage1_steps)
        step_s = self._step_s(step, self.stage1_began_s)
        return None if step_s is None else (left - stage2 + _STAGE2_STEPS * stage2) * step_s + self.expected_teacher_s

    def _step_s(self, steps: int, began_s: float, expected: float = 1.0) -> float | None:
        """Return what a step of the present stage takes, by those that were taken, else as many as are expected."""
        if steps >= _TOLD_AFTER_STEPS:
            return (self.elapsed_s - began_s) / steps
        return None if self.expected_step_s is None else expected * self.expected_step_s

    @property
    def spare_s(self) -> float | None:
        """Seconds that prompting may take after stage 1 to leave half of the share of stage 2; None for steps."""
        if self._total_s is None:
            return None
        left, part = max(0.0, self._total_s - self.elapsed_s), self.stage1_part
        stage1_s = (self.elapsed_s if self.stage2_began_s is None else self.stage2_began_s) - self.stage1_began_s
        stage2_s = stage1_s * (1 - part) / part if part else left
        return max(0.0, left - stage2_s / 2)

    @property
    def _seconds(self) -> float:
        return self._total_s or 0.0

    @property
    def _stage1_steps(self) -> int:
        least = 1 if self.stage1_part else 0
        return max(least, round((self._budget.steps or 0) * self.stage1_part))

    def _stage1_fraction(self, step: int) -> float:
        if not self.stage1_part:
            return 1.0
        if self._budget.steps is not None:
            return step / self._stage1_steps
        available = self._seconds - self.stage1_began_s - self.expected_teacher_s
        return (self.elapsed_s - self.stage1_began_s) / max(1e-9, self.stage1_part * available)
