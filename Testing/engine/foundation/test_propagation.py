"""Propagating a structure from slice to slice: when it goes on, when it has ended, and where it may reach."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import ThresholdTeacher

from uncol.core.progress import UNWATCHED
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.prompting import SlicePredictor
from uncol.foundation.propagation import PropagatedMask, annotated_mask, margin_of, propagate

SIDE = 32


def predictor_of(stack: np.ndarray, **teacher: float) -> SlicePredictor:
    """Slices in which what is brighter than 0.5 is found inside a box."""
    return SlicePredictor(stack, (1.0, 1.0), (0.0, 1.0), ThresholdTeacher(SIDE, **teacher), EmbeddingCache(None))


def slices_with(*squares: tuple[int, int, float] | None) -> np.ndarray:
    """One 8 x 8 square (row, column, grey value) in each slice, or nothing."""
    stack = np.zeros((len(squares), SIDE, SIDE), dtype=np.float32)
    for each, place in zip(stack, squares, strict=True):
        if place is not None:
            each[place[0] : place[0] + 8, place[1] : place[1] + 8] = place[2]
    return stack


def propagated(stack: np.ndarray, **teacher: float) -> dict[int, PropagatedMask]:
    """Propagate the structure of slice 0 through all others, with a margin of two pixels."""
    predictor = predictor_of(stack, **teacher)
    start = annotated_mask(predictor, 0, stack[0] > 0.1)
    assert start is not None
    phase = UNWATCHED.phase("Propagating", len(stack))
    return dict(propagate(predictor, start, range(1, len(stack)), predictor.limits, 2.0, phase))


def test_it_follows_a_structure_that_moves_by_less_than_the_margin() -> None:
    stack = slices_with((8, 8, 0.8), (9, 10, 0.8), (10, 12, 0.8))

    found = propagated(stack)

    assert list(found) == [1, 2]
    np.testing.assert_array_equal(found[2].mask, stack[2] > 0.1)


@pytest.mark.parametrize(
    ("stack", "teacher"),
    [
        pytest.param(slices_with((8, 8, 0.8), None, (8, 8, 0.8)), {}, id="nothing is there"),
        pytest.param(slices_with((8, 8, 0.8), (8, 20, 0.8)), {}, id="it lies elsewhere"),
        # an even structure is granted a deviation of 0.02: 0.05 of the window is more than twice that
        pytest.param(slices_with((8, 8, 0.8), (8, 8, 0.75)), {}, id="it looks different"),
        pytest.param(slices_with((8, 8, 0.8), (8, 8, 0.8)), {"quality": 0.4}, id="poor by its own word"),
        pytest.param(slices_with((8, 8, 0.8), (8, 8, 0.8)), {"probability": 0.6}, id="hardly sure"),
    ],
)
def test_it_ends_where(stack: np.ndarray, teacher: dict[str, float]) -> None:
    assert propagated(stack, **teacher) == {}


def test_an_answer_stays_near_the_box_that_was_asked() -> None:
    stack = slices_with((8, 8, 0.8), (8, 8, 0.8))
    stack[1, 8:16] = 0.8  # a bar across the whole slice

    found = propagated(stack)[1].mask

    columns = np.flatnonzero(found.any(0))
    assert (columns[0], columns[-1]) == (6, 17)


def test_an_annotation_too_small_for_the_frame_starts_nothing() -> None:
    predictor = predictor_of(np.zeros((1, 400, 400), np.float32))
    pixel = np.zeros((400, 400), dtype=bool)
    pixel[200, 200] = True

    assert annotated_mask(predictor, 0, pixel) is None


def test_the_margin_is_the_distance_of_slices_and_two_pixels_at_least() -> None:
    predictor = predictor_of(np.zeros((1, 64, 64), np.float32))

    # 64 mm over 32 pixels: a pixel of the frame is 2 mm
    assert (margin_of(predictor, 1.0), margin_of(predictor, 10.0)) == (2.0, 5.0)
