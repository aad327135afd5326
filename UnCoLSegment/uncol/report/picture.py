"""Volumes as a page shows them: upright, without the air around the patient, and no larger than a page can hold."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel import Nifti1Image
from nibabel.orientations import io_orientation
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from uncol.core.errors import DataError
from uncol.core.grey_values import SOFT_TISSUE_WINDOW_HU
from uncol.core.strict_json import read_json
from uncol.core.volume import ARRAY_AXIS, Axis, SliceView, Volume
from uncol.data.windows import choose_window, grey_values_of

PAGE_VOXELS = 6_000_000
"""So many voxels of an image, 16 bits each, make a page of about 10 MB."""
_SHOWN_PART = 0.02
"""Part of a row or column that is brighter than black from which it belongs to the picture."""
_MARGIN = 0.02
_CT_WINDOWS = {"Abdomen": SOFT_TISSUE_WINDOW_HU, "Lung": (-1350.0, 150.0), "Bone": (-450.0, 1050.0)}
DATA_BLOCK, VOLUME_BLOCK = "uncol-data", "uncol-volume-"
"""What the blocks of a page are called that hold its data and its volumes."""
_ALIKE = 1.3
"""Spacings that differ by less are halved together: pixels stay square."""
_HEADER_BYTES = 352
_FAST = 4
"""Level of compression; higher ones take much longer and save little."""


@dataclass(frozen=True)
class Frame:
    """Which voxels of a grid a page shows, and how they lie in the patient.

    Attributes:
        shape_kji: Size of the whole grid.
        ijk_to_ras: Matrix of the whole grid.
        box: By array axis (K, J, I), the first voxel, the one after the last, and the step between voxels shown.
    """

    shape_kji: tuple[int, int, int]
    ijk_to_ras: NDArray[np.float64]
    box: tuple[slice, slice, slice]

    def used(self, axis: Axis) -> range:
        """Return the numbers of the slices shown, along a voxel index of the file."""
        return range(*self.box[ARRAY_AXIS[axis]].indices(self.shape_kji[ARRAY_AXIS[axis]]))

    @property
    def _turns(self) -> tuple[list[int], list[bool]]:
        """For each page axis (to the right, to the front, up) the array axis in IJK order, and whether it is turned."""
        found = io_orientation(self.ijk_to_ras)
        order = [int(np.flatnonzero(found[:, 0] == page)[0]) for page in range(3)]
        return order, [bool(found[axis, 1] < 0) for axis in order]

    def upright(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """Return the voxels shown of an array (K, J, I) as (R, A, S): indices grow to the right, to the front, up."""
        order, flips = self._turns
        turned = voxels[self.box].transpose(2, 1, 0).transpose(order)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]

    def page_index(self, ijk: Sequence[int]) -> tuple[int, int, int]:
        """Return the voxel shown (R, A, S) that is nearest to a voxel of the file (I, J, K)."""
        found = []
        for axis, flip in zip(*self._turns, strict=True):
            used = range(*self.box[2 - axis].indices(self.shape_kji[2 - axis]))
            place = min(max(round((ijk[axis] - used.start) / used.step), 0), len(used) - 1)
            found.append(len(used) - 1 - place if flip else place)
        return found[0], found[1], found[2]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Matrix (4, 4) from the page's voxel indices (R, A, S, 1) to RAS in mm."""
        order, flips = self._turns
        matrix = np.eye(4)
        matrix[:3, 3] = self.ijk_to_ras[:3, 3]
        for page, (axis, flip) in enumerate(zip(order, flips, strict=True)):
            column, used = self.ijk_to_ras[:3, axis], range(*self.box[2 - axis].indices(self.shape_kji[2 - axis]))
            matrix[:3, page] = column * used.step * (-1 if flip else 1)
            matrix[:3, 3] += column * (used[-1] if flip else used[0])
        return matrix

    def page_axis(self, axis: Axis) -> tuple[int, bool]:
        """Return which page axis counts the slices along a voxel index of the file, and whether it is turned."""
        order, flips = self._turns
        page = order.index(2 - ARRAY_AXIS[axis])
        return page, flips[page]


def frame_of(image: Volume, labels: NDArray[Any], black: float, axis: Axis, most_voxels: int | None = None) -> Frame:
    """Choose what a page shows of an image.

    Rows and columns of air around the patient are left out. Where the rest is too much, every second voxel along the
    axes with the smallest spacing is shown, as often as needed: no value is changed, each is one of the file.

    Args:
        image: The image.
        labels: Labels (K, J, I); all of them are shown.
        black: Grey value up to which a voxel is air.
        axis: The voxel index that counts slices, all of which are kept.
        most_voxels: How many voxels are shown at most; None shows all.
    """
    kept = ARRAY_AXIS[axis]
    shown = np.moveaxis((image.voxels > black) | (labels > 0), kept, 0)
    extents = [_extent(shown.mean(axis=2 - each).max(axis=0)) for each in (0, 1)]
    extents.insert(kept, (0, image.shape_kji[kept]))
    for place, extent in enumerate(extents):
        found = np.flatnonzero((labels > 0).any(axis=tuple(each for each in range(3) if each != place)))
        if found.size:
            extents[place] = min(extent[0], int(found[0])), max(extent[1], int(found[-1]) + 1)
    spacing, steps = np.array(image.spacing_mm[::-1]), np.ones(3, dtype=np.int64)
    sizes = np.array([stop - start for start, stop in extents])
    while most_voxels is not None and np.prod(-(-sizes // steps)) > most_voxels:
        steps = np.where(spacing * steps < _ALIKE * (spacing * steps).min(), steps * 2, steps)
    box = [slice(start, stop, int(step)) for (start, stop), step in zip(extents, steps, strict=True)]
    return Frame(image.shape_kji, image.ijk_to_ras, (box[0], box[1], box[2]))


def nifti_text(voxels: NDArray[Any], matrix: NDArray[np.float64], slope: float = 1.0) -> str:
    """Return voxels (R, A, S) as a compressed NIfTI file in base64; `slope` times a stored number is its value."""
    stored = Nifti1Image(np.asfortranarray(voxels), matrix)
    stored.header.set_slope_inter(slope, 0.0)
    return b64encode(gzip.compress(stored.to_bytes(), _FAST, mtime=0)).decode("ascii")


def small_numbers(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return grey values in the smallest type that browsers know and that holds all of them."""
    if voxels.dtype.kind in "iub":
        low, high = int(voxels.min()), int(voxels.max())
        kinds = (np.uint8, np.int16, np.uint16, np.int32)
        fitting = [kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max]
        return voxels.astype(fitting[0] if fitting else np.float32)
    return voxels.astype(np.float32)


def _extent(bright: NDArray[np.floating[Any]]) -> tuple[int, int]:
    """Return where rows are brighter than air, with a margin; all of them where none is."""
    found, margin = np.flatnonzero(bright > _SHOWN_PART), round(len(bright) * _MARGIN)
    if not found.size:
        return 0, len(bright)
    return max(0, int(found[0]) - margin), min(len(bright), int(found[-1]) + 1 + margin)


@dataclass(frozen=True)
class Picture:
    """The image as a page holds it.

    Attributes:
        frame: Which of its voxels, and how they lie.
        text: They, as a compressed NIfTI file in base64.
        window: Grey values shown as black and white at first.
        windows: Others to choose, by name.
        unit: HU, or "" where grey values mean nothing in other images.
    """

    frame: Frame
    text: str
    window: tuple[float, float]
    windows: Mapping[str, tuple[float, float]]
    unit: str

    @classmethod
    def of(cls, image: Volume, labels: Volume, view: SliceView, most_voxels: int | None = PAGE_VOXELS) -> Picture:
        """Take so many voxels of an image that a page can hold them; None takes all."""
        window = choose_window(image.voxels)
        is_ct = grey_values_of(image.voxels) == "hounsfield"
        frame = frame_of(image, labels.voxels, window[0], view.slice_axis, most_voxels)
        text = nifti_text(small_numbers(frame.upright(image.voxels)), frame.matrix)
        return cls(frame, text, window, _CT_WINDOWS if is_ct else {"Own": window}, "HU" if is_ct else "")

    def as_document(self) -> dict[str, Any]:
        """Return what a page says of it beside the voxels."""
        return {
            "window": list(self.window),
            "unit": self.unit,
            "matrix": self.frame.matrix.ravel().tolist(),
            "windows": [{"name": name, "low": low, "high": high} for name, (low, high) in self.windows.items()],
            "box": [[each.start, each.stop, each.step] for each in self.frame.box],
        }


def picture_in(html: str, labels: Volume) -> Picture:
    """Take the image out of a report that UnCoL wrote, as far as it is in there.

    Args:
        html: Text of the page.
        labels: The segmentation that the page is about, in full.

    Raises:
        DataError: If there is none, or of another grid.
    """
    message = "The report holds no picture of this image. Give the image with --image."
    blocks = dict(re.findall(rf'<script type="[a-z/]+" id="({DATA_BLOCK}|{VOLUME_BLOCK}image)">([^<]*)</script>', html))
    try:
        told, text = read_json(blocks[DATA_BLOCK])["picture"], blocks[f"{VOLUME_BLOCK}image"]
        slices = [slice(int(start), int(stop), int(step)) for start, stop, step in told["box"]]
        frame = Frame(labels.shape_kji, labels.ijk_to_ras, (slices[0], slices[1], slices[2]))
        windows = {str(each["name"]): (float(each["low"]), float(each["high"])) for each in told["windows"]}
        low, high = map(float, told["window"])
        shape = frame.upright(labels.voxels).shape
        stored = Nifti1Image.from_bytes(_unpacked(b64decode(text, validate=True), _HEADER_BYTES + 4 * math.prod(shape)))
        is_same = stored.shape == shape
        is_same = is_same and np.allclose(stored.affine, frame.matrix, atol=1e-3)
        picture = Picture(frame, text, (low, high), windows, str(told["unit"]))
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        OSError,
        zlib.error,
        WrapStructError,
        HeaderDataError,
    ) as error:
        raise DataError(message) from error
    if not is_same:
        raise DataError(message)
    return picture


def _unpacked(content: bytes, most_bytes: int) -> bytes:
    """Return what a gzip file holds, up to so many bytes."""
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, most_bytes)
