"""DICOM images of which a result becomes DICOM, too."""

from __future__ import annotations

from uncol.core.errors import DataError
from uncol.core.jobs import DicomChoice, VolumeSource
from uncol.core.volume import Volume
from uncol.core.volume_files import VolumeFile
from uncol.data.io import as_image, path_of
from uncol.formats.dicom import is_dicom, read_stack
from uncol.formats.dicom_results import Source, check_highdicom, source_of
from uncol.formats.paths import check_path, printable, unreadable


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


def _no_dicom(subject: str) -> DataError:
    message = (
        f"{subject} is no DICOM image, so its result cannot be DICOM: patient and study would be missing. "
        "Give the folder with the DICOM files, or leave out --dicom."
    )
    return DataError(message)
