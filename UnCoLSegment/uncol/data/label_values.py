"""What a voxel of a label map may be: 0 for background, 1 to 254 for structures, 255 for what nobody annotated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uncol.core.errors import DataError
from uncol.core.volume import UNKNOWN_LABEL

_ROUNDING = 1e-3  # resampling and scaling leave 2.9999998 and 3.0000458 of a 3


def as_labels(voxels: NDArray[Any], subject: str) -> NDArray[np.uint8]:
    """Return voxels (K, J, I) as labels from 0 to 255; numbers within 0.001 of a whole one are rounded to it.

    Raises:
        DataError: If one is no label; it is named.
    """
    if voxels.dtype == np.uint8:
        return voxels
    whole = voxels if voxels.dtype.kind in "iu" else np.rint(voxels)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        is_label = (whole >= 0) & (whole <= UNKNOWN_LABEL) & (np.abs(voxels - whole) <= _ROUNDING)
    if not is_label.all():
        message = (
            f"{subject} holds the value {voxels[~is_label][0]}; labels are whole numbers from 0 to 255 "
            "(0 is background, 1 to 254 structures, 255 unknown). Give its structures values from 1 to 254, "
            "or export it again as a label map."
        )
        raise DataError(message)
    labels: NDArray[np.uint8] = whole.astype(np.uint8)
    return labels


def is_mask_of_255(labels: NDArray[np.uint8]) -> bool:
    """Say whether 255 is drawn like a structure: there is only 0 beside it, and what is 0 is not a number of slices."""
    is_known = labels != UNKNOWN_LABEL
    if labels[is_known].any() or is_known.all() or not is_known.any():
        return False
    whole_slices = np.zeros_like(is_known)
    for others in ((1, 2), (0, 2), (0, 1)):
        whole_slices |= is_known.all(axis=others, keepdims=True)
    return not np.array_equal(whole_slices, is_known)


def mask_of_255(subject: str) -> str:
    """Return the sentence about a label map in which a structure is 255."""
    return (
        f"{subject} holds only 0 and 255, and 255 means unknown here. "
        "Give the structure a value from 1 to 254 and export the label map again."
    )
