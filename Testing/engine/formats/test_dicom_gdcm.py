"""Streams on which GDCM aborts or crashes its process, and others."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames
from written_dicom import recompressed, save_slices, values

from uncol.formats import dicom_gdcm
from uncol.formats.dicom_gdcm import Gdcm

REAL = values(1, 40, 48) // 7
OPTIONS: dict[str, Any] = {
    "pixel_keyword": "PixelData",
    "rows": 40,
    "columns": 48,
    "number_of_frames": 1,
    "samples_per_pixel": 1,
    "photometric_interpretation": "MONOCHROME2",
    "bits_allocated": 16,
    "bits_stored": 12,
    "pixel_representation": 0,
}


def compressed(folder: Path, name: str) -> tuple[bytes, str]:
    """Return a stream and the UID of its syntax."""
    path = save_slices(folder, REAL, bits_stored=12) / "1-001.dcm"
    recompressed(path, getattr(gdcm.TransferSyntax, name))
    dataset = pydicom.dcmread(path)
    (stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    return stream.rstrip(b"\0"), str(dataset.file_meta.TransferSyntaxUID)


@pytest.mark.parametrize("name", ["JPEGLosslessProcess14_1", "JPEGLSLossless"])
def test_damaged_streams_end_no_process_of_ours_and_those_after_them_are_decoded(name: str, tmp_path: Path) -> None:
    stream, syntax = compressed(tmp_path, name)
    with Gdcm() as decoder:
        for seed in range(40):
            damaged, source = bytearray(stream), random.Random(seed)
            for _ in range(3):
                damaged[source.randrange(120)] = source.randrange(256)
            decoder.decoded(bytes(damaged), syntax, OPTIONS)
        image = decoder.decoded(stream, syntax, OPTIONS)

    assert image is not None
    np.testing.assert_array_equal(image, REAL[0] + 1024)


def test_what_is_no_stream_at_all_is_nothing() -> None:
    with Gdcm() as decoder:
        assert decoder.decoded(b"no image", "1.2.840.10008.1.2.4.70", OPTIONS) is None
        assert decoder.decoded(b"no image", "1.2.3", OPTIONS) is None


def test_the_process_ends_with_its_pipe_and_prints_nothing() -> None:
    child = subprocess.run(
        [sys.executable, "-P", dicom_gdcm.__file__], input=b"", capture_output=True, timeout=60, check=False
    )

    assert (child.returncode, child.stdout, child.stderr) == (0, b"", b"")
