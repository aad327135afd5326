"""The frozen foundation model prompted with a student's masks: boxes, margins and what cannot be prompted."""

from __future__ import annotations

import numpy as np
import pytest
from threshold_teacher import ThresholdTeacher

from uncol.benchmark.prompted import segment_prompted
from uncol.core.config import Config, TeacherConfig
from uncol.core.errors import CancelledError
from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from uncol.foundation.embeddings import EmbeddingCache
from uncol.models.card import ModelCard

CARD = ModelCard(
    structures=(Structure(4, "first"), Structure(7, "second")),
    plane="axial",
    pixel_mm=1.0,
    slice_mm=1.0,
    window=(0.0, 1.0),
    config=Config(teachers=TeacherConfig(box_margin_vox=1.0)),
)
GRID = np.diag([-1.0, -1.0, 1.0, 1.0])  # columns run to the left, rows to the back: as radiologists look at it


def redraw(image: np.ndarray, labels: np.ndarray, *, stop: bool = False) -> np.ndarray:
    volume = Volume(image[None].astype(np.float32), GRID)
    found = Volume(labels[None].astype(np.uint8), GRID)
    return segment_prompted(volume, found, CARD, ThresholdTeacher(12), EmbeddingCache(None), lambda: stop).voxels[0]


def canvas(*parts: tuple[tuple[slice, slice], int]) -> np.ndarray:
    image = np.zeros((12, 12))
    for part, value in parts:
        image[part] = value
    return image


def test_a_structure_grows_to_what_is_bright_within_the_margin_of_its_box():
    # Found in rows 3 to 5 and columns 3 to 5, bright from 1 to 8: the box with its margin reaches from 2 to 6.
    result = redraw(canvas((np.s_[1:9, 1:9], 1)), canvas((np.s_[3:6, 3:6], 4)))

    assert np.array_equal(result, canvas((np.s_[2:7, 2:7], 4)))


def test_only_the_largest_piece_is_prompted_with():
    labels = canvas((np.s_[1:4, 1:4], 7), (np.s_[9:11, 9:11], 7))

    assert np.array_equal(
        redraw(canvas((np.s_[1:4, 1:4], 1), (np.s_[9:11, 9:11], 1)), labels), canvas((np.s_[1:4, 1:4], 7))
    )


def test_a_piece_of_less_than_eight_pixels_is_not_there():
    assert not redraw(np.ones((12, 12)), canvas((np.s_[3:4, 3:10], 4))).any()


def test_two_structures_keep_their_own_values():
    labels = canvas((np.s_[1:4, 1:4], 4), (np.s_[7:10, 7:10], 7))

    result = redraw(canvas((np.s_[1:4, 1:4], 1), (np.s_[7:10, 7:10], 1)), labels)

    assert np.array_equal(result, labels)


def test_it_stops_when_asked():
    with pytest.raises(CancelledError):
        redraw(np.ones((12, 12)), canvas((np.s_[3:6, 3:6], 4)), stop=True)
