"""One volume as a NIfTI, NRRD or MetaImage file."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation

from uncol.core.errors import MEMORY_IS_FULL, DataError, GeometryError
from uncol.core.files import flush_to_disk
from uncol.core.jobs import DicomChoice
from uncol.core.volume import Volume
from uncol.formats.grid import LPS_TO_RAS
from uncol.formats.read import read_volume


def write_volume(path: Path, volume: Volume) -> None:
    """Write a volume, flush it to the disk, and read it again: what comes back is whole.

    Raises:
        GeometryError: If it lies on a grid that is not read, as with a spacing of meters.
        MemoryError: If there was no memory left to read it.
        OSError: If it could not be written, or not completely.
    """
    is_mask = volume.voxels.dtype == np.bool_
    image = sitk.GetImageFromArray(volume.voxels.astype(np.uint8) if is_mask else volume.voxels)
    ijk_to_lps = LPS_TO_RAS @ volume.ijk_to_ras
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection((ijk_to_lps[:3, :3] / volume.spacing_mm).ravel().tolist())
    image.SetOrigin(ijk_to_lps[:3, 3].tolist())
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    sitk.WriteImage(image, str(path), useCompression=True)
    flush_to_disk(path)
    try:
        read_volume(path, "The result", DicomChoice())  # ITK writes NIfTI and NRRD to a full disk without an error
    except GeometryError:  # a grid that nobody reads is no full disk
        raise
    except DataError as error:
        if str(error) == MEMORY_IS_FULL:
            raise MemoryError from error
        raise OSError(errno.ENOSPC, "an image file came out incomplete, as on a full disk") from error
