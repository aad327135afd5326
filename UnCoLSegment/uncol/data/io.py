"""Images, label maps and maps from files and back; the only place that knows file formats and LPS.

Readers raise `DataError` for a file that is missing, unreadable, not scalar and 3D, or whose values are not what it is
read as, and `GeometryError` for a voxel grid that is not usable or not that of the other volume.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uncol.core.errors import MEMORY_IS_FULL, DataError, OutputError, says_memory_is_full
from uncol.core.files import flush_to_disk, is_real_folder, private_folder, sha256_of
from uncol.core.jobs import DicomChoice, VolumeSource
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.core.volume_files import VolumeFile
from uncol.data.label_values import as_labels, is_mask_of_255, mask_of_255
from uncol.data.same_grid import Grid, check_grid
from uncol.formats.grid import accept_any, regular_grid
from uncol.formats.paths import is_text, printable
from uncol.formats.read import read_volume
from uncol.formats.voxels import in_32_bits
from uncol.formats.write import write_volume

_LOGGER = logging.getLogger(__name__)
_NO_CHOICE = DicomChoice()
REPORT_FILE = "report.json"
Content = str | bytes | Callable[[Mapping[str, str]], str]
"""What a file beside volumes holds."""
_WRITABLE_SUFFIXES = (".nii.gz", ".nrrd", ".mha")


def read_image(source: VolumeSource, choice: DicomChoice = _NO_CHOICE) -> Volume:
    """Read a scalar 3D image from a NIfTI, NRRD, MetaImage or DICOM file, a folder with DICOM files, or the panel.

    Voxels keep their stored type, except that 64-bit numbers become 32-bit. Positive infinity, as metal has it, becomes
    the highest finite value, everything else that is not finite the lowest; a warning in the log counts them.
    """
    return as_image(*_read_volume(source, "Image", choice))


def read_segmented_image(path: Path, labels: Volume, labels_name: str, choice: DicomChoice = _NO_CHOICE) -> Volume:
    """Read the image that a segmentation is of; one on another grid is refused by its header."""
    advice = "Give the image that the result was made from."
    grid = Grid(labels, f'segmentation "{printable(labels_name)}"', advice, advice)
    return as_image(*_read_volume(path, "Image", choice, grid))


def read_beside(path: Path, kind: str, labels: Volume, labels_name: str, choice: DicomChoice = _NO_CHOICE) -> Volume:
    """Read a label map, called `kind`, that is looked at beside a segmentation of the same image."""
    grid = Grid(
        labels,
        f'segmentation "{printable(labels_name)}"',
        "Give a file of the same image, or export it again on that image.",
        "Give a file of the same image, or resample it to the segmentation.",
    )
    voxels, subject = _read_on_grid(path, kind, grid, choice)
    return labels.with_voxels(as_labels(voxels, subject))


def as_image(volume: Volume, subject: str) -> Volume:
    """Return what was read as an image: in 32 bits, finite, and not constant."""
    voxels = _replace_non_finite(in_32_bits(volume.voxels), subject)
    if voxels.min() == voxels.max():
        what = f"every voxel is {voxels.flat[0]}, there is nothing to segment"
        message = f"{subject} is constant: {what}. Check the file."
        raise DataError(message)
    return volume.with_voxels(voxels)


def read_labels(source: VolumeSource, image: Volume, image_name: str, choice: DicomChoice = _NO_CHOICE) -> Volume:
    """Read a label map, uint8 in [0, 255] with 255 = unknown, that lies on the grid of an image.

    A mask of 0 and 255 is refused; where only whole slices without a structure are known, it is none.
    """
    again = "Export it again from the program that drew it, on this very image."
    grid = Grid(image, f'image "{printable(image_name)}"', again, "Resample the label map to the image.")
    voxels, subject = _read_on_grid(source, "Label map", grid, choice)
    labels = as_labels(voxels, subject)
    if is_mask_of_255(labels):
        raise DataError(mask_of_255(subject))
    return image.with_voxels(labels)


def read_reference(path: Path, choice: DicomChoice = _NO_CHOICE) -> Volume:
    """Read a label map that sets the grid itself, because others are compared with it; values as in `read_labels`."""
    volume, subject = _read_volume(path, "Label map", choice)
    labels = as_labels(volume.voxels, subject)
    values = np.unique(labels).tolist()
    if values == [0, UNKNOWN_LABEL]:
        raise DataError(mask_of_255(subject))
    if len(values) == 1:
        message = (
            f"{subject} holds only the value {values[0]}. "
            "Choose a label map that holds a structure and its background (0)."
        )
        raise DataError(message)
    return volume.with_voxels(labels)


def read_prediction(path: Path, reference: Volume, reference_name: str, choice: DicomChoice = _NO_CHOICE) -> Volume:
    """Read a segmentation that lies on the grid of its reference; values as in `read_labels`."""
    grid = Grid(
        reference,
        f'reference "{printable(reference_name)}"',
        "Choose two files of the same image, or export the segmentation again on the image of the reference.",
        "Choose two files of the same image, or resample the segmentation to the reference.",
    )
    voxels, subject = _read_on_grid(path, "Segmentation", grid, choice)
    labels = as_labels(voxels, subject)
    if unknown_count := np.count_nonzero(labels == UNKNOWN_LABEL):
        text = "%s holds 255 in %d voxels. 255 means unknown, so they belong to no structure and count as not found."
        _LOGGER.warning(text, subject, unknown_count)
    return reference.with_voxels(labels)


def read_map(path: Path, reference: Volume, reference_name: str) -> Volume:
    """Read a scalar map such as an uncertainty, as float32, that lies on the grid of another volume."""
    choose = "Choose the map that was written with this segmentation, or another reference."
    grid = Grid(reference, f'reference "{printable(reference_name)}"', choose, choose)
    stored, subject = _read_on_grid(path, "Map", grid)
    voxels = stored.astype(np.float32, copy=False)
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
    documents: Mapping[str, str | bytes | Callable[[Path], object]],
    report: Mapping[str, Any] | None = None,
    never_beside: Sequence[str] = (),
) -> None:
    """Write volumes, texts and pictures under their file names: each file appears complete or not at all.

    Everything is first written to a private temporary folder inside `folder` and flushed to the disk; only when all of
    it stands there is it moved to its place, texts and pictures last. Of an earlier result with volumes nothing is left
    by then, so that an interruption leaves files of one run only.

    Args:
        folder: Where they are written.
        volumes: Volumes by file name.
        documents: Texts and pictures by file name, or what writes such a file.
        report: Written as `report.json`, the very last, with the SHA-256 of each other file under `files`.
        never_beside: Files of an earlier result that are deleted where this one has none of that name.

    Raises:
        DataError: If the name of a volume does not end in .nii.gz, .nrrd or .mha.
        GeometryError: If a volume lies on a grid that is not read, as with a spacing of meters.
        OutputError: If anything could not be written; nothing new is left behind.
    """
    for name in volumes:
        if not name.endswith(_WRITABLE_SUFFIXES):
            message = f'A volume cannot be written as "{name}". Use a name that ends in .nii.gz, .nrrd or .mha.'
            raise DataError(message)
    with _temporary_folder_in(folder) as temporary:
        for name, volume in volumes.items():
            write_volume(temporary / name, volume)
        for name, content in documents.items():
            _write_document(temporary / name, content)
        names = [*volumes, *documents]
        if report is not None:
            sums = {name: sha256_of(temporary / name) for name in names}
            _write_document(temporary / REPORT_FILE, json.dumps({**report, "files": sums}, indent=2) + "\n")
            names.append(REPORT_FILE)
        _put_in_place(temporary, folder, names, (*never_beside, *names) if volumes else ())


def _write_document(path: Path, content: str | bytes | Callable[[Path], object]) -> None:
    if callable(content):
        content(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    flush_to_disk(path)


def _put_in_place(temporary: Path, folder: Path, names: Sequence[str], of_earlier: Sequence[str]) -> None:
    for name in names:
        if (folder / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, f'"{name}" is a folder there')
    for name in reversed(of_earlier):  # the last one, which says that all are there, goes first
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
    source: VolumeSource, kind: str, grid: Grid, choice: DicomChoice = _NO_CHOICE
) -> tuple[NDArray[Any], str]:
    """Return voxels that lie on the grid of another volume, and what messages call the file."""
    volume, subject = _read_volume(source, kind, choice, grid)
    return volume.voxels, subject


def _read_volume(
    source: VolumeSource, kind: str, choice: DicomChoice = _NO_CHOICE, grid: Grid | None = None
) -> tuple[Volume, str]:
    """Return a volume, which must lie on the grid if there is one, and what messages call it."""
    path = path_of(source)
    subject = f'{kind} "{printable(path.absolute().name)}"'
    check = accept_any if grid is None else partial(check_grid, subject=subject, grid=grid)
    if isinstance(source, VolumeFile):
        volume = source.read()
        volume = Volume(volume.voxels, regular_grid(volume.ijk_to_ras, subject))
        check(volume)
    else:
        volume = read_volume(path, subject, choice, check)
    return volume.with_voxels(in_32_bits(volume.voxels)), subject


def _replace_non_finite(voxels: NDArray[Any], subject: str) -> NDArray[Any]:
    if voxels.dtype.kind in "iu":
        return voxels
    finite = np.isfinite(voxels)
    bad_count = voxels.size - np.count_nonzero(finite)
    if bad_count == voxels.size:
        message = f"{subject} holds no finite number at all. Export it again."
        raise DataError(message)
    if bad_count == 0:
        return voxels
    lowest, highest = voxels.min(where=finite, initial=np.inf), voxels.max(where=finite, initial=-np.inf)
    text = (
        "The image is not a finite number in %d of %d voxels; its lowest value stands there instead, "
        "and its highest where it was infinite."
    )
    _LOGGER.warning(text, bad_count, voxels.size)
    voxels = voxels if voxels.flags.writeable else voxels.copy()
    return np.nan_to_num(voxels, copy=False, nan=lowest, posinf=highest, neginf=lowest)


def _leads_elsewhere(folder: Path) -> bool:
    """Say whether a folder is a link; of one that cannot be looked at the reason is told when it is written to."""
    with suppress(OSError, ValueError):
        return folder.is_symlink() or (folder.is_dir() and not is_real_folder(folder))
    return False


@contextmanager
def _temporary_folder_in(folder: Path) -> Iterator[Path]:
    """Lend a private folder on the same file system; any failure inside becomes one OutputError and leaves no trace."""
    shown = printable(folder)
    if not is_text(folder):
        message = (
            f'Results cannot be written to "{shown}": a name in its path is not valid text (UTF-8). '
            "Choose another folder."
        )
        raise OutputError(message)
    if _leads_elsewhere(folder):
        message = (
            f'Results cannot be written to "{shown}": it is a link, and files of others may lie where it leads. '
            "Name the folder itself, or choose another one."
        )
        raise OutputError(message)
    missing: list[Path] = []
    try:
        path_upwards = (folder, *folder.parents)
        missing.extend(takewhile(_is_missing, path_upwards))
        if not (nearest := path_upwards[len(missing)]).is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f'"{nearest.name}" is a file, not a folder')
        folder.mkdir(parents=True, exist_ok=True)
        with private_folder(folder) as temporary:
            yield temporary
    except (OSError, RuntimeError, MemoryError) as error:
        for created in missing:
            with suppress(OSError):  # never there, or no longer empty
                created.rmdir()
        if says_memory_is_full(error):
            raise OutputError(MEMORY_IS_FULL) from error
        reason = getattr(error, "strerror", None) or "an image file could not be written completely"
        message = f'Results cannot be written to "{shown}" ({reason}). Free some space or choose another folder.'
        raise OutputError(message) from error


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False
