"""The parts of every kind of student, and the axes of its weights that count classes."""

from __future__ import annotations

import pytest
from given import BALL

from uncol.core.config import Config, StudentConfig
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.models.build import build_student
from uncol.models.parts import class_axes, part_of

CUBE = Structure(7, "cube")
KINDS = [("unet", 2), ("unet", 3), ("paper-small", 2), ("paper-small", 3)]


def card_of(kind: str, dims: int, structures: tuple[Structure, ...] = (BALL, CUBE)) -> ModelCard:
    config = Config(student=StudentConfig(kind=kind, dims=dims, channels=(4, 4, 8, 8, 8)))
    return ModelCard(structures, "axial", 1.0, 1.0, (0, 1), config)


@pytest.mark.parametrize(("kind", "dims"), KINDS)
def test_every_student_has_an_encoder_a_decoder_and_a_head_that_alone_knows_classes(kind: str, dims: int) -> None:
    card = card_of(kind, dims)
    names = build_student(card).state_dict()

    assert {part_of(name) for name in names} == {"encoder", "decoder", "head"}
    assert {part_of(name) for name in class_axes(card)} == {"head"}
    # As many levels up as down, so that no decoder is taken for an encoder: their weights are about as many.
    counts = {part: sum(part_of(name) == part and name.endswith("weight") for name in names) for part in ("decoder",)}
    assert counts["decoder"] >= 7


def test_the_parts_of_the_students_by_name() -> None:
    assert part_of("unet.down_4.convs.conv_0.conv.weight") == "encoder"
    assert part_of("unet.upcat_1.convs.conv_0.conv.weight") == "decoder"
    assert part_of("unet.final_conv.bias") == "head"
    assert part_of("unet.model.1.submodule.1.submodule.0.conv.unit0.conv.weight") == "encoder"
    assert part_of("unet.model.1.submodule.1.submodule.2.0.conv.weight") == "decoder"
    assert part_of("unet.model.2.1.conv.unit0.conv.weight") == "head"
    assert part_of("attention.key.weight") == part_of("side_encoder.norm.bias") == "encoder"
    assert part_of("backbone.down.0.0.conv.weight") == part_of("backbone.convolutions.4.0.conv.weight") == "encoder"
    assert part_of("backbone.merge.0.0.conv.weight") == part_of("backbone.up.3.conv.weight") == "decoder"


@pytest.mark.parametrize(
    ("kind", "dims", "expected"),
    [
        ("unet", 2, {"unet.final_conv.weight": [0], "unet.final_conv.bias": [0]}),
        ("paper-small", 2, {"heads.weight": [0], "heads.bias": [0]}),
        ("paper-small", 3, {"heads.1.weight": [0], "heads.1.bias": [0]}),
    ],
)
def test_the_axes_that_count_classes(kind: str, dims: int, expected: dict[str, list[int]]) -> None:
    assert class_axes(card_of(kind, dims)) == expected


def test_a_3d_head_counts_classes_as_inputs_too_and_transposed_where_it_doubles() -> None:
    axes = class_axes(card_of("unet", 3, tuple(Structure(value, str(value)) for value in range(1, 4))))

    assert axes["unet.model.2.0.conv.weight"] == [1]
    assert axes["unet.model.2.1.conv.unit0.conv.weight"] == [0, 1]
