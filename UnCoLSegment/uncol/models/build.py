"""The student that a card describes."""

from __future__ import annotations

from torch import nn

from uncol.core.model_card import ModelCard
from uncol.models.paper_config import PaperStudentConfig
from uncol.models.paper_student import PaperStudent
from uncol.models.unet import Student2D, Student3D

_PAPER_SIZES = {
    ("paper", 2): PaperStudentConfig.paper_2d,
    ("paper", 3): PaperStudentConfig.paper_3d,
    ("paper-small", 2): PaperStudentConfig.small_2d,
    ("paper-small", 3): PaperStudentConfig.small_3d,
}
"""By kind and dimensions of the student."""


def build_student(card: ModelCard) -> nn.Module:
    """Return an untrained student of the card's kind and size."""
    config, neighbor_count = card.config.student, card.config.data.neighbor_count
    if config.kind != "unet":
        size = _PAPER_SIZES[config.kind, config.dims]()
        return PaperStudent(size, neighbor_count if config.dims == 2 else 1, card.class_count)
    if config.dims == 3:
        return Student3D(config, card.class_count)
    return Student2D(config, neighbor_count, card.class_count)
