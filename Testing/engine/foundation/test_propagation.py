"""Carrying a structure from slice to slice: when it goes on, when it has ended, and where it may reach."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from uncol.data.transforms import SliceFrame, frame_with_longest_side
from uncol.foundation.boxes import mask_of_box
from uncol.foundation.embeddings import EmbeddingCache, PromptableStack
from uncol.foundation.promptable import Decoded
from uncol.foundation.propagation import Answer, carry, known, margin_of, whole_frame

SIDE = 32


class GreyInsideTheBox:
    """A foundation model that finds what is not dark inside a box; how sure it is of itself can be chosen."""

    name = identity = "grey-inside-the-box"

    def __init__(self, probability: float = 1.0, quality: float = 1.0) -> None:
        self.probability, self.quality = probability, quality

    def frame_of(self, rows: int, columns: int, spacing_mm: tuple[float, float]) -> SliceFrame:
        return frame_with_longest_side(rows, columns, spacing_mm, SIDE)

    def encode(self, image: Tensor) -> Tensor:
        return image[None].half()

    def decode(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> Decoded:
        inside = [torch.from_numpy(mask_of_box(box, frame.rows, frame.columns)) for box in boxes.numpy()]
        found = (torch.stack(inside) & (embedding > 0.1)).float() * self.probability
        return Decoded(found, torch.full((len(boxes),), self.quality))


def slices_with(*squares: tuple[int, int, float] | None) -> np.ndarray:
    """One 8 x 8 square (row, column, grey value) in each slice, or nothing."""
    stack = np.zeros((len(squares), SIDE, SIDE), dtype=np.float32)
    for each, place in zip(stack, squares, strict=True):
        if place is not None:
            each[place[0] : place[0] + 8, place[1] : place[1] + 8] = place[2]
    return stack


def carried(stack: np.ndarray, teacher: GreyInsideTheBox | None = None) -> dict[int, Answer]:
    """Carry the structure of slice 0 through all others, with a margin of two pixels."""
    prompted = PromptableStack(stack, (1.0, 1.0), (0.0, 1.0), teacher or GreyInsideTheBox(), EmbeddingCache(None))
    start = known(prompted, 0, stack[0] > 0.1)
    assert start is not None
    return dict(carry(prompted, start, range(1, len(stack)), whole_frame(prompted), 2.0, lambda: None))


def test_it_follows_a_structure_that_moves_by_less_than_the_margin() -> None:
    stack = slices_with((8, 8, 0.8), (9, 10, 0.8), (10, 12, 0.8))

    found = carried(stack)

    assert list(found) == [1, 2]
    np.testing.assert_array_equal(found[2].mask, stack[2] > 0.1)


@pytest.mark.parametrize(
    ("stack", "teacher"),
    [
        pytest.param(slices_with((8, 8, 0.8), None, (8, 8, 0.8)), GreyInsideTheBox(), id="nothing is there"),
        pytest.param(slices_with((8, 8, 0.8), (8, 20, 0.8)), GreyInsideTheBox(), id="it lies elsewhere"),
        # an even structure is granted a deviation of 0.02: 0.05 of the window is more than twice that
        pytest.param(slices_with((8, 8, 0.8), (8, 8, 0.75)), GreyInsideTheBox(), id="it looks different"),
        pytest.param(slices_with((8, 8, 0.8), (8, 8, 0.8)), GreyInsideTheBox(quality=0.4), id="poor by its own word"),
        pytest.param(slices_with((8, 8, 0.8), (8, 8, 0.8)), GreyInsideTheBox(probability=0.6), id="hardly sure"),
    ],
)
def test_it_ends_where(stack: np.ndarray, teacher: GreyInsideTheBox) -> None:
    assert carried(stack, teacher) == {}


def test_an_answer_stays_near_the_box_that_was_asked() -> None:
    stack = slices_with((8, 8, 0.8), (8, 8, 0.8))
    stack[1, 8:16] = 0.8  # a bar across the whole slice

    found = carried(stack)[1].mask

    columns = np.flatnonzero(found.any(0))
    assert (columns[0], columns[-1]) == (6, 17)


def test_an_annotation_too_small_for_the_frame_starts_nothing() -> None:
    prompted = PromptableStack(np.zeros((1, 400, 400), np.float32), (1.0, 1.0), (0.0, 1.0), GreyInsideTheBox(),
                               EmbeddingCache(None))  # fmt: skip
    pixel = np.zeros((400, 400), dtype=bool)
    pixel[200, 200] = True

    assert known(prompted, 0, pixel) is None


def test_the_margin_is_the_distance_of_slices_and_two_pixels_at_least() -> None:
    prompted = PromptableStack(np.zeros((1, 64, 64), np.float32), (1.0, 1.0), (0.0, 1.0), GreyInsideTheBox(),
                               EmbeddingCache(None))  # fmt: skip

    # 64 mm over 32 pixels: a pixel of the frame is 2 mm
    assert (margin_of(prompted, 1.0), margin_of(prompted, 10.0)) == (2.0, 5.0)
