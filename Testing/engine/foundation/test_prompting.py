"""Slices as a foundation model sees them: what it is shown, how boxes are answered and made from masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from doubles import ThresholdTeacher

from uncol.core.errors import NotFiniteError
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.prompting import SlicePredictor


def predictor_of(stack: np.ndarray, spacing_mm: tuple[float, float] = (1.0, 1.0), *, side: int = 16) -> SlicePredictor:
    """Slices whose window is 0 to 100."""
    return SlicePredictor(stack, spacing_mm, (0.0, 100.0), ThresholdTeacher(side), EmbeddingCache(None))


def slices(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, (count, 8, 8)).astype(np.int16)


def test_the_teacher_sees_the_windowed_slice_in_its_own_frame() -> None:
    image = predictor_of(np.array([[[0, 50], [100, 200]]], dtype=np.int16)).image(0)

    # 2 x 2 pixels enlarged to 16 x 16; the corners keep their values: 0, 50, 100 and 100 of 100
    assert image.shape == (16, 16)
    assert image[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == pytest.approx([0, 0.5, 1, 1])


def test_boxes_are_answered_in_the_order_they_were_asked() -> None:
    predictor = predictor_of(np.full((1, 8, 16), 100, dtype=np.int16))

    found = predictor.predict(0, np.array([[0, 0, 2, 3], [4, 5, 8, 16]], dtype=np.float32))

    # all is bright: as many pixels as the boxes hold
    assert found.probabilities.sum((1, 2)).tolist() == [6, 44]


@pytest.mark.parametrize("broken", [{"probability": float("nan")}, {"quality": float("inf")}], ids=["mask", "quality"])
def test_what_is_no_finite_number_is_an_error_and_not_nothing_found(broken: dict[str, float]) -> None:
    teacher = ThresholdTeacher(16, **broken)  # type: ignore[arg-type]  # of its options
    predictor = SlicePredictor(np.full((1, 8, 8), 100), (1.0, 1.0), (0.0, 100.0), teacher, EmbeddingCache(None))

    with pytest.raises(NotFiniteError, match=r"What threshold finds in a slice is not finite: its weights are broken"):
        predictor.predict(0, np.array([[0, 0, 4, 4]], dtype=np.float32))


def test_its_length_is_the_number_of_slices() -> None:
    predictor = predictor_of(slices(5))

    assert (len(predictor), predictor.rows, predictor.columns) == (5, 8, 8)


def test_a_flipped_stack_is_read_like_a_copy_of_it() -> None:
    flipped = slices()[::-1, :, ::-1]

    assert torch.equal(predictor_of(flipped).image(0), predictor_of(flipped.copy()).image(0))


@pytest.mark.parametrize(("side", "pixels"), [(64, 1.0), (256, 1.0), (1024, 4.0)])
def test_margins_grow_with_a_frame_larger_than_256_pixels(side: int, pixels: float) -> None:
    assert predictor_of(np.zeros((1, 20, 30)), side=side).pixels(1.0) == pixels


def test_a_mask_becomes_a_box_of_the_frame_with_a_margin_that_ends_at_the_edge() -> None:
    mask = np.zeros((8, 16), dtype=bool)
    mask[2:4, 0:5] = True

    # the frame has two pixels for each of the image's: rows 4 ... 8 and columns 0 ... 10, and one pixel more
    box = predictor_of(np.zeros((1, 8, 16)), side=32).box_round(mask, 1.0)

    assert box.tolist() == [3, 0, 9, 11]


def test_values_go_to_the_frame_and_probabilities_come_back() -> None:
    predictor = predictor_of(np.zeros((1, 8, 16)))

    assert predictor.to_frame(torch.ones(8, 16)).shape == (8, 16)
    assert predictor_of(np.zeros((1, 4, 8)), side=16).to_frame(torch.ones(4, 8)).shape == (8, 16)
    assert predictor_of(np.zeros((1, 4, 8)), side=16).to_native(torch.ones(2, 8, 16)).shape == (2, 4, 8)
