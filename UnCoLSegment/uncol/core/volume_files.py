"""Volumes as panel and engine hand them to each other: voxels as `.npy` files, and their grid in the message.

Only numpy is needed, so that both sides write and read in a thread of their own, without MRML and without SimpleITK.
The formats of other programs are a matter of `data/io.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from uncol.core.errors import DataError, OutputError
from uncol.core.files import opened, private_folder
from uncol.core.volume import Volume

Row = tuple[float, float, float, float]


@dataclass(frozen=True)
class VolumeFile:
    """A volume whose voxels lie in a file.

    Attributes:
        file: The voxels (K, J, I), as `write_voxels` writes them.
        ijk_to_ras: Rows of the matrix (4, 4) from voxel indices (I, J, K, 1) to RAS coordinates in mm.
    """

    file: Path
    ijk_to_ras: tuple[Row, Row, Row, Row]

    @classmethod
    def write(cls, path: Path, volume: Volume) -> VolumeFile:
        """Write a volume's voxels; its grid is kept with all digits.

        Raises:
            DataError: If the voxels are no numbers.
            OutputError: If the file cannot be written; nothing half-written is left behind.
        """
        write_voxels(path, volume.voxels)
        first, second, third, last = (tuple(row) for row in volume.ijk_to_ras.tolist())
        return cls(path, (first, second, third, last))

    def read(self) -> Volume:
        """Return the volume in memory: Windows does not delete a file that is mapped.

        Raises:
            DataError: If the file is missing, damaged or holds no volume.
            GeometryError: If the grid is not usable.
        """
        return Volume(np.array(read_voxels(self.file), order="C"), np.array(self.ijk_to_ras, dtype=np.float64))


def write_voxels(path: Path, voxels: NDArray[Any]) -> None:
    """Write voxels (K, J, I) as one .npy file, truth values as 0 and 1; it appears complete or not at all.

    Raises:
        DataError: If the voxels are no numbers.
        OutputError: If the file cannot be written; nothing half-written is left behind.
    """
    voxels = voxels.view(np.uint8) if voxels.dtype == np.bool_ else voxels
    _check(path, voxels.dtype, voxels.shape)
    try:
        with private_folder(path.parent) as folder:
            with (folder / path.name).open("xb") as file:
                np.save(file, voxels.astype(voxels.dtype.newbyteorder("="), copy=False), allow_pickle=False)
            (folder / path.name).replace(path)
    except OSError as error:
        reason = error.strerror or error
        message = f'"{path}" could not be written ({reason}). Free some space there or choose another folder.'
        raise OutputError(message) from error


def read_voxels(path: Path) -> NDArray[Any]:
    """Return the voxels (K, J, I) of a .npy file as a read-only view of the file, which must stay as it is meanwhile.

    Raises:
        DataError: If the file is missing, cut off, no .npy file of plain numbers, or has other than three axes.
    """
    try:
        with opened(path) as (file, _):  # opened once: by its name, another file may be found the second time
            read_header = _HEADERS[npy.read_magic(file)]
            shape, is_fortran, dtype = read_header(file)
            _check(path, dtype, shape)  # also against pickled objects, which are never read
            voxels = np.memmap(file, dtype, "r", file.tell(), shape, "F" if is_fortran else "C")
    except OSError as error:
        message = f'"{path.name}" could not be read ({error.strerror or error}). Check the path "{path}".'
        raise DataError(message) from error
    except _DAMAGED as error:
        message = f'"{path.name}" is damaged ({error}). Export it again.'
        raise DataError(message) from error
    return voxels


_LONGEST_SIDE = 1 << 31
_SHOWN = 60
_DAMAGED = (KeyError, ValueError, TypeError, OverflowError, SyntaxError, TokenError)
"""What reading a header raises, which is read as Python reads."""
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def _check(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if dtype.kind not in "iu" and dtype.newbyteorder("=") not in (np.float32, np.float64):
        message = f'"{path.name}" cannot hold voxels of type {dtype}. Convert them to a number type first.'
        raise DataError(message)
    if len(shape) != 3 or not all(0 < each < _LONGEST_SIDE for each in shape):
        message = (
            f'"{path.name}" has voxels of shape {str(shape)[:_SHOWN]}, a volume has 3 axes. Export one scalar volume.'
        )
        raise DataError(message)
