"""The images that a folder holds: files of its own, and sub-folders with DICOM files."""

from __future__ import annotations

from pathlib import Path

from uncol.core.errors import DataError
from uncol.core.files import resolved
from uncol.formats.dicom import is_dicom
from uncol.formats.paths import check_path, printable, unreadable

_IMAGES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_HEADERS = {".img": (".hdr", ".hdr.gz"), ".img.gz": (".hdr.gz", ".hdr")}
"""Of a pair, the header is the image; what ends so is one only where it is alone."""
_VOXELS = (".raw", ".zraw", ".raw.gz")
"""How the file ends that holds the voxels beside a header of MetaImage or NRRD, of the same name."""


def images_in(folder: Path, besides: Path) -> tuple[list[Path], list[str]]:
    """Return the images of a folder in the order of their names, and the names of what is none.

    Images are NIfTI, NRRD and MetaImage files, and folders that directly hold a DICOM file; hidden ones are left out.

    Args:
        folder: Where to look, not below its sub-folders.
        besides: A folder of results, which is no image, wherever it lies.

    Raises:
        DataError: If it is no folder or may not be read, or if results would lie among images.
    """
    subject = f'Folder "{printable(folder.absolute().name)}"'
    check_path(folder, subject)
    if not folder.is_dir():
        message = f"{subject} is a file. Give the folder that holds the images, or leave out --cohort."
        raise DataError(message)
    images: list[Path] = []
    others: list[Path] = []
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if _is_image(path):
                _check_apart(path, folder, besides)
                images.append(path)
            elif not _holds(path, besides):
                others.append(path)
    except OSError as error:
        raise DataError(unreadable(subject, error)) from error
    names = {path.name.lower() for path in images}
    data = {path for path in images if _has_header(path.name.lower(), names)}
    left_out = [printable(path.name) for path in others if not _is_of_header(path.name.lower(), names)]
    return [path for path in images if path not in data], left_out


def _check_apart(image: Path, folder: Path, results: Path) -> None:
    """Refuse results in an image's own folder, and a folder for an image's result that is one of images."""
    own = results / image.name
    if _holds(image, results) or _holds(own, folder) or _holds(own, image):
        message = (
            f'Results in "{printable(results.absolute().name)}" would lie among images ("{printable(image.name)}"). '
            "Choose another --out."
        )
        raise DataError(message)


def _holds(path: Path, besides: Path) -> bool:
    """Say whether a folder lies at or below a path; whose links go in a circle holds none."""
    try:
        return resolved(besides).is_relative_to(resolved(path))
    except DataError:
        return False


def _is_image(path: Path) -> bool:
    if not path.is_dir():
        return path.name.lower().endswith(_IMAGES)
    try:
        return any(
            each.is_file() and is_dicom(each) for each in sorted(path.iterdir()) if not each.name.startswith(".")
        )
    except OSError:  # it may be one; whoever reads it says what is wrong
        return True


def _has_header(name: str, names: set[str]) -> bool:
    endings = ((ending, headers) for ending, headers in _HEADERS.items() if name.endswith(ending))
    return any(name.removesuffix(ending) + header in names for ending, headers in endings for header in headers)


def _is_of_header(name: str, names: set[str]) -> bool:
    stems = [name.removesuffix(ending) for ending in _VOXELS if name.endswith(ending)]
    return any(stem + header in names for stem in stems for header in (".mhd", ".nhdr"))
