"""Small images in files of every format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation

FORMATS = ["nii.gz", "nrrd", "mha"]


def save(path: Path, voxels: np.ndarray, **geometry: Sequence[float]) -> Path:
    """Write an array (..., K, J, I) with SimpleITK, with Spacing, Origin and Direction (LPS) as given."""
    image = sitk.GetImageFromArray(voxels)
    for name, value in geometry.items():
        getattr(image, f"Set{name}")(value)
    sitk.WriteImage(image, str(path))
    return path


def numbered(dtype: Any = np.int16) -> np.ndarray:
    return np.arange(24).reshape(2, 3, 4).astype(dtype)
