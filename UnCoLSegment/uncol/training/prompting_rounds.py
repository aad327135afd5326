"""When the generalized teacher has its turn in a run, and how much of the time it may take."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from uncol.core.progress import Monitor, Phase
from uncol.data.cases import SliceAddress
from uncol.training.generalized_teacher import GeneralizedOpinions, Probabilities

_STUDENTS_OWN_S = 60.0
"""What of a time budget is the student's alone, in s; the generalized teacher may take a part of the rest."""
_CARRY_PART = 0.45
"""Part of that rest after which annotated slices are not carried on further."""
_LARGEST_PART = 0.5
"""Part of that rest that all turns together may take."""


class PromptingRounds:
    """The turns of the generalized teacher: before stage 1, at its end, and in every round of stage 2.

    Args:
        opinions: What it is asked for.
        rounds: How often in stage 2 it is prompted anew.
        total_s: Seconds of the whole run; None where steps are counted, so that a turn takes as long as it takes.
        notes: The notes of the run; what there was no time for is added.
    """

    def __init__(
        self,
        opinions: GeneralizedOpinions,
        rounds: int,
        total_s: float | None,
        notes: list[str],
    ) -> None:
        self._opinions, self._rounds, self._total_s, self._notes = opinions, rounds, total_s, notes
        self.rounds_done = 0
        self.elapsed_s = 0.0
        """Seconds that its turns have taken."""

    def are_due(self, stage2_fraction: float) -> bool:
        """Say whether the next round has come, at a part of stage 2 in [0, 1]."""
        return self.rounds_done < self._rounds and stage2_fraction >= self.rounds_done / self._rounds

    def carry_annotated(self, monitor: Monitor) -> float:
        """Let it carry annotated slices on, and return the seconds that its next turn will want; 0 without a budget."""
        opinions = self._opinions
        name = "Carrying annotated slices on with the foundation model"
        phase = monitor.phase(name, opinions.calls_to_carry, self._seconds_left(_CARRY_PART))
        opinions.carry_and_score(phase)
        self._end_turn(phase, "carry all annotated slices on with the foundation model")
        left = self._seconds_left(_LARGEST_PART)
        if left is None:
            return 0.0
        answer_s, encode_s = phase.step_s(0.25), phase.step_s(1 - 1 / (4 * opinions.structure_count))
        return min(left, opinions.calls_to_prompt * answer_s + opinions.unseen_slices * encode_s)

    def score_prompts(
        self, specialized: Probabilities, held_out: Sequence[SliceAddress], spare_s: float | None, monitor: Monitor
    ) -> None:
        """Let it answer what stage 1 did not see, prompted as it will be in stage 2.

        Args:
            specialized: The specialized teacher, whose masks give boxes.
            held_out: The slices.
            spare_s: Seconds that the run can spare; None where steps are counted.
            monitor: Told about every slice.
        """
        name = "Trying the foundation model on annotated slices"
        phase = monitor.phase(name, len(held_out), self._seconds_left(_LARGEST_PART, spare_s))
        self._opinions.score_prompts(specialized, held_out, phase)
        self.elapsed_s += phase.elapsed_s

    def prompt(
        self, specialized: Probabilities, specialized_reliability: Tensor, spare_s: float | None, monitor: Monitor
    ) -> None:
        """Carry out a round: ask about every unannotated slice, with fresh boxes.

        Args:
            specialized: The specialized teacher, whose masks give boxes.
            specialized_reliability: How much of its certainty it deserves (C,).
            spare_s: Seconds that the run can spare; None where steps are counted.
            monitor: Told about every slice.
        """
        name = f"Asking the foundation model (round {self.rounds_done + 1})"
        phase = monitor.phase(name, len(self._opinions.slices), self._seconds_left(_LARGEST_PART, spare_s))
        self._opinions.prompt(specialized, phase, specialized_reliability)
        self._end_turn(phase, "ask the foundation model about all other slices")
        self.rounds_done += 1

    def go_on(self, rounds_done: int, elapsed_s: float) -> None:
        """Go on after so many rounds and seconds of an earlier sitting, with its votes in the opinions."""
        self.rounds_done, self.elapsed_s = rounds_done, elapsed_s
        if rounds_done:
            self._opinions.count_votes()

    def _seconds_left(self, part: float, spare_s: float | None = None) -> float | None:
        """Return how long it may be asked from now on, in s; None without a time budget."""
        if self._total_s is None:
            return None
        left = max(0.0, part * (self._total_s - _STUDENTS_OWN_S) - self.elapsed_s)
        return left if spare_s is None else min(left, spare_s)

    def _end_turn(self, phase: Phase, task: str) -> None:
        self.elapsed_s += phase.elapsed_s
        if phase.time_is_up:
            self._notes.append(
                f"There was no time to {task}, so the model learned less from slices that nobody annotated. "
                "Give more minutes."
            )
