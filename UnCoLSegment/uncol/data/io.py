"""Images, label maps and maps from files and back; the only place that knows file formats and LPS.

Readers raise `DataError` for a file that is missing, unreadable, not scalar and 3D, or whose values are not what it is
read as, and `GeometryError` for a voxel grid that is not usable or not that of the other volume.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation
from numpy.typing import NDArray

from uncol.core.errors import MEMORY_IS_FULL, DataError, GeometryError, OutputError, says_memory_is_full
from uncol.core.files import flush_to_disk, private_folder, sha256_of
from uncol.core.jobs import DicomChoice, VolumeSource
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.core.volume_files import VolumeFile
from uncol.formats.grid import LPS_TO_RAS, regular_grid, tuple_text
from uncol.formats.read import read_volume

_LOGGER = logging.getLogger(__name__)
REPORT_FILE = "report.json"
_WRITABLE_SUFFIXES = (".nii.gz", ".nrrd", ".mha")
_GRID_FACTS = {
    "size": (" voxels", 0.0),
    "spacing": (" mm", 1e-5),
    "origin": (" mm", 1e-3),
    "axis directions": ("", 1e-5),
}


def read_image(source: VolumeSource, choice: DicomChoice = DicomChoice()) -> Volume:
    """Read a scalar 3D image from a NIfTI, NRRD, MetaImage or DICOM file, a folder with DICOM files, or the panel.

    Voxels keep their stored type, except that 64-bit numbers become 32-bit. Voxels that are not
    finite become the lowest finite value; a warning in the log counts them.
    """
    volume, subject = _read_volume(source, "Image", choice)
    voxels = _replace_non_finite(volume.voxels, subject)
    if voxels.min() == voxels.max():
        what = f"every voxel is {voxels.flat[0]}, there is nothing to segment"
        message = f"{subject} is constant: {what}. Check the file."
        raise DataError(message)
    return volume.with_voxels(voxels)


def read_labels(source: VolumeSource, image: Volume, image_name: str) -> Volume:
    """Read a label map, uint8 in [0, 255] with 255 = unknown, that lies on the grid of an image."""
    advice = "Resample the label map to the image."
    voxels, subject = _read_on_grid(source, "Label map", image, f'image "{image_name}"', advice)
    return image.with_voxels(_as_labels(voxels, subject))


def read_reference(path: Path) -> Volume:
    """Read a label map that sets the grid itself, because others are compared with it; values as in `read_labels`."""
    volume, subject = _read_volume(path, "Label map")
    labels = _as_labels(volume.voxels, subject)
    if labels.min() == labels.max():
        message = (
            f"{subject} holds only the value {labels.flat[0]}. "
            "Choose a label map that holds a structure and its background (0)."
        )
        raise DataError(message)
    return volume.with_voxels(labels)


def read_prediction(path: Path, reference: Volume, reference_name: str) -> Volume:
    """Read a segmentation that lies on the grid of its reference; values as in `read_labels`."""
    advice = "Choose two files of the same image, or resample the segmentation to the reference."
    voxels, subject = _read_on_grid(path, "Segmentation", reference, f'reference "{reference_name}"', advice)
    return reference.with_voxels(_as_labels(voxels, subject))


def _as_labels(voxels: NDArray[Any], subject: str) -> NDArray[np.uint8]:
    is_label = (voxels >= 0) & (voxels <= UNKNOWN_LABEL) & (voxels == np.rint(voxels))
    if not is_label.all():
        message = (
            f"{subject} holds the value {voxels[~is_label][0]}; labels are whole numbers from 0 to 255 "
            "(0 is background, 255 unknown). Export it again as a label map."
        )
        raise DataError(message)
    labels: NDArray[np.uint8] = voxels.astype(np.uint8)
    return labels


def read_map(path: Path, reference: Volume, reference_name: str) -> Volume:
    """Read a scalar map such as an uncertainty, as float32, that lies on the grid of another volume."""
    advice = "Choose the map that was written with this segmentation, or another reference."
    stored, subject = _read_on_grid(path, "Map", reference, f'reference "{reference_name}"', advice)
    voxels = stored.astype(np.float32)
    bad_count = voxels.size - np.count_nonzero(np.isfinite(voxels))
    if bad_count:
        message = (
            f"{subject} is not a finite number in {bad_count} of {voxels.size} voxels. Compute or export it again."
        )
        raise DataError(message)
    return reference.with_voxels(voxels)


def write_results(
    folder: Path,
    volumes: Mapping[str, Volume],
    documents: Mapping[str, str | bytes],
    report: Mapping[str, Any] | None = None,
) -> None:
    """Write volumes, texts and pictures under their file names: each file appears complete or not at all.

    Everything is first written to a private temporary folder inside `folder` and flushed to the disk; only when all of
    it stands there is it moved to its place, texts and pictures last. Of an earlier result with volumes nothing is left
    by then, so that an interruption leaves files of one run only.

    Args:
        folder: Where they are written.
        volumes: Volumes by file name.
        documents: Texts and pictures by file name.
        report: Written as `report.json`, the very last, with the SHA-256 of each other file under `files`.

    Raises:
        DataError: If the name of a volume does not end in .nii.gz, .nrrd or .mha.
        OutputError: If anything could not be written; nothing new is left behind.
    """
    for name in volumes:
        if not name.endswith(_WRITABLE_SUFFIXES):
            message = f'A volume cannot be written as "{name}". Use a name that ends in .nii.gz, .nrrd or .mha.'
            raise DataError(message)
    with _temporary_folder_in(folder) as temporary:
        for name, volume in volumes.items():
            _write_volume(temporary / name, volume)
        if report is not None:
            sums = {name: sha256_of(temporary / name) for name in volumes}
            documents = {**documents, REPORT_FILE: json.dumps({**report, "files": sums}, indent=2) + "\n"}
        for name, content in documents.items():
            (temporary / name).write_bytes(content if isinstance(content, bytes) else content.encode())
            flush_to_disk(temporary / name)
        _put_in_place(temporary, folder, [*volumes, *documents], is_set=bool(volumes))


def _put_in_place(temporary: Path, folder: Path, names: Sequence[str], *, is_set: bool) -> None:
    for name in names:
        if (folder / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, f'"{name}" is a folder there')
    if is_set:  # of an earlier one, the last file goes first
        for name in reversed(names):
            (folder / name).unlink(missing_ok=True)
    for name in names:
        (temporary / name).replace(folder / name)


def check_writable(folder: Path) -> None:
    """Create the folder if it is missing and write a byte in it, so that a long job does not fail at its end.

    Raises:
        OutputError: If results could not be written there.
    """
    with _temporary_folder_in(folder) as temporary:
        probe = temporary / "probe"
        probe.write_bytes(b"\0")
        flush_to_disk(probe)


def content_hash(volume: Volume) -> str:
    """Return the SHA-256 (hex) of voxels, their type and the rounded geometry; no names or tags enter it."""
    voxels = np.ascontiguousarray(volume.voxels, volume.voxels.dtype.newbyteorder("<"))
    axes, origin = np.round(volume.ijk_to_ras[:3, :3], 5), np.round(volume.ijk_to_ras[:3, 3], 3)
    grid = np.column_stack([axes, origin]) + 0.0  # + 0.0 turns -0.0 into 0.0
    digest = hashlib.sha256(f"{voxels.dtype.str} {voxels.shape} {grid.tolist()}".encode())
    digest.update(voxels.data)
    return digest.hexdigest()


def path_of(source: VolumeSource) -> Path:
    """Return the file that a volume is in, or its DICOM folder."""
    return source.file if isinstance(source, VolumeFile) else source


def _read_on_grid(
    source: VolumeSource, kind: str, reference: Volume, other_subject: str, advice: str
) -> tuple[NDArray[Any], str]:
    """Return voxels that lie on the grid of another volume, and what messages call the file."""
    volume, subject = _read_volume(source, kind)
    if volume.fits(reference):
        return volume.voxels, subject
    both = _grid_facts(volume), _grid_facts(reference)
    different = [
        fact
        for fact, (_, tolerance) in _GRID_FACTS.items()
        if not np.allclose(both[0][fact], both[1][fact], rtol=0, atol=tolerance)
    ] or list(_GRID_FACTS)  # many differences, each within its tolerance, can add up
    own, other = (
        " and ".join(f"{fact} {tuple_text(facts[fact])}{_GRID_FACTS[fact][0]}" for fact in different) for facts in both
    )
    message = f"{subject} has {own} but {other_subject} has {other}. {advice}"
    raise GeometryError(message)


def _grid_facts(volume: Volume) -> dict[str, NDArray[np.float64]]:
    matrix, spacing = volume.ijk_to_ras, np.array(volume.spacing_mm)
    size = np.array(volume.shape_kji[::-1], dtype=np.float64)
    directions = (matrix[:3, :3] / spacing).T.ravel()
    return {"size": size, "spacing": spacing, "origin": matrix[:3, 3], "axis directions": directions}


def _read_volume(source: VolumeSource, kind: str, choice: DicomChoice = DicomChoice()) -> tuple[Volume, str]:
    """Return a volume and what messages call it."""
    path = path_of(source)
    subject = f'{kind} "{path.absolute().name}"'
    if isinstance(source, VolumeFile):
        volume = source.read()
        volume = Volume(volume.voxels, regular_grid(volume.ijk_to_ras, subject))
    else:
        volume = read_volume(path, subject, choice)
    return volume.with_voxels(_in_32_bits(volume.voxels)), subject


def _in_32_bits(voxels: NDArray[Any]) -> NDArray[Any]:
    if voxels.dtype.itemsize < 8:
        return voxels
    limits = np.iinfo(np.int32)
    if voxels.dtype.kind in "iu" and limits.min <= voxels.min() and voxels.max() <= limits.max:
        return voxels.astype(np.int32)
    with np.errstate(over="ignore"):  # becomes infinite and is reported as not finite
        return voxels.astype(np.float32)


def _replace_non_finite(voxels: NDArray[Any], subject: str) -> NDArray[Any]:
    finite = np.isfinite(voxels)
    bad_count = voxels.size - np.count_nonzero(finite)
    if bad_count == voxels.size:
        message = f"{subject} holds no finite number at all. Export it again."
        raise DataError(message)
    if bad_count == 0:
        return voxels
    text = "The image is not a finite number in %d of %d voxels; its lowest value stands there instead."
    _LOGGER.warning(text, bad_count, voxels.size)
    return np.where(finite, voxels, voxels[finite].min())


@contextmanager
def _temporary_folder_in(folder: Path) -> Iterator[Path]:
    """Lend a private folder on the same file system; any failure inside becomes one OutputError and leaves no trace."""
    path_upwards = (folder, *folder.parents)
    missing = list(takewhile(lambda path: not path.exists(), path_upwards))
    try:
        if not (nearest := path_upwards[len(missing)]).is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f'"{nearest.name}" is a file, not a folder')
        folder.mkdir(parents=True, exist_ok=True)
        with private_folder(folder) as temporary:
            yield temporary
    except (OSError, RuntimeError) as error:
        for created in missing:
            with suppress(OSError):  # never there, or no longer empty
                created.rmdir()
        if says_memory_is_full(error):
            raise OutputError(MEMORY_IS_FULL) from error
        reason = getattr(error, "strerror", None) or "an image file could not be written completely"
        message = f'Results cannot be written to "{folder}" ({reason}). Free some space or choose another folder.'
        raise OutputError(message) from error


def _write_volume(path: Path, volume: Volume) -> None:
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
    except DataError as error:
        raise OSError(errno.ENOSPC, "an image file came out incomplete, as on a full disk") from error
