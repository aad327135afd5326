"""The new model beside the earlier one, on slices that neither has learned from."""

from __future__ import annotations

from dataclasses import replace

import torch

from uncol.core.learned_slices import read_hashes
from uncol.core.model_card import ModelCard
from uncol.core.verdict import Verdict, judged, not_compared
from uncol.data.cases import Pool
from uncol.models.card import Model
from uncol.training.setup import frame_cases
from uncol.training.specialized_teacher import dice_on_held_out
from uncol.training.state import TrainingState


def compare(state: TrainingState, measured: dict[int, float]) -> Verdict | None:
    """Compare the moving average with the earlier model on what stage 1 did not see; None without an earlier model.

    What is held out then is of no use for a comparison if the card of one of the models before does not say what that
    one has learned from (`learned_slices.seen_slices`).

    Args:
        state: The training, whose stage 1 ends.
        measured: Dice of the moving average by class on what is held out.
    """
    setup, earlier = state.setup, state.setup.earlier
    if earlier is None:
        return None
    if any(each is not None and read_hashes(each.card.learned_slices) is None for each in (earlier, setup.base)):
        return not_compared("it or its base does not say which slices it has learned from")
    dims, own_dims = earlier.card.config.student.dims, state.config.student.dims
    if dims != own_dims:
        return not_compared(f"its student is {dims}D, this one {own_dims}D")
    if earlier.card.plane != state.card.plane:
        return not_compared(f"it looks at {earlier.card.plane} slices, this one at {state.card.plane} ones")
    if not state.pool.held_out:
        return not_compared(
            "none of the slices annotated since could be spared for it; at least eight annotated slices that hold a "
            "structure are needed, not counting the first and the last, and some of them must be new"
        )
    names = {label: each.name for label, each in enumerate(state.card.structures, start=1)}
    old, new = ({names[label]: score for label, score in each.items()} for each in (_dice_of(earlier, state), measured))
    known = {each.name for each in earlier.card.structures}
    return judged({name: old[name] for name in old if name in known}, new, len(state.pool.held_out_slices))


def _dice_of(earlier: Model, state: TrainingState) -> dict[int, float]:
    """Return the earlier model's Dice by the new one's classes on what is held out, seen as it sees images."""
    place = {each.name: label for label, each in enumerate(state.card.structures, start=1)}
    classes = torch.tensor([0, *(place.get(each.name, 0) for each in earlier.card.structures)])
    student = earlier.student.to(state.device)
    return dice_on_held_out(student, _pool_for(earlier.card, state), state.card.class_count, state.device, classes)


def _pool_for(earlier: ModelCard, state: TrainingState) -> Pool:
    """Return what training draws from, in the frame of the earlier model; the same slices are held out of it."""
    card = replace(earlier, structures=state.card.structures, is_connected=())
    frames = [
        (each.pixel_mm, each.slice_mm, each.window, each.grey_values, each.config.data, each.config.student.dims)
        for each in (card, state.card)
    ]
    return state.pool if frames[0] == frames[1] else frame_cases(state.setup, card)[1]
