"""Where voxels of a NIfTI or Analyze file lie: its sform, its qform and its pixdim compared with each other."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
from nibabel.analyze import AnalyzeHeader
from nibabel.nifti1 import Nifti1Header
from nibabel.quaternions import quat2mat
from numpy.typing import NDArray

from uncol.core.errors import GeometryError
from uncol.core.volume import grid_distance_mm, grids_agree
from uncol.formats.grid import LPS_TO_RAS, ROUNDED_COSINE, irregular, regular_grid, slant_of, tuple_text

_LOGGER = logging.getLogger(__name__)
_UNIT_BITS = 7
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown, m, mm, um
_LONGEST_QUATERNION = 1 + 1e-4
_QUATERNION_DIGITS = 5e-7  # the rounding of 32-bit numbers near 1, a few times over
_SFORM_COUNTS = "The sform counts, as for nibabel, FSL, SPM and nnU-Net; Slicer and ITK-SNAP may use the other."
_INVALID_QFORM = "%s has an sform, and a qform that is not valid. " + _SFORM_COUNTS
_TWO_GEOMETRIES = "%s holds two geometries: its sform and its qform lie %.3g mm apart in a corner. " + _SFORM_COUNTS
_TWO_SPACINGS = "%s has spacing %s mm by its sform but %s mm by its pixdim. " + _SFORM_COUNTS
_NOT_PLACED = (
    "%s does not say how it lies in the patient: it has neither sform nor qform. Left and right may be mixed up."
)


@dataclass(frozen=True)
class Placement:
    """Where voxels lie; the attributes are those of `Volume`."""

    ijk_to_ras: NDArray[np.float64]
    other_grids: tuple[NDArray[np.float64], ...] = ()
    is_placed: bool = True


@np.errstate(over="ignore", invalid="ignore")  # of absurd numbers, which are refused
def place(header: AnalyzeHeader, shape_kji: tuple[int, int, int], subject: str) -> Placement:
    """Return where the header puts the voxels; what it says twice and differently is a warning in the log.

    The sform counts where there is one (code above 0), then the qform. Lengths are converted to mm.

    Raises:
        GeometryError: If the axes that count are not at right angles, or if nothing says how large voxels are.

    Source:
        nifti1.h of the NIfTI-1 standard, "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE".
    """
    if not isinstance(header, Nifti1Header):
        return _unplaced(np.abs(_pixdim(header)), subject)
    unit = int(header["xyzt_units"]) & _UNIT_BITS
    if unit not in _MM_PER_UNIT:
        message = f"{subject} states lengths in an unknown unit ({unit} in xyzt_units). Export it again in mm."
        raise GeometryError(message)
    to_mm = np.diag([_MM_PER_UNIT[unit]] * 3 + [1.0])
    spacing = _pixdim(header) * _MM_PER_UNIT[unit]
    if int(header["sform_code"]) > 0:
        return _by_sform(header, to_mm, shape_kji, subject)
    if int(header["qform_code"]) <= 0:
        return _unplaced(spacing, subject)
    _check_spacing(spacing, subject)
    qform = _qform(header, to_mm)
    if qform is None:
        message = f"{subject} has a qform that is no rotation and a place, and no sform. Export it again."
        raise GeometryError(message)
    return Placement(regular_grid(qform, subject))


def _by_sform(
    header: Nifti1Header, to_mm: NDArray[np.float64], shape_kji: tuple[int, int, int], subject: str
) -> Placement:
    sform: NDArray[np.float64] = to_mm @ header.get_sform() + 0.0  # + 0.0 turns -0.0 into 0.0
    has_qform = int(header["qform_code"]) > 0
    if np.isfinite(sform).all() and sform[:3, :3].any(axis=0).all() and slant_of(sform) > ROUNDED_COSINE:
        degrees = math.degrees(math.asin(min(1.0, slant_of(sform))))
        other = "its qform is not" if has_qform else "there is no qform"
        reason = f"its sform is sheared by {degrees:.2g} degrees, as by a tilted gantry, and {other}"
        message = f"{irregular(subject)[:-1]}: {reason}."
        raise GeometryError(message)
    grid = regular_grid(sform, subject)
    if not has_qform:
        return Placement(grid, _by_pixdim(header, to_mm, grid, shape_kji, subject))
    qform = _qform(header, to_mm)
    if qform is None:
        _LOGGER.warning(_INVALID_QFORM, subject)
        return Placement(grid)
    if grids_agree(grid, qform, shape_kji):
        return Placement(grid)
    if not grids_agree(grid, _without_rounding(header, grid, qform), shape_kji):
        _LOGGER.warning(_TWO_GEOMETRIES, subject, grid_distance_mm(grid, qform, shape_kji))
    return Placement(grid, (qform,))


def _by_pixdim(
    header: Nifti1Header,
    to_mm: NDArray[np.float64],
    grid: NDArray[np.float64],
    shape_kji: tuple[int, int, int],
    subject: str,
) -> tuple[NDArray[np.float64], ...]:
    """Return the sform's grid with the spacing of pixdim if that is another, after a warning."""
    spacing = np.linalg.norm(grid[:3, :3], axis=0)
    stated = _pixdim(header) * to_mm[0, 0]
    is_valid = _is_spacing(stated)
    other = grid @ np.diag([*(stated / spacing), 1.0]) if is_valid else grid
    if is_valid and grids_agree(grid, other, shape_kji):
        return ()
    _LOGGER.warning(_TWO_SPACINGS, subject, tuple_text(spacing), tuple_text(stated))
    return (other,) if is_valid else ()


def _unplaced(spacing: NDArray[np.float64], subject: str) -> Placement:
    """Return the grid that ITK makes up: axes to the left, to the back and up from the origin."""
    _check_spacing(spacing, subject)
    _LOGGER.warning(_NOT_PLACED, subject)
    return Placement(regular_grid(LPS_TO_RAS @ np.diag([*spacing, 1.0]), subject), is_placed=False)


def _qform(header: Nifti1Header, to_mm: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the matrix of quaternion, pixdim and offset, or None if they are not valid.

    nibabel's takes turns within 0.07 degrees of a half turn for half turns; here as in nifticlib 0.04 degrees.
    """
    spacing, quaternion = _pixdim(header), _quaternion(header)
    length = float(quaternion @ quaternion)
    if not _is_spacing(spacing) or not length <= _LONGEST_QUATERNION:
        return None
    rounding = 1e-7 if header["quatern_b"].dtype.itemsize == 4 else 1e-15
    scalar = math.sqrt(1 - length) if 1 - length > rounding else 0.0
    qform = np.eye(4)
    qform[:3, :3] = quat2mat([scalar, *quaternion]) * spacing * [1, 1, _handedness(header)]
    qform[:3, 3] = [header[f"qoffset_{axis}"] for axis in "xyz"]
    return to_mm @ qform + 0.0 if np.isfinite(qform).all() else None


def _without_rounding(
    header: Nifti1Header, grid: NDArray[np.float64], qform: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the qform, with the sform's axes if its quaternion is theirs.

    Near half turns the last digit of a 32-bit quaternion is a quarter of a voxel at the far end of an image.
    """
    same = header.copy()
    same.set_qform(grid, 1)
    own, theirs = _quaternion(header), _quaternion(same)
    distance = min(np.abs(own - theirs).max(), np.abs(own + theirs).max())
    if distance > _QUATERNION_DIGITS or _handedness(header) != _handedness(same):
        return qform
    spacing = np.linalg.norm(np.stack([grid, qform])[:, :3, :3], axis=1)
    return np.column_stack([grid[:, :3] * (spacing[1] / spacing[0]), qform[:, 3]])


def _quaternion(header: Nifti1Header) -> NDArray[np.float64]:
    return np.array([header[f"quatern_{axis}"] for axis in "bcd"], dtype=np.float64)


def _handedness(header: Nifti1Header) -> int:
    return -1 if header["pixdim"][0] < 0 else 1


def _pixdim(header: AnalyzeHeader) -> NDArray[np.float64]:
    return np.array(header["pixdim"][1:4], dtype=np.float64)


def _is_spacing(numbers: NDArray[np.float64]) -> bool:
    return bool((np.isfinite(numbers) & (numbers > 0)).all())


def _check_spacing(numbers: NDArray[np.float64], subject: str) -> None:
    if not _is_spacing(numbers):
        message = (
            f"{subject} has pixdim {tuple_text(numbers)} and no sform, so it does not say how large its voxels are. "
            "Export it again with a spacing above 0 mm."
        )
        raise GeometryError(message)
