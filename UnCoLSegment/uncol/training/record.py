"""The finished model, and what its card says about the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from uncol import __version__
from uncol.core.config import FEW_STEPS
from uncol.core.model_card import ModelCard
from uncol.core.progress import UNWATCHED, Monitor, Progress
from uncol.core.records import to_document
from uncol.core.verdict import not_compared
from uncol.data.annotations import complete_slices
from uncol.data.cases import FramedCase
from uncol.data.connected_components import is_connected
from uncol.models.card import Model
from uncol.models.checkpoints import remove_checkpoint, save_model
from uncol.training.learned_slices import record_learned
from uncol.training.state import TrainingState

_WHY_NOT = {
    False: "nothing was held out to compare them on",
    True: "training ended before a first pass was over; give more minutes or steps",
}
"""By whether something was held out."""


def finish(state: TrainingState, folder: Path, monitor: Monitor = UNWATCHED) -> Model:
    """Save the result of a training whose budget is spent, and remove its checkpoint."""
    model = save_learned(state, folder, monitor)
    remove_checkpoint(folder)
    return model


def save_learned(state: TrainingState, folder: Path, monitor: Monitor = UNWATCHED) -> Model:
    """Save the result of a training whose budget is spent; its checkpoint stays."""
    monitor.report(Progress("Saving the model", 1.0, 0.0, state.step, state.losses))
    model = model_of(state)
    save_model(model, folder)
    return model


def model_of(state: TrainingState) -> Model:
    """Return what was learned, the specialized teacher as a rule, with the record of its training."""
    card, teacher, config = state.card, state.generalized_teacher, state.config
    training = {
        "threads": torch.get_num_threads(),
        "annotated_slices": [len(complete_slices(each.native_labels)) for each in state.framed],
        "slices": [len(each.native_labels) for each in state.framed],
        "method": config.method,
        "seed": config.seed,
        "versions": {"uncol": __version__, "torch": str(torch.__version__)},
        "steps": state.step,
        "seconds": round(state.budget.elapsed_s, 1),
        "device": state.device.type,
        "data_sha256": state.setup.fingerprint(),
        "base_sha256": None if state.setup.base is None else state.setup.base.sha256,
        "generalized_teacher": state.teacher_name,
        "generalized_teacher_license": state.setup.teacher_license,
        "generalized_reliability": None if teacher is None else _by_name(card, teacher.reliability),
        "specialized_reliability": _by_name(card, state.specialized_reliability),
        "held_out_dice": state.held_out_dice,
        "curve": state.curve.points,
        "notes": [*state.notes, *_says_few_steps(state), *_says_not_found(state)],
    }
    if state.setup.earlier is not None:
        training["verdict"] = to_document(state.verdict or not_compared(_WHY_NOT[bool(state.pool.held_out)]))
    connected = which_are_connected(state.framed, card.class_count)
    learned = record_learned(state.setup, state.framed)
    card = replace(card, is_connected=connected, training=training, learned_slices=learned)
    return Model(card, state.result.eval().requires_grad_(False))


def _says_few_steps(state: TrainingState) -> list[str]:
    if state.config.budget.minutes is None or state.step >= FEW_STEPS:
        return []
    return [f"There was time for {state.step} steps only, too few to learn much. Give more minutes."]


def _says_not_found(state: TrainingState) -> list[str]:
    names = ", ".join(state.not_found)
    return [f"Not found even on annotated slices: {names}. Give more minutes, or more steps."] if names else []


def _by_name(card: ModelCard, values: Tensor) -> dict[str, float]:
    """Return values of all classes (C,) by the structures' names, background left out."""
    return {each.name: round(value, 3) for each, value in zip(card.structures, values[1:].tolist(), strict=True)}


def which_are_connected(framed: Sequence[FramedCase], class_count: int) -> tuple[bool, ...]:
    """Return whether annotated slices show each structure in one piece."""
    annotated = [(stack.native_labels, complete_slices(stack.native_labels)) for stack in framed]
    return tuple(
        is_connected(labels[index] == structure for labels, indices in annotated for index in indices)
        for structure in range(1, class_count)
    )
