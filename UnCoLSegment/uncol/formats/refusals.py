"""What is said of files that hold no scalar volume, or not all of it, whatever their format."""

from __future__ import annotations

from collections.abc import Sequence


def damaged(subject: str) -> str:
    """Return the sentence about a file that cannot be told from a damaged one."""
    return (
        f"{subject} cannot be read: it is damaged, incomplete or not an image. "
        "Use a NIfTI, NRRD or MetaImage file or a DICOM folder, or copy the file again."
    )


def not_three_axes(subject: str, sizes: Sequence[int]) -> str:
    """Return the sentence about an image of too few or too many axes; sizes as the file orders them."""
    return (
        f"{subject} has {len(sizes)} axes ({' x '.join(map(str, sizes))}); a volume has exactly 3. "
        "Export one volume: a stack of slices, or a single time point."
    )


def not_one_number(subject: str, sizes: Sequence[int], what: str) -> str:
    """Return the sentence about voxels that hold a color, a vector or a complex number."""
    return (
        f'{subject} ({" x ".join(map(str, sizes))}) holds a "{what}" in each voxel; a single real number is needed. '
        "Export one channel as a grayscale volume or one label map."
    )
