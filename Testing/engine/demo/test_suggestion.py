from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from uncol.core.errors import DataError
from uncol.core.jobs import Structure
from uncol.core.volume import Plane, Volume, view_slices
from uncol.demo.suggestion import NextSlice, suggest_slice
from uncol.inference.result import Segmentation

LIVER, SPLEEN = Structure(1, "liver"), Structure(2, "spleen")
# Pixels of 10 mm: nothing but the structure itself and what lies straight above and below is within 5 mm.
UPWARDS = np.array([[-10.0, 0, 0, 7], [0, -10, 0, 8], [0, 0, 3, 9], [0, 0, 0, 1]])
# The same, but K counts downwards: slice 0 of the file is the last of the axial stack.
DOWNWARDS = np.array([[-10.0, 0, 0, 7], [0, -10, 0, 8], [0, 0, -3, 9], [0, 0, 0, 1]])


def suggest(
    labels: NDArray[Any],
    uncertainty: NDArray[Any],
    annotated: tuple[int, ...],
    ijk_to_ras: NDArray[np.float64] = UPWARDS,
    plane: Plane = "axial",
) -> NextSlice:
    segmentation = Segmentation(
        Volume(labels.astype(np.uint8), ijk_to_ras),
        Volume(uncertainty.astype(np.float32), ijk_to_ras),
        (LIVER, SPLEEN),
    )
    return suggest_slice(segmentation, view_slices(segmentation.labels, plane), annotated)


def column(slice_count: int, pixels: int = 1) -> NDArray[Any]:
    """A liver that fills the first pixels of the first row of every slice (K, 2, 4)."""
    labels = np.zeros((slice_count, 2, 4))
    labels[:, 0, :pixels] = 1
    return labels


def doubt(labels: NDArray[Any], per_slice: list[float]) -> NDArray[Any]:
    """The same uncertainty in each structure voxel of a slice."""
    return (labels > 0) * np.array(per_slice)[:, None, None]


def test_the_least_sure_slice_is_suggested_with_its_score_and_reason() -> None:
    labels = column(7, pixels=2)

    suggestion = suggest(labels, doubt(labels, [0, 0.1, 0.2, 0.5, 0.8, 0.3, 0]), annotated=(0,))

    # Every slice has n = 2 voxels, the median too: 2 * 0.8 / (2 + 2) = 0.4.
    assert suggestion.stack_index == suggestion.file_index == 4
    assert suggestion.score == pytest.approx(0.4)
    assert suggestion.reason == "Least sure here: liver. The nearest annotated slice is 4 slices away."


def test_neither_the_largest_slice_nor_the_last_voxel_wins_by_its_size() -> None:
    labels = np.zeros((12, 2, 4))
    labels[0:3, 0, 0] = 1  # the middle one of three has n = 1
    labels[4:7] = 1  # n = 8
    labels[8:11, 0] = 1  # n = 4
    uncertainty = np.zeros(labels.shape)
    uncertainty[1, 0, 0] = 0.9
    uncertainty[5] = 0.22
    uncertainty[9, 0] = 0.4

    suggestion = suggest(labels, uncertainty, annotated=())

    # Regions reach one slice beyond the structures: n = 1 in slices 0-2, n = 8 in 3-7 (the bulk, the slice below
    # and the one above), n = 4 in 8-11. Of these twelve numbers the sixth and seventh are 4: median 4.
    # Slice 1: 0.9 / (1 + 4) = 0.18; slice 5: 1.76 / (8 + 4) = 0.147; slice 9: 1.6 / (4 + 4) = 0.2.
    # The mean would have taken slice 1 (0.9), the sum slice 5 (1.76).
    assert suggestion.stack_index == 9
    assert suggestion.score == pytest.approx(0.2)


def test_noise_in_a_slice_without_structure_is_not_suggested() -> None:
    labels = column(9)
    labels[5:] = 0
    uncertainty = doubt(labels, [0.1, 0.1, 0.3, 0.1, 0.1, 0, 0, 0, 0])
    uncertainty[7] = 1.0

    assert suggest(labels, uncertainty, annotated=()).stack_index == 2


def test_doubt_just_beyond_the_end_of_a_structure_counts() -> None:
    labels = column(9)
    labels[5:] = 0
    uncertainty = doubt(labels, [0.1, 0.1, 0.3, 0.1, 0.1, 0, 0, 0, 0])
    uncertainty[5, 0, 0] = 0.9

    assert suggest(labels, uncertainty, annotated=()).stack_index == 5


def test_doubt_counts_within_five_mm_of_the_structure() -> None:
    in_pixels_of_2_mm = UPWARDS * [0.2, 0.2, 1, 1]
    labels = np.zeros((3, 2, 6))
    labels[1, 0, 0] = 1
    uncertainty = np.zeros(labels.shape)
    uncertainty[1, 0, 3] = 1.0  # 6 mm away
    beyond = suggest(labels, uncertainty, (), in_pixels_of_2_mm).score
    uncertainty[1, 0, 2] = 1.0  # 4 mm away
    within = suggest(labels, uncertainty, (), in_pixels_of_2_mm).score

    # Near in slice 1: columns 0-2 of both rows (the farthest at sqrt(16 + 4) = 4.5 mm), 6 voxels;
    # in slices 0 and 2 only straight above and below, 1 voxel. Median 1: 1 / (6 + 1).
    assert beyond == 0.0
    assert within == pytest.approx(1 / 7)


def test_a_neighbor_of_an_annotated_slice_is_not_suggested_where_there_is_a_choice() -> None:
    labels = column(6)

    suggestion = suggest(labels, doubt(labels, [0, 0.9, 0.2, 0.3, 0.1, 0.1]), annotated=(0,))

    assert suggestion.stack_index == 3


def test_a_neighbor_of_an_annotated_slice_is_suggested_where_there_is_no_choice() -> None:
    labels = column(5)

    suggestion = suggest(labels, doubt(labels, [0.2, 0.1, 0.2, 0.4, 0.2]), annotated=(0, 2, 4))

    assert suggestion.stack_index == 3
    assert suggestion.reason == "Least sure here: liver. The nearest annotated slice is 1 slice away."


@pytest.mark.parametrize(
    ("annotated", "expected"),
    [
        pytest.param((0,), 8, id="the one farther from what is annotated"),
        pytest.param((0, 8), 4, id="the one in the middle"),
        pytest.param((4,), 0, id="of two as far the lower number"),
    ],
)
def test_of_equal_scores_is_taken(annotated: tuple[int, ...], expected: int) -> None:
    labels = column(9)

    assert suggest(labels, doubt(labels, [0.5] * 9), annotated).stack_index == expected


@pytest.mark.parametrize(("ijk_to_ras", "stack_index"), [(UPWARDS, 4), (DOWNWARDS, 2)], ids=["upwards", "downwards"])
def test_slice_numbers_are_those_of_the_file(ijk_to_ras: NDArray[np.float64], stack_index: int) -> None:
    labels = column(7)
    # Slice 1 of the file is surer than nothing but stands beside the annotated slice 0 of the file.
    uncertainty = doubt(labels, [0, 0.9, 0.1, 0.2, 0.8, 0.1, 0.3])

    suggestion = suggest(labels, uncertainty, (0,), ijk_to_ras)

    assert suggestion.file_index == 4
    assert suggestion.stack_index == stack_index
    assert suggestion.reason.endswith("4 slices away.")


def test_ties_are_broken_by_the_number_in_the_file_when_the_stack_is_flipped() -> None:
    labels = column(9)

    suggestion = suggest(labels, doubt(labels, [0.5] * 9), (4,), DOWNWARDS)

    assert (suggestion.file_index, suggestion.stack_index) == (0, 8)


def test_a_sagittal_stack_is_searched_along_its_own_slices() -> None:
    labels = np.zeros((2, 3, 6))
    labels[0, 0] = 1  # along I, which runs to the left
    uncertainty = labels * [0.1, 0.1, 0.1, 0.1, 0.7, 0.1]

    suggestion = suggest(labels, uncertainty, (0,), plane="sagittal")

    assert suggestion.file_index == 4


def test_the_reason_names_the_structures_that_are_least_sure() -> None:
    labels = np.zeros((5, 2, 4))
    labels[:, 0, :2], labels[:, 1, 2:] = 1, 2
    uncertainty = np.zeros(labels.shape)
    uncertainty[2, 0, :2], uncertainty[2, 1, 2:] = 0.3, 0.5
    both = suggest(labels, uncertainty, ()).reason
    uncertainty[2, 0, :2] = 0.2
    one = suggest(labels, uncertainty, ()).reason

    # 0.3 is at least half of 0.5, 0.2 is not.
    assert both == "Least sure here: spleen and liver. No slice is annotated yet."
    assert one == "Least sure here: spleen. No slice is annotated yet."


def test_a_model_without_any_doubt_is_sent_to_the_slice_farthest_away() -> None:
    labels = column(6)

    suggestion = suggest(labels, np.zeros(labels.shape), annotated=(0,))

    assert suggestion.stack_index == 5
    assert suggestion.reason == (
        "The model is sure of every slice that is left. The nearest annotated slice is 5 slices away."
    )


def test_nothing_is_suggested_without_a_structure() -> None:
    nothing = np.zeros((3, 2, 4))

    with pytest.raises(DataError, match=re.escape("The segmentation holds no structure, so no slice can be suggested")):
        suggest(nothing, nothing + 0.5, ())


def test_nothing_is_suggested_when_every_slice_with_a_structure_is_annotated() -> None:
    labels = column(3)

    with pytest.raises(DataError, match="annotated already; there is none left to suggest"):
        suggest(labels, doubt(labels, [0.5] * 3), (0, 1, 2))
