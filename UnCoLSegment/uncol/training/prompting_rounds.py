"""When the generalized teacher is prompted in a training, and how much of the time it may take."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from uncol.core.progress import Monitor, Phase
from uncol.data.cases import SliceIndex
from uncol.training.generalized_teacher import GeneralizedTeacher, Probabilities

_STUDENTS_OWN_S = 60.0
"""What of a time budget is the student's alone, in s; the generalized teacher may take a part of the rest."""
_PROPAGATION_PART = 0.45
"""Part of that rest after which annotated slices are not propagated further."""
_PROMPT_PIXELS = 18_000
"""Pixels of a training step that take as long as a prompt, on two cores (docs/benchmarks/speed.md)."""
_LARGEST_PART = 0.5
"""Part of that rest that all prompting together may take."""


class PromptingRounds:
    """The generalized teacher's prompts: before stage 1, at its end, and in every round of stage 2.

    Args:
        teacher: What it predicts.
        rounds: How often in stage 2 it is prompted anew.
        total_s: Seconds of the whole run; None where steps are counted, so that prompting takes as long as it takes.
        notes: The notes of the run; what there was no time for is added.
    """

    def __init__(
        self,
        teacher: GeneralizedTeacher,
        rounds: int,
        total_s: float | None,
        notes: list[str],
    ) -> None:
        self._teacher, self._rounds, self._total_s, self._notes = teacher, rounds, total_s, notes
        self.rounds_done = 0
        self.elapsed_s = 0.0
        """Seconds that prompting has taken."""

    def are_due(self, stage2_fraction: float) -> bool:
        """Say whether the next round has come, at a part of stage 2 in [0, 1]."""
        return self.rounds_done < self._rounds and stage2_fraction >= self.rounds_done / self._rounds

    def propagate_annotations(self, monitor: Monitor) -> float:
        """Let it propagate annotated slices, and return the seconds that a round will want."""
        teacher = self._teacher
        name = "Propagating annotated slices with the foundation model"
        if self._total_s is None:
            teacher.expect_propagation()
            monitor = monitor.timed(teacher.time_left.seconds_left)
        phase = monitor.phase(name, teacher.steps_to_propagate, self._seconds_left(_PROPAGATION_PART))
        teacher.propagate_and_validate(phase)
        self._note_time(phase, "propagate all annotated slices with the foundation model")
        left = self._seconds_left(_LARGEST_PART)
        if left is None:
            teacher.expect_round()
            return teacher.time_left.seconds_left() or 0.0
        prompt_s, encode_s = phase.step_s(0.25), phase.step_s(1 - 1 / (4 * teacher.structure_count))
        return min(left, teacher.prompts_per_round * prompt_s + teacher.unseen_slices * encode_s)

    def foreseen_step_s(self, pixels: int) -> float | None:
        """Return what a training step of so many pixels will take, in s, by what prompts take; None before any."""
        prompt_s = self._teacher.time_left.prompt_s
        return None if prompt_s is None else prompt_s * pixels / _PROMPT_PIXELS

    def score_prompts(
        self, specialized: Probabilities, held_out: Sequence[SliceIndex], spare_s: float | None, monitor: Monitor
    ) -> None:
        """Let it predict what stage 1 did not see, prompted as it will be in stage 2.

        Args:
            specialized: The specialized teacher, whose masks give boxes.
            held_out: The slices.
            spare_s: Seconds that the run can spare; None where steps are counted.
            monitor: Told about every slice.
        """
        name = "Trying the foundation model on annotated slices"
        phase = monitor.phase(name, len(held_out), self._seconds_left(_LARGEST_PART, spare_s))
        self._teacher.score_prompts(specialized, held_out, phase)
        self.elapsed_s += phase.elapsed_s

    def prompt(
        self, specialized: Probabilities, specialized_reliability: Tensor, spare_s: float | None, monitor: Monitor
    ) -> None:
        """Carry out a round: prompt for every unannotated slice, with fresh boxes.

        Args:
            specialized: The specialized teacher, whose masks give boxes.
            specialized_reliability: Dice (C,) by which its certainty is discounted.
            spare_s: Seconds that the run can spare; None where steps are counted.
            monitor: Told about every slice.
        """
        name = f"Prompting the foundation model (round {self.rounds_done + 1})"
        if self._total_s is None:
            self._teacher.expect_round()
            monitor = monitor.timed(self._teacher.time_left.seconds_left)
        phase = monitor.phase(name, len(self._teacher.slices), self._seconds_left(_LARGEST_PART, spare_s))
        self._teacher.prompt(specialized, phase, specialized_reliability)
        self._note_time(phase, "prompt the foundation model for all other slices")
        self.rounds_done += 1

    def while_fusing(self, monitor: Monitor) -> Monitor:
        """Return a monitor that tells how long it takes to fuse its predictions with other sources."""
        self._teacher.expect_fusing()
        return monitor.timed(self._teacher.time_left.seconds_left)

    def go_on(self, rounds_done: int, elapsed_s: float) -> None:
        """Go on after so many rounds and seconds of an earlier sitting, with its predictions loaded."""
        self.rounds_done, self.elapsed_s = rounds_done, elapsed_s
        if rounds_done:
            self._teacher.fuse_candidates()

    def _seconds_left(self, part: float, spare_s: float | None = None) -> float | None:
        """Return how long it may be prompted from now on, in s; None without a time budget."""
        if self._total_s is None:
            return None
        left = max(0.0, part * (self._total_s - _STUDENTS_OWN_S) - self.elapsed_s)
        return left if spare_s is None else min(left, spare_s)

    def _note_time(self, phase: Phase, task: str) -> None:
        self.elapsed_s += phase.elapsed_s
        if phase.time_is_up:
            self._notes.append(
                f"There was no time to {task}, so the model learned less from slices that nobody annotated. "
                "Give more minutes."
            )
