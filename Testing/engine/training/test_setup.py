"""The frame in which a run sees its cases: spacing of the 2D and the 3D student, and what a base model must be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from uncol.core.config import Config, DataConfig, StudentConfig
from uncol.core.errors import ConfigError
from uncol.core.jobs import Structure
from uncol.core.volume import Volume, view_slices
from uncol.data.cases import LabeledCase, SliceAddress
from uncol.data.patch_dataset import VolumePool
from uncol.data.slice_dataset import SlicePool
from uncol.foundation.embeddings import EmbeddingCache
from uncol.inference.student import SliceInputs
from uncol.models.checkpoints import Model, ModelCard, build_student
from uncol.training.setup import card_for, frame_cases
from uncol.training.state import FineTuneSetup

BALL = Structure(1, "ball")


def setup_of(spacing_ijk: tuple[float, float, float], **choices: Any) -> FineTuneSetup:
    """One annotated case of 6 slices of 20 x 30 voxels."""
    labels = np.zeros((6, 20, 30), dtype=np.uint8)
    labels[2:4, 8:12, 10:20] = 1
    ijk_to_ras = np.diag([-spacing_ijk[0], -spacing_ijk[1], spacing_ijk[2], 1.0])
    case = LabeledCase(Volume(labels * 100.0, ijk_to_ras), Volume(labels, ijk_to_ras))
    config = Config(
        student=StudentConfig(dims=choices.pop("dims", 2), channels=(4, 4, 4, 4, 4)),
        data=DataConfig(patch_vox=(16, 16, 32), voxel_mm=choices.pop("voxel_mm", None)),
    )
    plane = choices.pop("plane", "axial")
    return FineTuneSetup([case], [], (BALL,), plane, config, torch.device("cpu"), None, EmbeddingCache(None), **choices)


@pytest.mark.parametrize(
    ("spacing_ijk", "voxel_mm", "expected"),
    [
        pytest.param((0.5, 0.5, 0.5), None, (0.5, 0.5), id="the image's own"),
        pytest.param((0.5, 0.5, 0.5), 1.25, (1.25, 1.25), id="as wanted"),
        pytest.param((0.5, 0.8, 5.0), None, (5.0, 0.5), id="thick slices stay"),
        pytest.param((0.5, 0.5, 5.0), 2.0, (5.0, 2.0), id="thick slices stay, pixels as wanted"),
    ],
)
def test_the_3d_student_sees_voxels_of_one_spacing(spacing_ijk, voxel_mm, expected: tuple[float, float]):
    card = card_for(setup_of(spacing_ijk, dims=3, voxel_mm=voxel_mm))

    assert (card.slice_mm, card.pixel_mm) == expected


def test_the_window_is_that_of_the_structures_to_be_learned_whatever_else_is_annotated():
    ball_and_bone = np.zeros((6, 20, 30), dtype=np.uint8)
    ball_and_bone[2:4, 8:12, 10:20], ball_and_bone[4:, 8:12, 10:20] = 1, 2
    hu = np.array([-1000.0, 100.0, 1500.0])[ball_and_bone]
    case = LabeledCase(Volume(hu, np.eye(4)), Volume(ball_and_bone, np.eye(4)))
    setup = replace(setup_of((1.0, 1.0, 2.0)), cases=[case])

    assert card_for(setup).window == (-160, 240)
    assert card_for(replace(setup, structures=(Structure(2, "bone"),))).window == (-160, 1500)


def test_slices_are_drawn_for_a_2d_student_and_patches_for_a_3d_one():
    for dims, kind in ((2, SlicePool), (3, VolumePool)):
        setup = setup_of((1.0, 1.0, 2.0), dims=dims)

        assert isinstance(frame_cases(setup, card_for(setup))[1], kind)


def test_a_coarser_student_halves_every_side():
    setup = setup_of((1.0, 1.0, 1.0), dims=3, voxel_mm=2.0)

    stacks, _ = frame_cases(setup, card_for(setup))

    assert stacks[0].images.shape == (3, 10, 15)
    assert stacks[0].labels[1].sum() == 2 * 5  # slices 2 and 3, rows 8 to 12, columns 10 to 20, halved


def base_from(setup: FineTuneSetup) -> Model:
    """The model that a run would begin with."""
    card: ModelCard = card_for(setup)
    return Model(card, build_student(card))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_student_is_used_in_the_plane_in_which_it_was_trained_whatever_that_of_its_base(dims: int):
    base = base_from(setup_of((0.5, 0.8, 3.0), dims=dims))
    setup = setup_of((0.5, 0.8, 3.0), dims=dims, plane="sagittal", base=base)

    card = card_for(setup)

    assert card.plane == frame_cases(setup, card)[0][0].view.plane == "sagittal"
    # Lengths and grey values stay: the base's weights know things of that size.
    assert (card.pixel_mm, card.slice_mm, card.window) == (0.5, 3.0, base.card.window)


def test_a_2d_student_sees_the_slices_that_it_learned_from_in_another_plane_than_its_bases():
    setup = setup_of((0.5, 0.8, 3.0), plane="sagittal", base=base_from(setup_of((0.5, 0.8, 3.0))))
    card, image = card_for(setup), setup.cases[0].image
    pool = frame_cases(setup, card)[1]

    learned = pool.inputs([SliceAddress(0, index) for index in range(30)])
    seen = SliceInputs(image, view_slices(image, card.plane), card).of(range(30))

    # 6 rows of 3 mm and 20 columns of 0.8 mm in pixels of 0.5 mm
    assert seen.shape == (30, 7, 36, 32)
    torch.testing.assert_close(learned[..., :36, :32], seen)


def test_a_base_model_of_other_dimensions_is_refused():
    base = base_from(setup_of((1.0, 1.0, 1.0)))

    with pytest.raises(ConfigError, match=r"The base model's student is 2D, this run's is 3D\. Choose another base"):
        card_for(setup_of((1.0, 1.0, 1.0), dims=3, base=base))
