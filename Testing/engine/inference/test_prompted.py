"""The first pass without a model: from boxes and from a few annotated slices."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import ThresholdTeacher

from uncol.core.errors import CancelledError, DataError
from uncol.core.jobs import Box, Structure
from uncol.core.progress import Monitor
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.foundation.embeddings import EmbeddingCache
from uncol.inference.few_slices import segment_from_labels
from uncol.inference.prompted import acquisition_plane, segment_from_boxes


@pytest.fixture
def teacher() -> ThresholdTeacher:
    return ThresholdTeacher(64)


def two_pillars() -> tuple[Volume, np.ndarray]:
    """A wide pillar in slices 3 to 11 and a thin one in 0 to 15, both bright; 16 x 48 x 64 voxels."""
    truth = np.zeros((16, 48, 64), dtype=np.uint8)
    truth[3:12, 10:30, 8:28] = 1
    truth[:, 14:24, 44:54] = 2
    grey = np.where(truth > 0, 200, 0) + np.random.default_rng(0).normal(0, 5, truth.shape)
    return Volume(grey.astype(np.int16), np.diag([-1.0, -1.0, 3.0, 1.0])), truth


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    return float(2 * (prediction & reference).sum() / (prediction.sum() + reference.sum()))


def test_a_box_larger_than_the_structure_finds_where_it_ends(teacher: ThresholdTeacher):
    image, truth = two_pillars()

    result = segment_from_boxes(image, [Box("pillar", (6, 8, 0), (30, 32, 15))], teacher, EmbeddingCache(None))

    found = result.labels.voxels == 1
    assert found.any((1, 2)).nonzero()[0].tolist() == list(range(3, 12))
    assert dice(found, truth == 1) > 0.9


def test_nothing_is_found_outside_the_box(teacher: ThresholdTeacher):
    image, _ = two_pillars()

    result = segment_from_boxes(image, [Box("pillar", (10, 12, 5), (25, 27, 8))], teacher, EmbeddingCache(None))

    k, j, i = np.nonzero(result.labels.voxels)
    assert (i.min(), j.min(), k.min()) >= (10, 12, 5)
    assert (i.max(), j.max(), k.max()) <= (25, 27, 8)


def test_several_boxes_get_labels_in_their_order_and_may_overlap(teacher: ThresholdTeacher):
    image, truth = two_pillars()
    boxes = [Box("thin", (40, 10, 0), (58, 28, 15)), Box("wide", (6, 8, 2), (42, 32, 12))]

    result = segment_from_boxes(image, boxes, teacher, EmbeddingCache(None))

    assert [(each.value, each.name) for each in result.structures] == [(1, "thin"), (2, "wide")]
    assert dice(result.labels.voxels == 1, truth == 2) > 0.85
    assert dice(result.labels.voxels == 2, truth == 1) > 0.85


def test_each_slice_is_encoded_once_for_all_boxes(teacher: ThresholdTeacher):
    image, _ = two_pillars()
    box = Box("pillar", (6, 8, 2), (30, 32, 12))

    segment_from_boxes(image, [box, box, box], teacher, EmbeddingCache(None))

    assert teacher.encoded <= 11


def test_a_box_beyond_the_image_is_refused_with_the_range(teacher: ThresholdTeacher):
    image, _ = two_pillars()

    with pytest.raises(DataError, match=r'Box "x" reaches from 0 to 64 along I, but the image has the indices 0 to 63'):
        segment_from_boxes(image, [Box("x", (0, 0, 0), (64, 5, 5))], teacher, EmbeddingCache(None))


def test_a_box_is_read_in_the_files_own_indices_whatever_its_orientation(teacher: ThresholdTeacher):
    image, truth = two_pillars()
    # The same patient, with I and K running the other way: index i becomes 63 - i, k becomes 15 - k.
    matrix = np.diag([1.0, -1.0, -3.0, 1.0])
    matrix[:3, 3] = (-63, 0, 45)
    flipped = Volume(np.ascontiguousarray(image.voxels[::-1, :, ::-1]), matrix)
    box = Box("pillar", (63 - 30, 8, 15 - 12), (63 - 6, 32, 15 - 2))

    found = segment_from_boxes(flipped, [box], teacher, EmbeddingCache(None)).labels.voxels == 1

    assert dice(found[::-1, :, ::-1], truth == 1) > 0.9


def with_annotated(truth: np.ndarray, image: Volume, slices: list[int]) -> Volume:
    labels = np.full_like(truth, UNKNOWN_LABEL)
    labels[slices] = truth[slices]
    return image.with_voxels(labels)


def test_annotated_slices_guide_the_slices_between_and_stay_as_they_are(teacher: ThresholdTeacher):
    image, truth = two_pillars()
    labels = with_annotated(truth, image, [1, 5, 10, 14])
    structures = [Structure(1, "wide"), Structure(2, "thin")]

    result = segment_from_labels(image, labels, structures, teacher, EmbeddingCache(None), plane="axial")

    assert (result.labels.voxels[[1, 5, 10, 14]] == truth[[1, 5, 10, 14]]).all()
    assert (result.uncertainty.voxels[[1, 5, 10, 14]] == 0).all()
    assert dice(result.labels.voxels == 2, truth == 2) > 0.9
    assert dice(result.labels.voxels[5:11] == 1, truth[5:11] == 1) > 0.9


def test_one_annotated_slice_is_carried_on_until_the_structure_ends(teacher: ThresholdTeacher):
    image, truth = two_pillars()
    labels = with_annotated(truth, image, [7])

    result = segment_from_labels(image, labels, [Structure(1, "wide")], teacher, EmbeddingCache(None), plane="axial")

    found = result.labels.voxels == 1
    assert found.any((1, 2)).nonzero()[0].tolist() == list(range(3, 12))


def test_an_annotated_structure_that_was_not_chosen_does_not_widen_the_window(teacher: ThresholdTeacher):
    image, truth = two_pillars()
    hu = np.where(truth == 2, 3000, image.voxels)
    hu[:, :2], hu[:, 2:4] = -1000, -100
    labels = with_annotated(truth, image, [7])
    wide = [Structure(1, "wide")]

    segment_from_labels(image.with_voxels(hu), labels, wide, teacher, EmbeddingCache(None), plane="axial")

    assert len(teacher.boxes) >= 8, "it found the pillar in no slice, so that it was not asked on"


def test_without_a_complete_slice_the_user_is_told_what_to_do(teacher: ThresholdTeacher):
    image, truth = two_pillars()
    labels = with_annotated(truth, image, [])

    with pytest.raises(DataError, match="Annotate at least one whole slice, or give a box instead"):
        segment_from_labels(image, labels, [Structure(1, "x")], teacher, EmbeddingCache(None), plane="axial")


def test_cancelling_stops_before_the_next_slice(teacher: ThresholdTeacher):
    image, _ = two_pillars()

    with pytest.raises(CancelledError):
        segment_from_boxes(
            image,
            [Box("x", (0, 0, 0), (5, 5, 5))],
            teacher,
            EmbeddingCache(None),
            monitor=Monitor(should_stop=lambda: True),
        )
    assert teacher.encoded == 0


def test_the_acquisition_plane_lies_across_the_largest_spacing():
    voxels = np.zeros((4, 5, 6))
    sagittal = np.array([[0, 0, 4.0, 0], [-1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])

    assert acquisition_plane(Volume(voxels, np.diag([-1.0, -1.0, 3.0, 1.0]))) == "axial"
    assert acquisition_plane(Volume(voxels, sagittal)) == "sagittal"
    assert acquisition_plane(Volume(voxels, np.diag([-3.0, -3.0, 3.0, 1.0]))) == "axial"
