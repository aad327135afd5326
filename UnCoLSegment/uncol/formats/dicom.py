"""DICOM through pydicom: the images of one series, or of one file, as a volume; whole, or refused by name."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uncol.core.errors import DataError, GeometryError
from uncol.core.files import is_file
from uncol.core.jobs import DicomChoice
from uncol.core.volume import Volume
from uncol.formats.dicom_files import (
    SEGMENTATIONS,
    Found,
    ImageFile,
    OtherFile,
    is_dicom_file,
    look_at,
    look_through,
    quietly,
)
from uncol.formats.dicom_frames import Frame, Misfit, quoted
from uncol.formats.dicom_gdcm import Gdcm
from uncol.formats.dicom_pixels import have_equal_values, read_into, value_type
from uncol.formats.dicom_stack import at_one_place, fitting_together, several_phases, stack_of

_LOGGER = logging.getLogger(__name__)
_LISTED_SERIES = 8
_LISTED_FILES = 3
_OPTION = "--allow-incomplete"


@dataclass(frozen=True)
class Stack:
    """A volume, and for each of its slices (K) the image that it came from."""

    volume: Volume
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class StackGrid:
    """Where the images of a series lie: a grid, and for each of its slices (K) the image that it is."""

    shape_kji: tuple[int, int, int]
    ijk_to_ras: NDArray[np.float64]
    frames: tuple[Frame, ...]


def is_dicom(path: Path) -> bool:
    """Say whether a file is DICOM, with or without the preamble."""
    with quietly():
        return is_dicom_file(path)


def read_dicom(path: Path, subject: str, choice: DicomChoice) -> Volume:
    """Read what `read_stack` reads, without a word of the files."""
    return read_stack(path, subject, choice).volume


def read_stack(path: Path, subject: str, choice: DicomChoice) -> Stack:
    """Read a folder with DICOM images, not below, or one DICOM file with one image or many.

    Voxels are stored x slope + intercept of each image, whole numbers where that gives whole numbers, else float32;
    MONOCHROME1 is not inverted. Slices go up along the normal of their orientation, so that the grid is right-handed.

    Args:
        path: The folder or file.
        subject: What messages call it. Tags about a patient are not read.
        choice: Which series, and whether damaged and odd images may be left out.

    Raises:
        DataError: If there is no image, more than one series and no choice, or anything is damaged or cannot be read.
        GeometryError: If images do not say where they lie, or do not lie in one straight, even stack.
    """
    with quietly():
        found = look_through(path, subject) if path.is_dir() else _one_file(path, subject)
        images = _chosen_series(found, subject, choice)
        _tell_of_others(found.others, subject)
        _check_damaged(found, images, subject, choice)
        return _stack(images, subject, choice)


def read_grid(paths: Sequence[Path], subject: str) -> StackGrid:
    """Return where the images of some files lie, of all of them, as `read_stack` places them; no pixels are read.

    Messages name no file: archives name them by their UIDs.

    Raises:
        DataError: If a file is gone, damaged or no image.
        GeometryError: If they do not lie in one straight, even stack.
    """
    with quietly():
        gone = sum(not is_file(path) for path in paths)
        if gone:
            message = f"{subject} lacks {gone} of its {len(paths)} files: they were moved or deleted. Import it again."
            raise DataError(message)
        looked_at = [look_at(path, subject) for path in paths]
        frames = [frame for each in looked_at if isinstance(each, ImageFile) for frame in each.frames]
        reasons = [each.reason for each in looked_at if isinstance(each, OtherFile)]
        reasons += [misfit.reason for each in looked_at if isinstance(each, ImageFile) for misfit in each.misfits]
        if reasons:
            listed = "; ".join(dict.fromkeys(reasons))
            message = (
                f"{subject} has images that cannot be used ({len(reasons)} of {len(reasons) + len(frames)}: {listed}). "
                "Import it again."
            )
            raise DataError(message)
        fitting, _scouts, _odd = fitting_together(frames)
        groups = at_one_place(fitting)
        if len(groups) < len(frames):
            message = f"{subject} has images that do not lie in one stack, as of several phases. Load one of them."
            raise GeometryError(message)
        ordered = tuple(group[0] for group in groups)
        try:
            ijk_to_ras = stack_of(ordered, subject)
        except GeometryError as error:
            message = (
                f"{subject} is no straight stack of slices at even distances, as when the gantry was tilted or slices "
                "are missing. There can be no DICOM result for it."
            )
            raise GeometryError(message) from error
        pixels = ordered[0].pixels
        return StackGrid((len(ordered), pixels.rows, pixels.columns), ijk_to_ras, ordered)


def _one_file(path: Path, subject: str) -> Found:
    looked_at = look_at(path, subject)
    if isinstance(looked_at, OtherFile):
        return Found(damaged=[looked_at]) if looked_at.is_damaged else Found(others=[looked_at])
    if looked_at.pixels.frame_count == 1 and _has_siblings(path, looked_at):
        _LOGGER.warning("%s is one slice of a series. Give its folder to read the whole.", subject)
    return Found(images=[looked_at])


def _has_siblings(path: Path, image: ImageFile) -> bool:
    try:
        others = [each for each in path.absolute().parent.iterdir() if each.name != path.name and each.is_file()]
        lookups = (look_at(each, "") for each in others if not each.name.startswith("."))
        return any(isinstance(each, ImageFile) and each.series == image.series for each in lookups)
    except (OSError, DataError):
        return False  # it is for a hint alone


def _tell_of_others(others: Sequence[OtherFile], subject: str) -> None:
    if others:
        names = _first_names([quoted(each.path) for each in others])
        _LOGGER.warning("Left out of %s, no DICOM images (%d): %s.", subject, len(others), names)


def _chosen_series(found: Found, subject: str, choice: DicomChoice) -> list[ImageFile]:
    series: dict[str, list[ImageFile]] = {}
    for image in sorted(found.images, key=lambda each: (each.series_number is None, each.series_number, each.series)):
        series.setdefault(image.series, []).append(image)
    if not series:
        raise _no_images(found, subject)
    groups = [*series.values()]
    described = map(_description, groups[:_LISTED_SERIES])
    listed = "; ".join(f"{number} ({each})" for number, each in enumerate(described, start=1))
    more = f"; and {len(groups) - _LISTED_SERIES} more" if len(groups) > _LISTED_SERIES else ""
    if choice.series is None and len(groups) > 1:
        message = (
            f"{subject} holds {len(groups)} DICOM series: {listed}{more}. "
            "Choose one with --series NUMBER, or move its files to a folder of their own."
        )
        raise DataError(message)
    number = 1 if choice.series is None else choice.series
    if not 1 <= number <= len(groups):
        message = f"{subject} has no series {number}. Choose one of {listed}{more}."
        raise DataError(message)
    return groups[number - 1]


def _description(images: Sequence[ImageFile]) -> str:
    first = images[0]
    number = "no series number" if first.series_number is None else f"series number {first.series_number}"
    count = sum(each.pixels.frame_count for each in images)
    size = f"{first.pixels.columns} x {first.pixels.rows}"
    return f"{number}, {first.modality}, {count} image{'s' if count > 1 else ''} of {size}"


def _no_images(found: Found, subject: str) -> DataError:
    if found.damaged:
        listed = _listed(map(_misfit, found.damaged))
        message = f"{subject} is damaged or incomplete ({listed}). Copy or export the DICOM files again."
        return DataError(message)
    kinds = [each for each in found.others if each.sop_class]
    if any(each.sop_class in SEGMENTATIONS for each in kinds):
        message = (
            f"{subject} is a DICOM segmentation (SEG), which is not read. Export it as a label map (NIfTI or NRRD) in "
            "which each structure has a value from 1 to 254; 0 is background and 255 means unknown."
        )
        return DataError(message)
    if kinds:
        message = (
            f"{subject} holds no DICOM image ({_listed(map(_misfit, kinds))}). "
            "Choose the images; structures have to be exported as a label map (NIfTI or NRRD)."
        )
        return DataError(message)
    message = f"{subject} is a folder without DICOM images. Choose the folder that directly holds the slices."
    return DataError(message)


def _check_damaged(found: Found, images: Sequence[ImageFile], subject: str, choice: DicomChoice) -> None:
    """Refuse a series of which files are damaged, or of which that cannot be said."""
    series = images[0].series
    damaged = [each for each in found.damaged if choice.series is None or each.series in ("", series)]
    count = len(images) + len(damaged)
    _leave_out([_misfit(each) for each in damaged], f"{len(damaged)} of {count} files", subject, choice)


def _leave_out(misfits: Sequence[Misfit], how_many: str, subject: str, choice: DicomChoice) -> None:
    """Leave images out with consent, and say which."""
    if not misfits:
        return
    if not choice.allow_incomplete:
        message = (
            f"{subject} would be incomplete: {how_many} cannot be used ({_listed(misfits)}). "
            f"Copy or export the series again, or add {_OPTION} to read the rest."
        )
        raise DataError(message)
    _LOGGER.warning("Left out of %s, %s (%s).", subject, how_many, _listed(misfits))


def _misfit(file: OtherFile) -> Misfit:
    return Misfit(quoted(file.path), file.reason)


def _listed(misfits: Iterable[Misfit]) -> str:
    """Return files by what is wrong with them, the first few by name."""
    names: dict[str, list[str]] = {}
    for each in misfits:
        names.setdefault(each.reason, []).append(each.name)
    return "; ".join(f"{reason}: {_first_names(each)}" for reason, each in names.items())


def _first_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED_FILES} more" if len(names) > _LISTED_FILES else ""
    return ", ".join(names[:_LISTED_FILES]) + more


def _stack(images: Sequence[ImageFile], subject: str, choice: DicomChoice) -> Stack:
    frames = _usable(images, subject, choice)
    _tell_of_inverted(images[0].modality, frames, subject)
    with Gdcm() as gdcm:
        while True:
            frames = _one_at_each_place(frames, subject, gdcm)
            ijk_to_ras = stack_of(frames, subject)
            voxels, failed = _voxels(frames, gdcm)
            if not failed:
                return Stack(Volume(voxels, ijk_to_ras), tuple(frames))
            frames = _without(failed, frames, subject, choice)


def _usable(images: Sequence[ImageFile], subject: str, choice: DicomChoice) -> list[Frame]:
    """Return the images that say all that is needed and share size, spacing and orientation."""
    silent = [misfit for image in images for misfit in image.misfits]
    frames = [frame for image in images for frame in image.frames]
    if len(silent) >= len(frames):
        message = (
            f"{subject} cannot be read ({_listed(silent)}). Export it again: each slice must state its position, "
            "orientation and pixel spacing, and hold one number for each pixel."
        )
        raise GeometryError(message)
    fitting, scouts, odd = fitting_together(frames)
    if scouts:
        names = _first_names([each.name for each in scouts])
        _LOGGER.warning("Left out of %s, scouts of another geometry (%d): %s.", subject, len(scouts), names)
    misfits = [*silent, *odd]
    is_split = any(each.is_frame for each in misfits) or len(misfits) >= len(fitting)
    if misfits and is_split:
        message = (
            f"{subject} holds images that do not lie in one stack: of {len(fitting) + len(misfits)}, "
            f"{len(misfits)} differ from the others ({_listed(misfits)}). Export one stack alone."
        )
        raise GeometryError(message)
    _leave_out(misfits, f"{len(misfits)} of {len(fitting) + len(misfits)} images", subject, choice)
    return fitting


def _tell_of_inverted(modality: str, frames: Sequence[Frame], subject: str) -> None:
    if modality != "CT" and any(each.pixels.photometric == "MONOCHROME1" for each in frames):
        text = "%s is MONOCHROME1, shown with high values dark. It is read with its values as they are, not inverted."
        _LOGGER.warning(text, subject)


def _one_at_each_place(frames: Sequence[Frame], subject: str, gdcm: Gdcm) -> list[Frame]:
    """Return the images from the lowest up, without those that are there twice."""
    groups = at_one_place(frames)
    for group in groups:
        if len(group) > 1 and not have_equal_values(group, gdcm):
            raise several_phases(group, subject)
    copies = [each.name for group in groups for each in group[1:]]
    if copies:
        _LOGGER.warning("Left out of %s, copies of other slices (%d): %s.", subject, len(copies), _first_names(copies))
    return [group[0] for group in groups]


def _voxels(frames: Sequence[Frame], gdcm: Gdcm) -> tuple[NDArray[Any], dict[Path, str]]:
    voxels = np.zeros((len(frames), frames[0].pixels.rows, frames[0].pixels.columns), value_type(frames))
    return voxels, read_into(voxels, frames, gdcm)


def _without(failed: dict[Path, str], frames: Sequence[Frame], subject: str, choice: DicomChoice) -> list[Frame]:
    """Return the images of files that can be decoded, if that is consented to and any are left."""
    left = [each for each in frames if each.pixels.path not in failed]
    misfits = [Misfit(quoted(path), reason) for path, reason in failed.items()]
    if not left:
        message = f"{subject} is damaged or of a kind that is not read ({_listed(misfits)}). Export it uncompressed."
        raise DataError(message)
    _leave_out(misfits, f"{len(misfits)} of {len({each.pixels.path for each in frames})} files", subject, choice)
    return left
