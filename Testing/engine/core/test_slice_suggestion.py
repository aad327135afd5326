"""The rule by which the next slice to annotate is found, worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from uncol.core.jobs import Structure
from uncol.core.slice_scores import SliceScore
from uncol.core.slice_suggestion import NextSlice, next_slice, score_all_slices, score_slices
from uncol.core.volume import Axis, Volume

LIVER, SPLEEN = Structure(1, "liver"), Structure(2, "spleen")
# Pixels of 10 mm: nothing but the structure itself and what lies straight above and below is within 5 mm.
COARSE = np.array([[-10.0, 0, 0, 7], [0, -10, 0, 8], [0, 0, 3, 9], [0, 0, 0, 1]])


def suggest(
    labels: NDArray[Any],
    uncertainty: NDArray[Any],
    annotated: tuple[int, ...],
    ijk_to_ras: NDArray[np.float64] = COARSE,
    axis: Axis = "K",
) -> NextSlice:
    volumes = (Volume(labels.astype(np.uint8), ijk_to_ras), Volume(uncertainty.astype(np.float32), ijk_to_ras))
    found = next_slice(score_slices(*volumes, (LIVER, SPLEEN), axis), annotated)
    assert found is not None
    return found


def column(slice_count: int, pixels: int = 1) -> NDArray[Any]:
    """A liver that fills the first pixels of the first row of every slice (K, 2, 4)."""
    labels = np.zeros((slice_count, 2, 4))
    labels[:, 0, :pixels] = 1
    return labels


def doubt(labels: NDArray[Any], per_slice: list[float]) -> NDArray[Any]:
    """The same uncertainty in each structure voxel of a slice."""
    return (labels > 0) * np.array(per_slice)[:, None, None]


def test_the_least_sure_slice_is_suggested_with_its_score_and_why() -> None:
    labels = column(7, pixels=2)

    suggestion = suggest(labels, doubt(labels, [0, 0.1, 0.2, 0.5, 0.8, 0.3, 0]), annotated=(0,))

    # Every slice has n = 2 voxels, the median too: 2 * 0.8 / (2 + 2) = 0.4.
    assert suggestion.index == 4
    assert suggestion.score == pytest.approx(0.4)
    assert (suggestion.unsure, suggestion.distance) == (("liver",), 4)


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
    assert suggestion.index == 9
    assert suggestion.score == pytest.approx(0.2)


def test_noise_in_a_slice_without_structure_is_not_suggested() -> None:
    labels = column(9)
    labels[5:] = 0
    uncertainty = doubt(labels, [0.1, 0.1, 0.3, 0.1, 0.1, 0, 0, 0, 0])
    uncertainty[7] = 1.0

    assert suggest(labels, uncertainty, annotated=()).index == 2


def test_doubt_just_beyond_the_end_of_a_structure_counts() -> None:
    labels = column(9)
    labels[5:] = 0
    uncertainty = doubt(labels, [0.1, 0.1, 0.3, 0.1, 0.1, 0, 0, 0, 0])
    uncertainty[5, 0, 0] = 0.9

    assert suggest(labels, uncertainty, annotated=()).index == 5


def test_doubt_counts_within_five_mm_of_the_structure() -> None:
    in_pixels_of_2_mm = COARSE * [0.2, 0.2, 1, 1]
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

    assert suggestion.index == 3


def test_a_neighbor_of_an_annotated_slice_is_suggested_where_there_is_no_choice() -> None:
    labels = column(5)

    suggestion = suggest(labels, doubt(labels, [0.2, 0.1, 0.2, 0.4, 0.2]), annotated=(0, 2, 4))

    assert suggestion.index == 3
    assert suggestion.distance == 1


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

    assert suggest(labels, doubt(labels, [0.5] * 9), annotated).index == expected


def test_each_axis_is_searched_along_its_own_slices() -> None:
    labels = np.zeros((2, 3, 6))
    labels[0, 0] = 1  # along I, which runs to the left
    uncertainty = labels * [0.1, 0.1, 0.1, 0.1, 0.7, 0.1]

    suggestion = suggest(labels, uncertainty, (0,), axis="I")

    assert suggestion.index == 4


def test_the_structures_that_are_least_sure_are_named() -> None:
    labels = np.zeros((5, 2, 4))
    labels[:, 0, :2], labels[:, 1, 2:] = 1, 2
    uncertainty = np.zeros(labels.shape)
    uncertainty[2, 0, :2], uncertainty[2, 1, 2:] = 0.3, 0.5
    both = suggest(labels, uncertainty, ())
    uncertainty[2, 0, :2] = 0.2
    one = suggest(labels, uncertainty, ())

    # 0.3 is at least half of 0.5, 0.2 is not.
    assert (both.unsure, both.distance) == (("spleen", "liver"), None)
    assert one.unsure == ("spleen",)


def test_a_model_without_any_doubt_is_sent_to_the_slice_farthest_away() -> None:
    labels = column(6)

    suggestion = suggest(labels, np.zeros(labels.shape), annotated=(0,))

    assert (suggestion.index, suggestion.unsure, suggestion.distance) == (5, (), 5)


def test_nothing_is_suggested_without_a_structure() -> None:
    nothing = Volume(np.zeros((3, 2, 4), np.uint8), COARSE)

    scores = score_slices(nothing, nothing.with_voxels(np.ones((3, 2, 4), np.float32)), (LIVER,), "K")

    assert scores == ()
    assert next_slice(scores, ()) is None


def test_nothing_is_suggested_when_every_slice_with_a_structure_is_annotated() -> None:
    labels = column(5)
    labels[4] = 0  # within reach
    volume = Volume(labels.astype(np.uint8), COARSE)
    scores = score_slices(volume, volume.with_voxels(np.full(labels.shape, 0.5, np.float32)), (LIVER,), "K")

    assert next_slice(scores, (0, 1, 2, 3, 4)) is None


def test_fine_pixels_are_thinned_out_and_the_scores_hardly_change() -> None:
    k, j, i = np.ogrid[:9, :120, :120]
    ball = ((k - 4) * 10) ** 2 + (j - 60) ** 2 + (i - 50) ** 2 < 40**2
    doubt_of_slices = np.linspace(0.1, 0.5, 9)[:, None, None] * np.ones(ball.shape)

    def scores(step: int) -> list[SliceScore]:
        matrix = np.diag([0.5 * step, 0.5 * step, 5.0, 1.0])
        labels, doubts = (each[:, ::step, ::step] for each in (ball.astype(np.uint8), doubt_of_slices))
        return list(score_slices(Volume(labels, matrix), Volume(doubts, matrix), (LIVER,), "K"))

    assert scores(1) == scores(3)  # pixels of 0.5 mm; those of 1.5 mm are taken as they are


def test_slices_without_a_structure_nearby_have_no_score() -> None:
    labels = column(9)
    labels[5:] = 0
    volume = Volume(labels.astype(np.uint8), COARSE)

    scores = score_slices(volume, volume.with_voxels(np.full(labels.shape, 0.5, np.float32)), (LIVER,), "K")

    # n = 1 in slices 0 to 5, the last one beside the end: 0.5 / (1 + 1)
    assert scores == tuple(SliceScore(index, 0.25, ("liver",)) for index in range(6))


def test_all_axes_are_scored_alike() -> None:
    labels = np.zeros((3, 4, 6))
    labels[0, 1, 2:5] = 1
    volume = Volume(labels.astype(np.uint8), COARSE)
    doubts = volume.with_voxels(np.random.default_rng(0).random(labels.shape, dtype=np.float32))

    found = score_all_slices(volume, doubts, (LIVER, SPLEEN))

    assert found == {axis: score_slices(volume, doubts, (LIVER, SPLEEN), axis) for axis in ("K", "J", "I")}
    assert [each.index for each in found["I"]] == [1, 2, 3, 4, 5]
