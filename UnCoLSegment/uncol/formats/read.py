"""One image file or DICOM folder as a volume, whatever its format."""

from __future__ import annotations

from pathlib import Path

from uncol.core.errors import MEMORY_IS_FULL, DataError
from uncol.core.jobs import DicomChoice
from uncol.core.volume import Volume
from uncol.formats.dicom import is_dicom, read_dicom
from uncol.formats.grid import CheckGrid, accept_any
from uncol.formats.metaimage import read_metaimage
from uncol.formats.nifti import read_nifti
from uncol.formats.nrrd import read_nrrd
from uncol.formats.paths import check_path, unreadable

_READERS = {
    (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz"): read_nifti,
    (".nrrd", ".nhdr"): read_nrrd,
    (".mha", ".mhd"): read_metaimage,
}


def read_volume(path: Path, subject: str, choice: DicomChoice, check: CheckGrid = accept_any) -> Volume:
    """Read a scalar 3D volume in its stored numbers; what is doubtful about it goes to the log as a warning.

    Args:
        path: A NIfTI, NRRD, MetaImage or DICOM file, or a folder with DICOM files.
        subject: What messages call it.
        choice: Which series of a folder, and whether damaged slices may be missing.
        check: Refuses a grid that will not do: of NIfTI, NRRD and MetaImage before voxels are read.

    Raises:
        DataError: If it is missing, damaged, incomplete, of another format, not scalar and 3D, or too large.
        GeometryError: If its voxels do not lie on a regular grid, or what it says of its grid contradicts itself.
    """
    check_path(path, subject)
    try:
        if path.is_dir():
            return _checked(read_dicom(path, subject, choice), check)
        for endings, read in _READERS.items():
            if path.name.lower().endswith(endings):
                return read(path, subject, check)
        if is_dicom(path):
            return _checked(read_dicom(path, subject, choice), check)
    except OSError as error:
        raise DataError(unreadable(subject, error)) from error
    except MemoryError as error:
        raise DataError(MEMORY_IS_FULL) from error
    message = (
        f"{subject} is of a format that is not read here. "
        "Use a NIfTI (.nii, .nii.gz), NRRD (.nrrd) or MetaImage (.mha) file or a folder with DICOM files."
    )
    raise DataError(message)


def _checked(volume: Volume, check: CheckGrid) -> Volume:
    check(volume)
    return volume
