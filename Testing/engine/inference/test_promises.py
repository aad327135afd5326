"""A segmentation from annotated slices says how good it is, where nobody looked, and that is about right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.evaluation.metrics import dice
from uncol.foundation.embeddings import EmbeddingCache
from uncol.inference.few_slices import FewSlices
from uncol.inference.result import Segmentation

TUBE, DOT = Structure(4, "tube"), Structure(9, "dot")
SHAPE = (25, 40, 48)


def wavy_tube() -> np.ndarray:
    k, j, i = np.indices(SHAPE)
    return np.hypot(j - 20 - 4 * np.sin(k / 3), i - 24 - 3 * np.cos(k / 4)) < 8 + 2 * np.sin(k / 2)


def segmented(indices: Sequence[int], grid: np.ndarray, *, dot: bool = False, calibrates: bool = True) -> Segmentation:
    truth = wavy_tube()
    grey = gaussian_filter(np.where(truth, 150.0, 30.0), 1) + np.random.default_rng(0).normal(0, 15, SHAPE)
    labels = np.full(SHAPE, UNKNOWN_LABEL, dtype=np.uint8)
    labels[list(indices)] = truth[list(indices)] * TUBE.value
    if dot:
        labels[indices[1], 2:5, 2:5] = DOT.value
    image = Volume(grey.astype(np.int16), grid)
    structures = [TUBE, DOT] if dot else [TUBE]
    slices = FewSlices(image, image.with_voxels(labels), structures, EmbeddingCache(None), plane="axial")
    return slices.by_registration(calibrates=calibrates)


UP, DOWN = (np.diag([-1.0, -1.0, direction * 3.0, 1.0]) for direction in (1, -1))


@pytest.mark.parametrize("grid", [UP, DOWN], ids=["up", "down"])
def test_the_promise_is_about_what_is_found(grid: np.ndarray) -> None:
    indices = [0, 6, 12, 18, 24]
    found, truth = segmented(indices, grid), wavy_tube()

    (promise,) = found.promises
    rest = [index for index in range(25) if index not in indices]
    mask = found.labels.voxels == TUBE.value
    real = dice(mask[rest], truth[rest])
    assert promise.dice.low <= real <= promise.dice.high
    assert promise.dice.value == pytest.approx(real, abs=0.04)
    assert [each.index for each in promise.slices] == rest
    assert promise.volume_ml.value == pytest.approx(np.count_nonzero(mask) * 0.003)
    assert promise.volume_ml.low < np.count_nonzero(truth) * 0.003 < promise.volume_ml.high
    assert promise.dice.value < promise.with_two_more <= 1
    assert promise.left_out.slices == 3
    # what is expected of a slice is counted in its own voxels, wherever slice 0 lies
    sizes = [2 * np.count_nonzero(mask[each.index]) for each in promise.slices]
    assert [each.size for each in promise.slices] == pytest.approx(sizes, rel=0.35)


def test_the_next_slices_are_in_the_middle_of_gaps_and_each_counts_on_the_ones_before() -> None:
    found = segmented([0, 6, 18, 24], UP).next_slices

    assert found is not None
    assert found.axis == "K"
    first, second, third = found.slices
    assert 9 <= first.index <= 15
    assert len({first.index, second.index, third.index}) == 3
    assert first.gain >= second.gain >= third.gain > 0
    assert first.structures == ("tube",)


def test_a_structure_in_one_slice_has_no_promise_and_no_number_is_made_up() -> None:
    found = segmented([0, 6, 12, 18, 24], UP, dot=True)

    assert [each.structure for each in found.promises] == ["tube"]
    tube, dot = found.calibration
    assert (tube.slices, tube.beside, dot.beside) == (3, 0.3, None)
    assert '"dot" is not calibrated' in dot.sentence


def test_where_no_annotated_slice_lies_between_others_nothing_is_promised_and_one_between_them_is_suggested() -> None:
    found = segmented([6, 18], UP)

    assert found.promises == ()
    assert [(each.slices, each.beside) for each in found.calibration] == [(0, None)]
    assert found.next_slices is not None
    assert 9 <= found.next_slices.slices[0].index <= 15


def test_calibration_changes_no_label() -> None:
    indices = [0, 6, 12, 18, 24]
    plain, calibrated = (segmented(indices, UP, calibrates=each) for each in (False, True))

    np.testing.assert_array_equal(plain.labels.voxels, calibrated.labels.voxels)
    assert calibrated.uncertainty.voxels.mean() < plain.uncertainty.voxels.mean()
    assert (plain.promises, plain.calibration, plain.next_slices) == ((), (), None)
