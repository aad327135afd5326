"""DICOM images of which a result becomes DICOM, too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uncol.core.errors import DataError, GeometryError
from uncol.core.jobs import DicomChoice, VolumeSource
from uncol.core.volume import Volume
from uncol.core.volume_files import VolumeFile
from uncol.data.io import as_image, path_of
from uncol.formats.dicom import StackGrid, is_dicom, read_grid, read_stack
from uncol.formats.dicom_results import check_highdicom, source_of
from uncol.formats.dicom_source import Source
from uncol.formats.grid import turned
from uncol.formats.paths import check_path, printable, unreadable

_SERIES = "The DICOM series"
"""What messages call the images of a volume in 3D Slicer, whose names are often the patient's."""


def read_dicom_image(source: VolumeSource, choice: DicomChoice) -> tuple[Volume, Source]:
    """Read an image as `read_image` does, with what its result as DICOM refers to.

    Raises:
        DataError: If it is no DICOM image, or does not say all that a result must repeat.
        GeometryError: As `read_stack` does.
    """
    check_highdicom()
    path = path_of(source)
    subject = f'Image "{printable(path.absolute().name)}"'
    if isinstance(source, VolumeFile):
        raise _no_dicom(subject)
    check_path(path, subject)
    try:
        if not (path.is_dir() or is_dicom(path)):
            raise _no_dicom(subject)
        stack = read_stack(path, subject, choice)
    except OSError as error:
        raise DataError(unreadable(subject, error)) from error
    return as_image(stack.volume, subject), source_of(stack.frames, subject)


def dicom_series(paths: Sequence[Path], labels: Volume) -> tuple[StackGrid, Source]:
    """Return where the images of a series lie, and what results refer to, if `labels` have the very same voxels.

    Args:
        paths: All files of the volume, in any order.
        labels: Anything on the grid of the volume.

    Raises:
        DataError: If files are gone or damaged, or do not say all that a result must repeat.
        GeometryError: If the images are no even stack, or have other voxels.
    """
    check_highdicom()
    try:
        grid = read_grid(paths, _SERIES)
    except OSError as error:
        raise DataError(unreadable(_SERIES, error)) from error
    if turned(labels, grid.ijk_to_ras, grid.shape_kji) is None:
        message = (
            "The volume does not have the voxels of its DICOM images any more, as when it was cropped, resampled or "
            "moved. Segment the volume as it was loaded from DICOM, then export that."
        )
        raise GeometryError(message)
    return grid, source_of(grid.frames, _SERIES)


def _no_dicom(subject: str) -> DataError:
    message = (
        f"{subject} is no DICOM image, so its result cannot be DICOM: patient and study would be missing. "
        "Give the folder with the DICOM files, or leave out --dicom."
    )
    return DataError(message)
