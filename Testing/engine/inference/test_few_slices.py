"""Segmenting from a few annotated slices: what is shown first, who has a vote, other planes, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import ThresholdTeacher

from uncol.core.error_detection import label_boundary
from uncol.core.errors import CancelledError
from uncol.core.jobs import Structure
from uncol.core.progress import Monitor, Progress
from uncol.core.uncertainty_maps import DISAGREEMENT
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.evaluation.metrics import dice
from uncol.foundation.embeddings import EmbeddingCache
from uncol.inference.few_slices import FewSlices, segment_from_labels

STRUCTURE = [Structure(1, "cone")]
SHAPE = (24, 48, 64)


def cone(slices: slice = slice(0, 24)) -> np.ndarray:
    """A disk that moves and grows from slice to slice."""
    k, j, i = np.indices(SHAPE)
    inside = np.hypot(j - 24, i - 20 - k) < 6 + 0.3 * k
    inside[: slices.start], inside[slices.stop :] = False, False
    return inside


def image_of(truth: np.ndarray, grid: np.ndarray | None = None) -> Volume:
    grey = np.where(truth, 200, 20) + np.random.default_rng(0).normal(0, 5, truth.shape)
    return Volume(grey.astype(np.int16), np.diag([-1.0, -1.0, 3.0, 1.0]) if grid is None else grid)


def annotated(image: Volume, truth: np.ndarray, indices: list[int]) -> Volume:
    labels = np.full(truth.shape, UNKNOWN_LABEL, dtype=np.uint8)
    labels[indices] = truth[indices]
    return image.with_voxels(labels)


def test_registration_answers_first_and_the_foundation_model_refines_that() -> None:
    truth, teacher = cone(), ThresholdTeacher(64)
    image = image_of(truth)
    labels = annotated(image, truth, [0, 12, 23])
    slices = FewSlices(image, labels, STRUCTURE, EmbeddingCache(None), plane="axial")

    first = slices.by_registration()
    refined = slices.with_foundation_model(teacher)

    assert dice(first.labels.voxels == 1, truth) > 0.95
    assert dice(refined.labels.voxels == 1, truth) > 0.95
    assert teacher.encoded > 0
    assert first.sources == {}
    assert set(refined.sources["cone"]) == {"registration", "foundation model"}
    assert sum(refined.sources["cone"].values()) == pytest.approx(1, abs=0.002)
    assert refined.sources["cone"]["registration"] > 0.5


def test_disagreement_is_where_the_sources_are_apart_and_nowhere_in_annotated_slices() -> None:
    truth, grid = cone(), np.array([[0, 0, 3.0, 5], [-1.0, 0, 0, 7], [0, -1.0, 0, 9], [0, 0, 0, 1]])
    image = image_of(truth, grid)
    labels = annotated(image, truth, [0, 12, 23])
    slices = FewSlices(image, labels, STRUCTURE, EmbeddingCache(None), plane="sagittal", maps=[DISAGREEMENT])

    found = slices.with_foundation_model(ThresholdTeacher(64))

    spread = found.maps[DISAGREEMENT]
    assert spread.shares_grid_with(image)
    assert spread.voxels.dtype == np.float32
    assert 0 == spread.voxels.min() < spread.voxels.max() <= 1
    assert not spread.voxels[[0, 12, 23]].any()
    edge = label_boundary(truth)
    assert spread.voxels[edge].mean() > 5 * spread.voxels[~edge].mean()
    assert slices.by_registration().maps.keys() == {DISAGREEMENT}


def test_without_a_foundation_model_registration_is_the_result() -> None:
    truth = cone()
    image = image_of(truth)

    labels = annotated(image, truth, [0, 12, 23])
    found = segment_from_labels(image, labels, STRUCTURE, None, EmbeddingCache(None), plane="axial")

    assert dice(found.labels.voxels == 1, truth) > 0.95
    assert not found.uncertainty.voxels[[0, 12, 23]].any()


def test_what_the_foundation_model_does_not_find_in_true_boxes_it_is_not_asked_about_again() -> None:
    """It finds what is bright; this structure is darker than what lies round it."""
    truth, teacher = cone(), ThresholdTeacher(64)
    image = image_of(~truth)

    labels = annotated(image, truth, [0, 12, 23])
    found = segment_from_labels(image, labels, STRUCTURE, teacher, EmbeddingCache(None), plane="axial")

    assert 0 < len(teacher.boxes) <= 6  # the contour of each annotated slice, and what the others say is there
    assert dice(found.labels.voxels == 1, truth) > 0.95


@pytest.mark.parametrize("grid", [np.diag([1.0, -1.0, 3.0, 1.0]), np.diag([-1.0, -1.0, -3.0, 1.0])])
def test_it_is_the_same_in_any_orientation(grid: np.ndarray) -> None:
    truth = cone()
    image = image_of(truth, grid)

    labels = annotated(image, truth, [0, 12, 23])
    found = segment_from_labels(image, labels, STRUCTURE, None, EmbeddingCache(None), plane="axial")

    assert dice(found.labels.voxels == 1, truth) > 0.95


def test_a_slice_of_another_plane_is_carried_along_its_own_axis() -> None:
    """The structure ends at slice 15, which no axial slice tells; a coronal one through its middle does."""
    truth = cone(slices=slice(4, 16))
    image = image_of(truth)
    image = image.with_voxels(np.where(cone(), 200, image.voxels).astype(np.int16))  # nor do the grey values
    axial = annotated(image, truth, [10])
    both = axial.with_voxels(axial.voxels.copy())
    both.voxels[:, 24] = truth[:, 24]

    alone, joined = (
        segment_from_labels(image, labels, STRUCTURE, None, EmbeddingCache(None), plane="axial").labels.voxels == 1
        for labels in (axial, both)
    )

    assert dice(joined, truth) > dice(alone, truth) + 0.1
    np.testing.assert_array_equal(joined[:, 24], truth[:, 24])


def test_a_structure_in_one_annotated_slice_is_found_round_it() -> None:
    truth = cone(slices=slice(5, 12))
    image = image_of(truth)

    labels = annotated(image, truth, [0, 8, 16, 23])
    found = segment_from_labels(image, labels, STRUCTURE, None, EmbeddingCache(None), plane="axial")

    assert dice(found.labels.voxels == 1, truth) > 0.9


@pytest.mark.parametrize("spoil", ["blank", "shifted", "noise"])
def test_a_broken_slice_does_no_harm_is_interpolated_and_named(spoil: str) -> None:
    truth = cone()
    image = image_of(truth)
    voxels = image.voxels.copy()
    if spoil == "blank":
        voxels[6] = 0
    elif spoil == "shifted":
        voxels[6] = np.roll(voxels[6], 12, axis=0)
    else:
        voxels[6] = np.random.default_rng(1).normal(100, 60, voxels[6].shape)
    image = image.with_voxels(voxels)

    labels = annotated(image, truth, [0, 12, 23])
    result = segment_from_labels(image, labels, STRUCTURE, None, EmbeddingCache(None), plane="axial")

    found, others = result.labels.voxels == 1, [index for index in range(24) if index != 6]
    assert dice(found[others], truth[others]) > 0.95
    assert dice(found[6], truth[6]) > 0.7
    assert [note for note in result.notes if "abruptly at slice 6, 7 (counted from 0)" in note]


def test_cancelling_leaves_at_once() -> None:
    truth = cone()
    image = image_of(truth)
    told: list[Progress] = []
    monitor = Monitor(report=told.append, should_stop=lambda: len(told) >= 2)

    labels = annotated(image, truth, [0, 12, 23])
    with pytest.raises(CancelledError):
        segment_from_labels(
            image, labels, STRUCTURE, ThresholdTeacher(64), EmbeddingCache(None), plane="axial", monitor=monitor
        )
    assert len(told) == 2
