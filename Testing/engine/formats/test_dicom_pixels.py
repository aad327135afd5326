"""Every voxel is stored x slope + intercept of its own slice or frame, in a type that holds them all."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from written_dicom import MR, group, put_pixels, recompressed, save_frames, save_slices, values

from uncol.core.errors import DataError
from uncol.core.jobs import DicomChoice
from uncol.data.io import read_image

REAL = (values(4, 40, 48)[:, :, ::-1] // 7) % 3000 - 1000  # for JPEG 2000, which needs some size; 12 bits


@pytest.mark.parametrize(
    ("dtype", "bits_stored", "intercept", "expected"),
    [
        (np.uint16, 12, -1024, np.int16),  # -1024 to 3071
        (np.uint16, 16, -1024, np.int32),  # -1024 to 64511
        (np.uint16, 16, 0, np.uint16),
        (np.uint16, 12, 0, np.int16),  # 0 to 4095
        (np.int16, 16, 0, np.int16),
        (np.int16, 16, -1, np.int32),  # -32769 to 32766
        (np.uint8, 8, 0, np.uint8),
        (np.uint8, 8, -1, np.int16),
        (np.int32, 32, 0, np.int32),
    ],
)
def test_whole_numbers_get_the_smallest_type_that_holds_what_could_be_stored(
    dtype: Any, bits_stored: int, intercept: int, expected: Any, tmp_path: Path
) -> None:
    real = np.arange(5 * 6 * 8).reshape(5, 6, 8) + float(intercept)
    save_slices(tmp_path, real, dtype=dtype, bits_stored=bits_stored, intercept=intercept)

    voxels = read_image(tmp_path).voxels

    assert voxels.dtype == expected
    np.testing.assert_array_equal(voxels, real)


def rescale_of(edit: Callable[[int], tuple[float, float]]) -> Callable[[int, Dataset], None]:
    def rescaled(n: int, dataset: Dataset) -> None:
        slope, intercept = edit(n)
        dataset.RescaleSlope, dataset.RescaleIntercept = str(slope), str(intercept)

    return rescaled


@pytest.mark.parametrize("form", ["slices", "frames"])
@pytest.mark.parametrize(
    ("rescale", "expected"),
    [
        pytest.param(lambda n: (1, 0 if n == 0 else -1024), np.int32, id="first without intercept"),
        pytest.param(lambda n: (1 if n == 0 else 0.4, 0), np.float32, id="first whole, then fractions"),
        pytest.param(lambda n: (n + 1, -n), np.int32, id="another slope each"),
        pytest.param(lambda n: (-2, 5), np.int32, id="negative slope"),
        pytest.param(lambda n: (1, 0.5), np.float32, id="fractional intercept"),
        pytest.param(lambda n: (1e12, 0), np.float32, id="beyond 64 bits"),
    ],
)
def test_each_slice_and_frame_has_its_own_rescale(
    form: str, rescale: Callable[[int], tuple[float, float]], expected: Any, tmp_path: Path
) -> None:
    stored = np.arange(4 * 6 * 8).reshape(4, 6, 8)
    slopes, intercepts = np.array([rescale(n) for n in range(4)], dtype=np.float64).T[:, :, None, None]
    real = stored * slopes + intercepts
    if form == "slices":
        save_slices(tmp_path, stored.astype(np.float64), slope=1, intercept=0, edit=rescale_of(rescale))
    else:
        save_frames(tmp_path / "frames.dcm", real, order=[2, 0, 3, 1], rescale=rescale)

    voxels = read_image(tmp_path).voxels

    assert voxels.dtype == expected
    np.testing.assert_allclose(voxels, real, rtol=1e-6)


def test_slices_of_other_bits_and_sign_do_not_wrap_round(tmp_path: Path) -> None:
    real = np.full((3, 6, 8), 40.0)
    real[1], real[2] = 40000, -300
    dtypes = [np.uint8, np.uint16, np.int16]

    def edit(n: int, dataset: Dataset) -> None:
        put_pixels(dataset, real[n].astype(dtypes[n]))

    save_slices(tmp_path, np.zeros((3, 6, 8)), intercept=0, edit=edit)

    np.testing.assert_array_equal(read_image(tmp_path).voxels, real)


@pytest.mark.parametrize("tags", [("RescaleSlope",), ("RescaleSlope", "RescaleIntercept")], ids=str)
def test_what_is_missing_of_the_rescale_changes_nothing(tags: tuple[str, ...], tmp_path: Path) -> None:
    def edit(_: int, dataset: Dataset) -> None:
        for tag in tags:
            delattr(dataset, tag)

    save_slices(tmp_path, edit=edit)

    np.testing.assert_array_equal(read_image(tmp_path).voxels, values() + (1024 if len(tags) == 2 else 0))


@pytest.mark.parametrize("signed", [False, True])
def test_bits_that_do_not_count_are_left_out(signed: bool, tmp_path: Path) -> None:
    real = np.arange(-30, 210).reshape(5, 6, 8) if signed else np.arange(240).reshape(5, 6, 8)

    def edit(n: int, dataset: Dataset) -> None:
        put_pixels(dataset, ((real[n] & 0x0FFF) | 0x5000).astype(np.uint16), bits_stored=12)  # an overlay above bit 12
        dataset.PixelRepresentation = int(signed)

    save_slices(tmp_path, intercept=0, edit=edit)

    np.testing.assert_array_equal(read_image(tmp_path).voxels, real)


@pytest.mark.parametrize("sop_class", ["CT", "MR"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_monochrome1_is_not_inverted_and_told_where_it_is_no_ct(
    sop_class: str, dtype: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit = {"edit": lambda _, dataset: setattr(dataset, "PhotometricInterpretation", "MONOCHROME1")}
    save_slices(tmp_path, dtype=dtype, **edit, **({"sop_class": MR} if sop_class == "MR" else {}))

    np.testing.assert_array_equal(read_image(tmp_path).voxels, values())
    assert [message.split(" is ")[1][:11] for message in caplog.messages] == ["MONOCHROME1"] * (sop_class == "MR")


def test_a_lookup_table_is_applied(tmp_path: Path) -> None:
    table = (np.arange(240)[::-1] * 11).astype(np.uint16)
    stored = np.arange(240).reshape(5, 6, 8)

    def edit(_: int, dataset: Dataset) -> None:
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.ModalityLUTSequence = group(LUTDescriptor=[240, 0, 16], ModalityLUTType="HU", LUTData=table.tobytes())
        dataset.ModalityLUTSequence[0]["LUTDescriptor"].VR = "US"
        dataset.ModalityLUTSequence[0]["LUTData"].VR = "OW"

    save_slices(tmp_path, stored.astype(np.float64), intercept=0, edit=edit)

    np.testing.assert_array_equal(read_image(tmp_path).voxels, table[stored])


@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_floating_point_pixels_are_read(keyword: str, dtype: str, tmp_path: Path) -> None:
    real = values() + 0.25

    def edit(n: int, dataset: Dataset) -> None:
        del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
        dataset.BitsAllocated = np.dtype(dtype).itemsize * 8
        dataset.RescaleIntercept = "0"
        setattr(dataset, keyword, real[n].astype(dtype).tobytes())

    save_slices(tmp_path, edit=edit)

    np.testing.assert_array_equal(read_image(tmp_path).voxels, real)


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda syntax: syntax.name,
)
@pytest.mark.parametrize("form", ["slices", "frames"])
def test_every_way_to_store_pixels_plainly_is_read(form: str, syntax: Any, tmp_path: Path) -> None:
    if form == "slices":
        save_slices(tmp_path, syntax=syntax)
    else:
        save_frames(tmp_path / "frames.dcm", syntax=syntax, order=[4, 0, 1, 3, 2])

    np.testing.assert_array_equal(read_image(tmp_path).voxels, values())


GDCM_SYNTAXES = ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", GDCM_SYNTAXES)
def test_lossless_compression_changes_no_voxel(name: str, signed: bool, tmp_path: Path) -> None:
    kind = {"dtype": np.int16, "intercept": 0} if signed else {"bits_stored": 12}
    save_slices(tmp_path, REAL, **kind)
    for path in tmp_path.iterdir():
        recompressed(path, getattr(gdcm.TransferSyntax, name))

    np.testing.assert_array_equal(read_image(tmp_path).voxels, REAL)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=lambda syntax: syntax.name)
def test_compressed_frames_of_one_file_are_read(syntax: Any, tmp_path: Path) -> None:
    path = save_frames(tmp_path / "frames.dcm", REAL, order=[2, 0, 3, 1], compress=syntax)

    np.testing.assert_array_equal(read_image(path).voxels, REAL)


def test_what_jpeg_2000_says_of_the_sign_does_not_count(tmp_path: Path) -> None:
    save_slices(tmp_path, REAL, compress=JPEG2000Lossless)
    for path in tmp_path.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PixelRepresentation = 1
        dataset.save_as(path)

    np.testing.assert_array_equal(read_image(tmp_path).voxels, REAL)


def without_its_end(stream: bytes) -> bytes:
    return stream.rstrip(b"\0")[:-2] + b"\0\0"


def halved(stream: bytes) -> bytes:
    """End in the middle, with a mark as if it were the end."""
    half = len(stream) // 4 * 2
    return stream[:half] + b"\xff\xd9"


def blotted(stream: bytes) -> bytes:
    half = len(stream) // 2
    return stream[:half] + bytes(60) + stream[half + 60 :]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("JPEG2000Lossless", without_its_end),
        ("JPEG2000Lossless", halved),
        ("JPEGLosslessProcess14_1", without_its_end),
        ("JPEGLosslessProcess14_1", halved),
        ("JPEGLosslessProcess14_1", blotted),
        ("JPEGLSLossless", without_its_end),
        ("JPEGLSLossless", halved),
        ("JPEGLSLossless", blotted),
    ],
)
def test_a_damaged_compressed_slice_is_named_and_left_out_with_consent_only(
    name: str, damage: Callable[[bytes], bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_slices(tmp_path, REAL, bits_stored=12)
    for path in tmp_path.iterdir():
        recompressed(path, getattr(gdcm.TransferSyntax, name))
    last = pydicom.dcmread(tmp_path / "1-001.dcm")
    (stream,) = pydicom.encaps.generate_frames(last.PixelData, number_of_frames=1)
    last.PixelData = pydicom.encaps.encapsulate([damage(stream)])
    last.save_as(tmp_path / "1-001.dcm")

    with pytest.raises(DataError, match=r'1 of 4 files cannot be used \(.*: "1-001.dcm"\)'):
        read_image(tmp_path)
    np.testing.assert_array_equal(read_image(tmp_path, DicomChoice(allow_incomplete=True)).voxels, REAL[:3])
    assert capfd.readouterr().err == ""  # no raw text of libraries


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda dataset: setattr(dataset, "HighBit", 11), r"HighBit \(0028,0102\) that does not fit"),
        (lambda dataset: setattr(dataset, "BitsStored", 17), "no size of image or pixel"),
        (lambda dataset: delattr(dataset, "PixelRepresentation"), r"no PixelRepresentation \(0028,0103\)"),
        (lambda dataset: delattr(dataset, "BitsAllocated"), r"no BitsAllocated \(0028,0100\)"),
        (lambda dataset: delattr(dataset, "Rows"), r"no Rows \(0028,0010\)"),
        (lambda dataset: setattr(dataset, "NumberOfFrames", 2), "cut off"),
    ],
)
def test_pixels_that_are_not_described_are_refused(edit: Callable[[Dataset], None], said: str, tmp_path: Path) -> None:
    save_slices(tmp_path, edit=lambda _, dataset: edit(dataset))

    with pytest.raises(DataError, match=rf"is damaged or incomplete \({said}"):
        read_image(tmp_path)


def test_pixels_that_are_said_to_be_compressed_and_are_not_are_refused(tmp_path: Path) -> None:
    save_slices(tmp_path)
    for path in tmp_path.iterdir():
        plain, compressed = (
            f"{uid}\0".encode() if len(uid) % 2 else uid.encode() for uid in (ExplicitVRLittleEndian, JPEG2000Lossless)
        )
        content = path.read_bytes()
        old = b"UI" + struct.pack("<H", len(plain)) + plain
        assert content.count(old) == 1
        path.write_bytes(content.replace(old, b"UI" + struct.pack("<H", len(compressed)) + compressed))

    with pytest.raises(DataError, match="contradicting itself on whether pixels are compressed"):
        read_image(tmp_path)
