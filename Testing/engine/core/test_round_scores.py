"""What a proposal was worth in slices that were annotated after it, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from uncol.core.jobs import Structure
from uncol.core.round_scores import ComparedSlices, dice_by_structure, error_auroc, score_round
from uncol.core.volume import UNKNOWN_LABEL, Volume

LIVER, SPLEEN = Structure(1, "liver"), Structure(2, "spleen")


def compared(
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    uncertainty: NDArray[np.float32] | None = None,
    spacing_mm: tuple[float, float] = (1.0, 1.0),
) -> ComparedSlices:
    """Slices (n, rows, columns) with a distance between columns and between rows."""
    grid = Volume(reference, np.diag([*spacing_mm, 1.0, 1.0]))
    return ComparedSlices(
        grid, grid.with_voxels(prediction), None if uncertainty is None else grid.with_voxels(uncertainty)
    )


def test_dice_is_counted_over_all_slices_by_structure() -> None:
    reference = np.zeros((1, 3, 4), np.uint8)
    reference[0, 0, :] = 1  # four voxels of liver
    reference[0, 1, :2] = 2  # two of spleen
    prediction = np.zeros_like(reference)
    prediction[0, 0, 1:] = 1  # three of the four: 2 * 3 / (4 + 3)
    other = np.array([[[1, 0, 0]]], np.uint8)  # a slice of another plane: 2 * (3 + 1) / (5 + 4)

    first = compared(reference, prediction)

    assert dice_by_structure([first], [LIVER, SPLEEN]) == {"liver": pytest.approx(6 / 7, abs=1e-4), "spleen": 0.0}
    assert dice_by_structure([first, compared(other, other)], [LIVER]) == {"liver": pytest.approx(8 / 9, abs=1e-4)}


def test_unknown_voxels_do_not_count() -> None:
    reference = np.full((1, 2, 2), UNKNOWN_LABEL, np.uint8)
    reference[0, 0] = 1

    assert dice_by_structure([compared(reference, np.ones_like(reference))], [LIVER]) == {"liver": 1.0}


def test_a_structure_that_neither_shows_has_no_score() -> None:
    empty = np.zeros((1, 2, 2), np.uint8)

    assert dice_by_structure([compared(empty, empty)], [LIVER]) == {}


def test_the_map_is_scored_near_the_contours() -> None:
    reference = np.zeros((1, 1, 9), np.uint8)
    reference[0, 0, 2:5] = 1
    reference[0, 0, 8] = UNKNOWN_LABEL
    prediction = np.zeros_like(reference)
    prediction[0, 0, 3:6] = 1  # wrong at 2 and 5
    doubts = np.array([[[0.9, 0.3, 0.4, 0.1, 0.2, 0.2, 0.1, 0.9, 0.9]]], np.float32)

    # columns of 3 mm: contours at 1|2, 2|3, 4|5, 5|6, so that 0 ... 7 lie within 5 mm of one of their voxels;
    # the wrong 0.4 beats 0.3, 0.1, 0.2, 0.1 of six right voxels; the wrong 0.2 beats 0.1, 0.1 and ties with 0.2
    found = error_auroc([compared(reference, prediction, doubts, (3.0, 1.0))], [LIVER])

    assert found == pytest.approx((4 + 2.5) / 12, abs=1e-4)


def test_distance_between_rows_is_not_taken_for_that_between_columns() -> None:
    reference = np.zeros((1, 9, 1), np.uint8)
    reference[0, 2:5] = 1
    prediction = np.zeros_like(reference)
    prediction[0, 3:6] = 1
    doubts = np.array([0.9, 0.3, 0.4, 0.1, 0.2, 0.2, 0.1, 0.9, 0.9], np.float32).reshape(1, 9, 1)

    # as above with rows of 3 mm: the same eight voxels
    found = error_auroc([compared(reference, prediction, doubts, (1.0, 3.0))], [LIVER])

    assert found == pytest.approx((4 + 2.5) / 12, abs=1e-4)


def test_what_was_not_asked_for_is_no_error() -> None:
    reference = np.array([[[1, 1, 0, 0, 2]]], np.uint8)
    prediction = np.array([[[1, 0, 0, 0, 0]]], np.uint8)  # wrong at 1; the spleen at 4 is nothing that it looked for
    doubts = np.array([[[0.1, 0.9, 0.2, 0.3, 0.0]]], np.float32)

    assert error_auroc([compared(reference, prediction, doubts)], [LIVER]) == 1.0
    # with the spleen asked for, the error at 4 is surer than the three right voxels: 3 of 6 pairs
    assert error_auroc([compared(reference, prediction, doubts)], [LIVER, SPLEEN]) == 0.5


def test_a_map_without_errors_to_find_is_not_scored() -> None:
    reference = np.zeros((1, 2, 4), np.uint8)
    reference[0, :, :2] = 1

    assert error_auroc([compared(reference, reference, np.ones((1, 2, 4), np.float32))], [LIVER]) is None


def test_without_a_map_there_is_dice_alone() -> None:
    labels = np.ones((1, 2, 4), np.uint8)

    found = score_round([compared(labels, labels)], [LIVER])

    assert (found.dice, found.error_auroc) == ({"liver": 1.0}, None)
