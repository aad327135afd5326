"""The end of the first pass of stage 1: what was held out of it is scored, and learned from."""

from __future__ import annotations

import torch

from uncol.core.progress import Monitor
from uncol.training.comparison import compare
from uncol.training.specialized_teacher import dice_on_held_out
from uncol.training.state import TrainingState


def end_first_pass(state: TrainingState, monitor: Monitor) -> None:
    """Score both teachers on what stage 1 has not seen so far, which is learned from, too, from now on; once.

    There the moving average is compared with the earlier model, if one is named. Where no slice was held out, the
    specialized teacher is taken to be as good as the generalized one; a class in none of them is taken to be as good as
    the others are on average.
    """
    if state.is_scored:
        return
    class_count = state.card.class_count
    measured = dice_on_held_out(state.specialized_teacher, state.pool, class_count, state.device)
    state.held_out_dice = {state.card.structures[label - 1].name: round(each, 3) for label, each in measured.items()}
    state.verdict = state.verdict or compare(state, measured)
    if measured:
        mean = sum(measured.values()) / len(measured)
        state.specialized_reliability = torch.tensor([measured.get(label, mean) for label in range(class_count)])
    elif state.generalized_teacher is not None:
        state.specialized_reliability = state.generalized_teacher.reliability
    if state.prompting is not None:
        slices = state.pool.held_out_slices
        state.prompting.score_prompts(state.specialized_slices, slices, state.budget.spare_s, monitor)
    state.pool.release_held_out()
    state.is_scored = True
