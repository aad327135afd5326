"""Tests that NIfTI files of both byte orders are complete or not."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from image_files import numbered

from uncol.core.errors import DataError
from uncol.data.io import read_image


@pytest.mark.parametrize("byte_order", ["<", ">"], ids=["little endian", "big endian"])
def test_nifti_files_of_both_byte_orders_are_read_when_complete_and_refused_when_not(
    byte_order: str, tmp_path: Path
) -> None:
    header = bytearray(352)
    struct.pack_into(f"{byte_order}i", header, 0, 348)
    struct.pack_into(f"{byte_order}8h", header, 40, 3, 4, 3, 2, 1, 1, 1, 1)
    struct.pack_into(f"{byte_order}2h", header, 70, 4, 16)  # int16
    struct.pack_into(f"{byte_order}8f", header, 76, 1, 0.7, 0.9, 2.5, 0, 0, 0, 0)
    struct.pack_into(f"{byte_order}f", header, 108, 352)
    header[344:348] = b"n+1\0"
    content = bytes(header) + numbered().astype(f"{byte_order}i2").tobytes()
    (tmp_path / "whole.nii").write_bytes(content)
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(content[:-2]))

    np.testing.assert_array_equal(read_image(tmp_path / "whole.nii").voxels, numbered())
    with pytest.raises(DataError, match=r'"cut.nii.gz" cannot be read'):
        read_image(tmp_path / "cut.nii.gz")
