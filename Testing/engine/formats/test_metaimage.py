"""MetaImage files: what their headers say is what is read, and what they do not say is told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation
from written_images import GRID_LPS, META_TYPES, TO_RAS, numbered, write_meta

from uncol.core.errors import DataError, GeometryError
from uncol.formats.metaimage import read_metaimage

SUBJECT = 'Image "image.mha"'


def said(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_metaimage(path, SUBJECT)
    return str(caught.value)


@pytest.mark.parametrize("packing", ["raw", "zlib", "text"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", META_TYPES)
def test_every_type_in_every_encoding_is_read_as_it_was_written(
    kind: str, order: str, packing: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    voxels = numbered(order + kind)

    volume = read_metaimage(write_meta(tmp_path / "image.mha", voxels, packing=packing), SUBJECT)

    narrow = {"i8": "i4", "u8": "i4", "f8": "f4"}.get(kind, kind)
    assert volume.voxels.dtype == np.dtype(narrow)
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_allclose(volume.ijk_to_ras, TO_RAS @ GRID_LPS, atol=1e-12)
    assert volume.is_placed
    assert caplog.messages == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"TransformMatrix": None, "Rotation": "0 -1 0 1 0 0 0 0 1"},
        {"TransformMatrix": None, "Orientation": "0 -1 0 1 0 0 0 0 1"},
        {"Offset": None, "Position": "1.5 -2 30"},
        {"Offset": None, "Origin": "1.5 -2 30"},
        {"ElementSpacing": None, "ElementSize": "0.7 0.8 2.5"},
        {"ElementSize": "3 3 3"},
        {"DistanceUnits": "mm"},
        {"DistanceUnits": "cm", "ElementSpacing": "0.07 0.08 0.25", "Offset": "0.15 -0.2 3"},
        {"DistanceUnits": "um", "ElementSpacing": "700 800 2500", "Offset": "1500 -2000 30000"},
    ],
    ids=str,
)
def test_a_grid_is_the_same_by_every_name_that_the_format_has_for_it(fields: dict[str, Any], tmp_path: Path) -> None:
    volume = read_metaimage(write_meta(tmp_path / "image.mha", numbered(), fields), SUBJECT)

    np.testing.assert_allclose(volume.ijk_to_ras, TO_RAS @ GRID_LPS, atol=1e-12)


def test_an_unknown_unit_is_refused_by_its_name(tmp_path: Path) -> None:
    assert '"parsec", which is not a known unit' in said(
        write_meta(tmp_path / "image.mha", numbered(), {"DistanceUnits": "parsec"})
    )


@pytest.mark.parametrize(
    ("fields", "grid_lps"),
    [
        (
            {"ElementSpacing": None},
            np.column_stack([GRID_LPS[:, :3] / [0.7, 0.8, 2.5], GRID_LPS[:, 3]]),
        ),
        ({"TransformMatrix": None, "Offset": None}, np.diag([0.7, 0.8, 2.5, 1])),
    ],
    ids=["no spacing", "no place"],
)
def test_a_header_that_does_not_say_where_it_lies_is_read_with_a_warning(
    fields: dict[str, Any], grid_lps: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_meta(tmp_path / "image.mha", numbered(), fields)

    with caplog.at_level(logging.WARNING):
        volume = read_metaimage(path, SUBJECT)

    np.testing.assert_allclose(volume.ijk_to_ras, TO_RAS @ grid_lps, atol=1e-12)
    assert not volume.is_placed
    begin = f"{SUBJECT} does not say how it lies in the patient"
    assert [message.startswith(begin) for message in caplog.messages] == [True]


# --- voxels that are not all there ---


@pytest.mark.parametrize("packing", ["raw", "zlib", "text"])
@pytest.mark.parametrize("kept", [0, 0.5, 0.97])
@pytest.mark.parametrize("fields", [{}, {"CompressedDataSize": None}], ids=["", "without size"])
def test_a_file_that_was_cut_off_is_refused_without_a_word_of_a_library(
    packing: str, kept: float, fields: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    voxels = np.random.default_rng(0).integers(100, 999, (6, 20, 30)).astype("<i2")  # text: three digits each
    path = write_meta(
        tmp_path / "image.mha", voxels, fields, packing=packing, change=lambda stored: stored[: int(kept * len(stored))]
    )

    assert "incomplete" in said(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("fields", [{}, {"CompressedDataSize": None}], ids=["", "without size"])
def test_a_whole_stream_of_too_few_voxels_is_refused_with_both_numbers(fields: dict[str, Any], tmp_path: Path) -> None:
    path = write_meta(tmp_path / "image.mha", numbered(), {"DimSize": "4 3 3", **fields}, packing="zlib")

    assert said(path) == (
        f"{SUBJECT} is incomplete: of the 72 bytes of voxels that its header announces, 48 are there. "
        "Copy the file again, or export it again."
    )


def test_a_stream_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = write_meta(tmp_path / "image.mha", numbered(), packing="zlib", change=lambda stored: stored[:-4] + bytes(4))

    assert "damaged" in said(path)


def test_a_compressed_stream_without_its_size_is_read_to_its_end(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 4000, (40, 150, 300)).astype("<i2")  # chunks of 1 MiB: 3.4 of them
    path = write_meta(tmp_path / "image.mha", voxels, {"CompressedDataSize": None}, packing="zlib")

    np.testing.assert_array_equal(read_metaimage(path, SUBJECT).voxels, voxels)


def test_a_stream_ends_where_its_size_says(tmp_path: Path) -> None:
    path = write_meta(tmp_path / "image.mha", numbered(), {"CompressedDataSize": 20}, packing="zlib")

    assert "incomplete" in said(path)


def test_more_voxels_than_announced_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_meta(tmp_path / "image.mha", numbered(), {"DimSize": "4 3 1"}, packing="zlib")

    np.testing.assert_array_equal(read_metaimage(path, SUBJECT).voxels, numbered()[:1])
    assert caplog.messages == [f"{SUBJECT} holds more voxels than its header announces; the rest is left out."]


# --- voxels in a file of their own ---


@pytest.mark.parametrize(("packing", "name"), [("raw", "image.raw"), ("zlib", "my image.zraw")])
def test_voxels_in_a_file_beside_the_header_are_read(packing: str, name: str, tmp_path: Path) -> None:
    path = write_meta(tmp_path / "image.mhd", numbered(), {"ElementDataFile": name}, packing=packing)

    np.testing.assert_array_equal(read_metaimage(path, SUBJECT).voxels, numbered())


@pytest.mark.parametrize(("size", "before"), [(5, b"12345"), (-1, b"a header of another program")])
def test_a_header_before_the_voxels_is_skipped(size: int, before: bytes, tmp_path: Path) -> None:
    fields = {"ElementDataFile": "image.raw", "HeaderSize": size}
    path = write_meta(tmp_path / "image.mhd", numbered(), fields, change=lambda stored: before + stored)

    np.testing.assert_array_equal(read_metaimage(path, SUBJECT).voxels, numbered())


@pytest.mark.parametrize("name", ["{absolute}", "../secret.raw", "sub/secret.raw", "..\\secret.raw"])
def test_voxels_elsewhere_are_never_read(name: str, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "own", tmp_path / "own" / "sub"):
        place.mkdir(exist_ok=True)
        (place / "secret.raw").write_bytes(numbered().tobytes())
    name = name.format(absolute=tmp_path / "secret.raw")
    path = write_meta(tmp_path / "own" / "image.mhd", numbered())
    path.write_bytes(path.read_bytes().replace(b"= LOCAL", b"= " + name.encode()))

    assert said(path).startswith(f"{SUBJECT} keeps its voxels in another folder. ")


@pytest.mark.parametrize("name", ["LIST", "image%03d.raw 1 2 1"])
def test_voxels_in_several_files_are_refused(name: str, tmp_path: Path) -> None:
    path = write_meta(tmp_path / "image.mhd", numbered(), {"ElementDataFile": name})

    assert said(path) == f"{SUBJECT} keeps its voxels in several files. Export it as one file."


# --- what is no volume of single numbers, and headers with faults ---


def test_a_color_image_is_refused(tmp_path: Path) -> None:
    path = write_meta(tmp_path / "image.mha", numbered("u1"), {"ElementNumberOfChannels": 3})

    assert '(4 x 3 x 2) holds a "list of 3 numbers" in each voxel' in said(path)


@pytest.mark.parametrize(("sizes", "text"), [("4 3", "has 2 axes (4 x 3)"), ("4 3 2 5", "has 4 axes (4 x 3 x 2 x 5)")])
def test_other_than_three_axes_are_refused(sizes: str, text: str, tmp_path: Path) -> None:
    fields = {"NDims": len(sizes.split()), "DimSize": sizes}

    assert text in said(write_meta(tmp_path / "image.mha", numbered(), fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"DimSize": None}, {"DimSize": "4 3"}, {"DimSize": "4 3 x"}, {"DimSize": "4 3 0"}, {"DimSize": "4 3 -2"},
        {"DimSize": "9" * 5000 + " 3 2"}, {"NDims": 2}, {"NDims": "x"}, {"ElementType": None},
        {"ElementDataFile": None}, {"HeaderSize": -2}, {"HeaderSize": "x"}, {"CompressedDataSize": "x"},
        {"ElementSpacing": "1 1"}, {"ElementSpacing": "1 1 x"}, {"Offset": "1 2"}, {"TransformMatrix": "1 0 0 0 1 0"},
        {"a b": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_header_with_a_fault_is_one_sentence(
    fields: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "damaged" in said(write_meta(tmp_path / "image.mha", numbered(), fields))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"no image", b"NDims = 3\n", b"Comment = " + b"x" * (1 << 21)])
def test_a_file_that_is_no_metaimage_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "image.mha").write_bytes(content)

    assert "damaged, incomplete or not an image" in said(tmp_path / "image.mha")


def test_a_field_that_says_two_things_is_refused_by_name(tmp_path: Path) -> None:
    path = write_meta(tmp_path / "image.mha", numbered(), {"Origin": "0 0 0"})

    assert said(path) == f'{SUBJECT} states "Offset" twice, and differently. Export it again.'


def test_a_type_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = write_meta(tmp_path / "image.mha", numbered(), {"ElementType": "MET_SHORT_ARRAY"})

    assert '"MET_SHORT_ARRAY", which is not read here' in said(path)


@pytest.mark.parametrize(
    "fields",
    [{"TransformMatrix": "1 0 0 0.5 1 0 0 0 1"}, {"ElementSpacing": "0 1 1"}, {"ElementSpacing": "nan 1 1"},
     {"Offset": "inf 0 0"}],
    ids=str,
)  # fmt: skip
def test_axes_that_are_not_at_right_angles_are_refused(fields: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match=r"not at right angles or no valid spacing\. Resample it"):
        read_metaimage(write_meta(tmp_path / "image.mha", numbered(), fields), SUBJECT)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["image.mha", "image.mhd"])
def test_what_itk_writes_and_reads_is_read_in_the_same_way(name: str, compressed: bool, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(numbered("<f4"))
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin((1.25, -30.5, 7.0))
    image.SetDirection((0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / name), useCompression=compressed)

    volume = read_metaimage(tmp_path / name, SUBJECT)

    np.testing.assert_array_equal(volume.voxels, numbered("<f4"))
    for index in np.ndindex(4, 3, 2):
        lps = image.TransformIndexToPhysicalPoint([int(number) for number in index])
        np.testing.assert_allclose((TO_RAS @ volume.ijk_to_ras @ [*index, 1])[:3], lps, atol=1e-9)
