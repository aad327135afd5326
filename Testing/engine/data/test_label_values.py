"""What may stand in a voxel of a label map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from uncol.core.errors import DataError
from uncol.data.label_values import as_labels, is_mask_of_255


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint32, np.int32, np.float32, np.float64])
def test_whole_numbers_of_every_type_become_uint8(dtype: Any) -> None:
    labels = as_labels(np.array([[[0, 1, 127]]], dtype), "x")

    assert labels.dtype == np.uint8
    assert labels.tolist() == [[[0, 1, 127]]]


def test_numbers_within_a_thousandth_of_a_whole_one_are_rounded() -> None:
    labels = as_labels(np.array([[[3.0000458, 2.9991, 254.999998, -0.0009]]], np.float32), "x")

    assert labels.tolist() == [[[3, 3, 255, 0]]]


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (0.5, np.float32, "0.5"),
        (2.998, np.float64, "2.998"),
        (np.nan, np.float32, "nan"),
        (np.inf, np.float32, "inf"),
        (256.0, np.float32, "256.0"),
        (-1, np.int16, "-1"),
        (-0.002, np.float64, "-0.002"),
        (300, np.int16, "300"),
        (2**31, np.uint32, "2147483648"),
    ],
)
def test_a_value_that_is_no_label_is_named_with_what_to_do(value: float, dtype: Any, text: str) -> None:
    voxels = np.zeros((2, 3, 4), dtype)
    voxels[1, 2, 3] = value

    with pytest.raises(DataError) as caught:
        as_labels(voxels, 'Label map "x"')

    assert str(caught.value) == (
        f'Label map "x" holds the value {text}; labels are whole numbers from 0 to 255 (0 is background, 1 to 254 '
        "structures, 255 unknown). Give its structures values from 1 to 254, or export it again as a label map."
    )


def drawn(*known_k: int, axis: int = 0) -> np.ndarray:
    """Slices of background in a label map where nothing else is known."""
    labels = np.full((4, 5, 6), 255, np.uint8)
    np.moveaxis(labels, axis, 0)[list(known_k)] = 0
    return labels


@pytest.mark.parametrize(
    "labels",
    [drawn(), drawn(0, 2), drawn(1, axis=1), np.minimum(drawn(1), drawn(3, axis=2)), np.zeros((4, 5, 6), np.uint8)],
    ids=["nothing", "slices", "slices along J", "slices along K and I", "everything"],
)
def test_slices_without_a_structure_are_no_mask(labels: np.ndarray) -> None:
    assert not is_mask_of_255(labels)


def test_an_organ_drawn_as_255_is_a_mask_and_one_with_a_label_is_none() -> None:
    k, j, i = np.indices((7, 9, 9))
    mask = np.where((k - 3) ** 2 + (j - 4) ** 2 + (i - 4) ** 2 <= 9, 255, 0).astype(np.uint8)

    assert is_mask_of_255(mask)
    mask[3, 4, 4] = 1
    assert not is_mask_of_255(mask)
