"""What fills a volume without training: exact on simple bodies, silent where nothing is known, and what it needs."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from doubles import ThresholdTeacher
from torch import Tensor

from uncol.benchmark.method_names import WITHOUT_TRAINING
from uncol.benchmark.prediction import Prediction
from uncol.benchmark.without_training import FILL_SLICES, SliceTask
from uncol.core.errors import ConfigError
from uncol.core.jobs import Structure
from uncol.core.progress import UNWATCHED
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.data.cases import LabeledCase
from uncol.data.transforms import SliceFrame
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import BoxPrediction

LoadTeacher = Callable[[], ThresholdTeacher]
GRID = np.diag([-1.0, -1.0, 3.0, 1.0])
STRUCTURES = (Structure(1, "block"), Structure(2, "rod"))
TRUTH = np.zeros((12, 16, 16), dtype=np.uint8)
TRUTH[2:9, 3:9, 3:9] = 1
TRUTH[:, 11:14, 11:14] = 2


class BlindTeacher(ThresholdTeacher):
    """It finds nothing in any box."""

    def decode(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> BoxPrediction:
        return super().decode(torch.zeros_like(embedding), boxes, frame)


def seeing() -> ThresholdTeacher:
    return ThresholdTeacher(16)


def blind_one() -> ThresholdTeacher:
    return BlindTeacher(16)


def predicted(method: str, *annotated: int, load_teacher: LoadTeacher = seeing) -> Prediction:
    labels = np.full_like(TRUTH, UNKNOWN_LABEL)
    labels[list(annotated)] = TRUTH[list(annotated)]
    case = LabeledCase(Volume((TRUTH > 0).astype(np.float32), GRID), Volume(labels, GRID))
    task = SliceTask(case, STRUCTURES, load_teacher, EmbeddingCache(None), UNWATCHED)
    found = FILL_SLICES[method](task)
    assert found.labels.shares_grid_with(case.image)
    return found


def filled(method: str, *annotated: int, load_teacher: LoadTeacher = seeing) -> np.ndarray:
    return predicted(method, *annotated, load_teacher=load_teacher).labels.voxels


NEEDS_ITK = pytest.mark.skipif(
    importlib.util.find_spec("itk") is None, reason="needs requirements/benchmark.txt, 1.5 GB that nothing else needs"
)
INTERPOLATIONS = [
    "shape-interpolation",
    "shape-interpolation-ends",
    pytest.param("morphological-interpolation", marks=NEEDS_ITK),
]


@pytest.mark.parametrize("method", INTERPOLATIONS)
def test_straight_bodies_are_filled_exactly_between_slices_that_show_them(method: str) -> None:
    assert np.array_equal(filled(method, 2, 5, 8)[2:9], TRUTH[2:9])


@pytest.mark.parametrize(
    ("method", "between", "outside"),
    [
        pytest.param("shape-interpolation", "shrinks", 0, id="shape-interpolation"),
        pytest.param("shape-interpolation-ends", "shrinks", 9, id="shape-interpolation-ends"),
        pytest.param("morphological-interpolation", "ends", 0, id="morphological-interpolation", marks=NEEDS_ITK),
    ],
)
def test_what_is_filled_where_one_side_or_none_shows_a_structure(method: str, between: str, outside: int) -> None:
    found = filled(method, 1, 6, 10)

    # The block is in slice 6 alone of the annotated ones, the rod (9 pixels a slice) in all of them.
    block = np.count_nonzero(found == 1, axis=(1, 2)).tolist()
    assert block[6] == 36
    assert [block[k] for k in (0, 1, 10, 11)] == [0] * 4
    assert [36 > block[5] >= block[3] > 0, sum(block) == 36] == [between == "shrinks", between == "ends"]
    assert np.count_nonzero(found == 2, axis=(1, 2)).tolist() == [outside, *[9] * 10, outside]


@pytest.mark.parametrize("method", INTERPOLATIONS)
def test_annotated_slices_stay_as_they_are(method: str) -> None:
    assert np.array_equal(filled(method, 0, 3, 4, 11)[[0, 3, 4, 11]], TRUTH[[0, 3, 4, 11]])


def test_the_frozen_teacher_is_prompted_from_slice_to_slice() -> None:
    assert np.array_equal(filled("frozen-teacher", 2, 5, 8)[2:9], TRUTH[2:9])


def test_the_frozen_teacher_does_not_hear_registration_even_where_it_is_blind() -> None:
    found, registered = (filled(each, 1, 6, 10, load_teacher=blind_one) for each in ("frozen-teacher", "registration"))

    # Registration sees where the block ends; contours that are interpolated to nothing do not.
    assert np.array_equal(registered, TRUTH)
    assert not np.array_equal(found, TRUTH)


def test_registration_carries_slices_without_a_foundation_model() -> None:
    def refuse() -> ThresholdTeacher:
        message = "nobody asks the foundation model"
        raise AssertionError(message)

    assert np.array_equal(filled("registration", 2, 5, 8, load_teacher=refuse)[2:9], TRUTH[2:9])


def test_untrained_fuses_registration_and_foundation_model() -> None:
    alone = predicted("registration", 1, 6, 10).uncertainty.voxels
    unsure, blind = (
        predicted("untrained", 1, 6, 10, load_teacher=each).uncertainty.voxels
        for each in (lambda: ThresholdTeacher(16, probability=0.75), blind_one)
    )

    assert np.array_equal(blind, alone)  # what finds nothing in the boxes of annotated contours has no vote
    assert unsure[4, 5, 5] > alone[4, 5, 5]


def test_a_missing_package_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "itk", None)
    message = (
        r'^"morphological-interpolation" needs the Python package "itk-morphologicalcontourinterpolation", which is '
        r"not installed\. Install it with `pip install itk-morphologicalcontourinterpolation`, or leave the method out "
    )

    with pytest.raises(ConfigError, match=message):
        filled("morphological-interpolation", 2, 5, 8)


def test_every_method_without_training_is_known_by_name():
    assert list(FILL_SLICES) == list(WITHOUT_TRAINING)
