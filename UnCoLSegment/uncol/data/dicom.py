"""A folder with one DICOM series, and what can be wrong with it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation

from uncol.core.errors import MEMORY_IS_FULL, DataError, GeometryError, says_memory_is_full

_LOGGER = logging.getLogger(__name__)
_MISPLACED = 0.2  # part of the slice distance; scanners round positions to 0.1 mm, a missing slice gives 1/4 or more
_LISTED_SERIES = 8


def read_dicom_folder(folder: Path, subject: str) -> Any:
    """Read the one DICOM series that lies in a folder as a SimpleITK image, its slices in order of their positions.

    Args:
        folder: Where the slices lie; folders below it are not looked into.
        subject: What messages call it. Tags of a patient never enter a message.

    Raises:
        DataError: If there is no series or more than one, or if its slices do not form one volume.
        GeometryError: If the slices do not lie in an even, straight stack, or do not say where they lie.
    """
    reader = sitk.ImageSeriesReader()
    series = {uid: reader.GetGDCMSeriesFileNames(str(folder), uid) for uid in reader.GetGDCMSeriesIDs(str(folder))}
    if not series:
        message = f"{subject} is a folder without DICOM images. Choose the folder that directly holds the slices."
        raise DataError(message)
    if len(series) > 1:
        listed = "; ".join(_describe_series(uid, files) for uid, files in [*series.items()][:_LISTED_SERIES])
        more = f"; and {len(series) - _LISTED_SERIES} more" if len(series) > _LISTED_SERIES else ""
        message = f"{subject} holds {len(series)} DICOM series ({listed}{more}). Move the wanted one to its own folder."
        raise DataError(message)
    (files,) = series.values()
    _warn_of_unused_dicom(folder, len(files))
    reader.SetFileNames(files)
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        image = reader.Execute()
    except RuntimeError as error:
        if says_memory_is_full(error):
            raise DataError(MEMORY_IS_FULL) from error
        message = f"{subject} holds DICOM slices that do not form one volume. Export the series again."
        raise DataError(message) from error
    if len(files) > 1:
        _check_slice_positions(reader, len(files), image, subject)
    return image


def _describe_series(uid: str, files: tuple[str, ...]) -> str:
    header = sitk.ImageFileReader()
    header.SetFileName(files[0])
    try:
        header.ReadImageInformation()
        description = header.GetMetaData("0008|103e").strip() or uid
    except RuntimeError:
        description = uid  # nothing better is known of a series without description or image
    count = "1 file, " if len(files) == 1 else f"{len(files)} files from "
    return f'"{description.encode("utf-8", "replace").decode()}", {count}{Path(files[0]).name}'


def _warn_of_unused_dicom(folder: Path, used_count: int) -> None:
    unused_count = sum(_is_dicom(path) for path in folder.iterdir() if path.name != "DICOMDIR") - used_count
    if unused_count > 0:
        _LOGGER.warning(
            "Left out, because damaged or no image: %d of the %d DICOM files in the folder.",
            unused_count,
            used_count + unused_count,
        )


def _is_dicom(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _check_slice_positions(reader: Any, slice_count: int, image: Any, subject: str) -> None:
    try:
        texts = [reader.GetMetaData(index, "0020|0032").split("\\") for index in range(slice_count)]
        positions_mm = np.array(texts, dtype=np.float64).reshape(slice_count, 3)
    except (RuntimeError, ValueError) as error:
        message = f"{subject} holds DICOM slices that do not say where they lie. Export it with patient positions."
        raise GeometryError(message) from error
    read_positions_mm = [image.TransformIndexToPhysicalPoint((0, 0, index)) for index in range(slice_count)]
    misplaced_mm = np.linalg.norm(positions_mm - read_positions_mm, axis=1).max()
    if misplaced_mm > _MISPLACED * image.GetSpacing()[2]:
        message = (
            f"{subject} holds DICOM slices that lie up to {misplaced_mm:.3g} mm off an even, straight stack: slices "
            "are missing, several phases share the series, or the gantry was tilted. Export one complete stack."
        )
        raise GeometryError(message)
