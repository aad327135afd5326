"""The frozen foundation model at work: it redraws what a student found, prompted with the student's own masks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.progress import Monitor
from uncol.core.volume import Volume, view_slices
from uncol.data.connected_components import largest_component
from uncol.foundation.boxes import can_prompt
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import GeneralizedTeacher
from uncol.foundation.slice_predictor import SlicePredictor
from uncol.inference.result import with_background
from uncol.models.card import ModelCard


def segment_prompted(
    image: Volume,
    labels: Volume,
    card: ModelCard,
    teacher: GeneralizedTeacher,
    cache: EmbeddingCache,
    monitor: Monitor,
) -> Volume:
    """Let the foundation model segment every slice, with one box for each structure that the student found there.

    A box surrounds the structure's largest piece in the slice, with the margin of training. A structure whose piece
    is too small to prompt with is not there.

    Args:
        image: What to segment.
        labels: What the student found.
        card: The student's structures, plane, window and settings.
        teacher: The foundation model.
        cache: Where embeddings are kept.
        monitor: Asked at every slice whether to stop.

    Raises:
        CancelledError: If the monitor says so.
    """
    view = view_slices(image, card.plane)
    predictor = SlicePredictor.of_volume(image, view, card.window, teacher, cache)
    result = np.zeros_like(labels.voxels)
    values = np.array([each.value for each in card.structures], dtype=np.uint8)
    margin = card.config.teachers.box_margin_vox
    pairs = zip(view.stack_from(labels.voxels), view.stack_from(result), strict=True)
    for index, (found, redrawn) in enumerate(pairs):
        monitor.check()
        masks = [largest_component(found == value) for value in values]
        foreground = _answers(predictor, index, masks, margin)
        redrawn[:] = np.array([0, *values], dtype=np.uint8)[with_background(foreground).argmax(0).numpy()]
    return labels.with_voxels(result)


def _answers(predictor: SlicePredictor, index: int, masks: list[NDArray[np.bool_]], margin: float) -> Tensor:
    """Return each structure's probability (N, H, W) in the image's own pixels; 0 without a box."""
    answers = torch.zeros(len(masks), predictor.rows, predictor.columns)
    asked = [number for number, mask in enumerate(masks) if can_prompt(mask)]
    if asked:
        boxes = np.stack([predictor.box_round(masks[number], margin) for number in asked])
        answers[asked] = predictor.to_native(predictor.predict(index, boxes).probabilities)
    return answers
