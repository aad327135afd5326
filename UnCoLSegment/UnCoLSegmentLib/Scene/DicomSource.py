"""The DICOM files of a volume, as Slicer's database knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from uncol.core.errors import DataError

INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"
"""On a volume that Slicer loaded from DICOM: UIDs of its images, with spaces between (DICOMScalarVolumePlugin.py)."""


def whyNoDicom(volumeNode: Any) -> str:
    """Return why a volume has no DICOM images, as a sentence; "" if it was loaded from some. Cheap."""
    if not volumeNode.GetAttribute(INSTANCES_ATTRIBUTE):
        return _("The volume was not loaded from DICOM, so there is no patient and no study to export to.")
    return ""


def filesOf(volumeNode: Any) -> tuple[Path, ...]:
    """Return the files of a volume's images, as the database names them; whether they are there is not looked at.

    Raises:
        DataError: If the volume has no images, or the database does not know all of them.
    """
    missing = whyNoDicom(volumeNode)
    if missing:
        raise DataError(missing)
    if not hasattr(slicer, "dicomDatabase") or not slicer.dicomDatabase.isOpen:
        message = _("Slicer's DICOM database is not open. Open the module DICOM once, then export again.")
        raise DataError(message)
    instances = dict.fromkeys(volumeNode.GetAttribute(INSTANCES_ATTRIBUTE).split())
    files = [slicer.dicomDatabase.fileForInstance(each) for each in instances]
    unknown = sum(not each for each in files)
    if unknown:
        message = _(
            "Slicer's DICOM database lacks {count} of the volume's {all} images. Import the series in the module "
            "DICOM, then export again."
        )
        raise DataError(message.format(count=unknown, all=len(files)))
    return tuple(map(Path, files))
