"""Tests that a card's student has its kind, its inputs and its outputs."""

from __future__ import annotations

import pytest
import torch

from uncol.core.config import Config, DataConfig, StudentConfig
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.models.build import build_student
from uncol.models.paper_student import PaperStudent
from uncol.models.unet import Student2D, Student3D


@pytest.mark.parametrize(
    ("student", "kind", "image"),
    [
        pytest.param({"channels": (2, 2, 2, 2, 2)}, Student2D, (2, 3, 32, 64), id="U-Net in 2D"),
        pytest.param({"channels": (2, 2, 2, 2, 2), "dims": 3}, Student3D, (1, 1, 16, 32, 32), id="U-Net in 3D"),
        pytest.param({"kind": "paper-small"}, PaperStudent, (2, 3, 32, 64), id="paper in 2D"),
        pytest.param({"kind": "paper-small", "dims": 3}, PaperStudent, (1, 1, 16, 32, 32), id="paper in 3D"),
    ],
)
def test_the_student_of_a_card_takes_its_neighbors_and_answers_for_every_class(
    student: dict[str, object], kind: type[torch.nn.Module], image: tuple[int, ...]
) -> None:
    config = Config(data=DataConfig(neighbor_count=3), student=StudentConfig(**student))  # type: ignore[arg-type]
    card = ModelCard((Structure(7, "liver"), Structure(3, "spleen")), "axial", 1.0, 2.5, (-160.0, 240.0), config)

    built = build_student(card)

    assert isinstance(built, kind)
    assert built(torch.zeros(image)).shape == (image[0], 3, *image[2:])
