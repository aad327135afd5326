"""NRRD files: what their headers say is what is read, and what they do not say is told."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation
from written_images import GRID_LPS, NRRD_TYPES, TO_RAS, numbered, write_nrrd

from uncol.core.errors import DataError, GeometryError
from uncol.formats.nrrd import read_nrrd

SUBJECT = 'Image "image.nrrd"'
UNPLACED = f"{SUBJECT} does not say how it lies in the patient"


def said(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_nrrd(path, SUBJECT)
    return str(caught.value)


@pytest.mark.parametrize("packing", ["raw", "gzip", "bzip2", "text"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", NRRD_TYPES)
def test_every_type_in_every_encoding_is_read_as_it_was_written(
    kind: str, order: str, packing: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    voxels = numbered(order + kind)

    volume = read_nrrd(write_nrrd(tmp_path / "image.nrrd", voxels, packing=packing), SUBJECT)

    narrow = {"i8": "i4", "u8": "i4", "f8": "f4"}.get(kind, kind)
    assert volume.voxels.dtype == np.dtype(narrow)
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_allclose(volume.ijk_to_ras, TO_RAS @ GRID_LPS, atol=1e-12)
    assert volume.is_placed
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("space", "turn"),
    [
        ("left-posterior-superior", (1, 1, 1)),
        ("LPS", (1, 1, 1)),
        ("right-anterior-superior", (-1, -1, 1)),
        ("RAS", (-1, -1, 1)),
        ("left-anterior-superior", (1, -1, 1)),
        ("LAS", (1, -1, 1)),
    ],
)
def test_directions_are_those_of_the_space_that_the_header_names(
    space: str, turn: tuple[int, int, int], tmp_path: Path
) -> None:
    path = write_nrrd(tmp_path / "image.nrrd", numbered(), {"space": space})

    np.testing.assert_allclose(read_nrrd(path, SUBJECT).ijk_to_ras, TO_RAS @ np.diag([*turn, 1]) @ GRID_LPS, atol=1e-12)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("um", 1e-3), ("microns", 1e-3), ("\N{MICRO SIGN}m", 1e-3), ("mm", 1), ("", 1), ("cm", 10), ("m", 1000)],
)
def test_lengths_are_converted_to_mm_from_the_units_of_the_space(unit: str, factor: float, tmp_path: Path) -> None:
    in_unit = np.diag([1 / factor, 1 / factor, 1 / factor, 1]) @ GRID_LPS
    units = f'"{unit}" "{unit}" "{unit}"'
    path = write_nrrd(tmp_path / "image.nrrd", numbered(), {"space units": units}, grid_lps=in_unit)

    np.testing.assert_allclose(read_nrrd(path, SUBJECT).ijk_to_ras, TO_RAS @ GRID_LPS, atol=1e-9)


def test_an_unknown_unit_is_refused_by_its_name(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "image.nrrd", numbered(), {"space units": '"inch" "inch" "inch"'})

    assert said(path) == f'{SUBJECT} states its lengths in "inch", which is not a known unit. Export it again in mm.'


@pytest.mark.parametrize(
    ("fields", "grid_lps"),
    [
        # Only distances are known: straight axes from the origin of LPS.
        (
            {"space": None, "space directions": None, "space origin": None, "spacings": "0.7 0.8 2.5"},
            np.diag([0.7, 0.8, 2.5, 1]),
        ),
        (
            {"space": None, "space directions": None, "space origin": None, "spacings": "700 800 2500",
             "units": '"um" "um" "um"'},
            np.diag([0.7, 0.8, 2.5, 1]),
        ),
        ({"space": None, "space directions": None, "space origin": None}, np.eye(4)),
        # Directions in no known space are taken as LPS, as ITK does.
        ({"space": None, "space dimension": "3"}, GRID_LPS),
        ({"space": "scanner-xyz"}, GRID_LPS),
        ({"space origin": None}, np.column_stack([GRID_LPS[:, :3], [0, 0, 0, 1]])),
    ],
    ids=["spacings", "spacings in um", "nothing", "no space", "unknown space", "no origin"],
)  # fmt: skip
def test_a_header_that_does_not_say_where_it_lies_is_read_with_a_warning(
    fields: dict[str, Any], grid_lps: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_nrrd(tmp_path / "image.nrrd", numbered(), fields)

    with caplog.at_level(logging.WARNING):
        volume = read_nrrd(path, SUBJECT)

    np.testing.assert_allclose(volume.ijk_to_ras, TO_RAS @ grid_lps, atol=1e-12)
    assert not volume.is_placed
    assert [message.startswith(UNPLACED) for message in caplog.messages] == [True]


# --- voxels that are not all there ---


@pytest.mark.parametrize("packing", ["raw", "gzip", "bzip2", "text"])
@pytest.mark.parametrize("kept", [0, 0.5, 0.97])
def test_a_file_that_was_cut_off_is_refused(packing: str, kept: float, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(100, 999, (6, 20, 30)).astype("<i2")  # text: three digits each
    path = write_nrrd(
        tmp_path / "image.nrrd", voxels, packing=packing, change=lambda stored: stored[: int(kept * len(stored))]
    )

    assert "incomplete" in said(path)


def test_a_whole_stream_of_too_few_voxels_is_refused_with_both_numbers(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "image.nrrd", numbered(), {"sizes": "4 3 3"}, packing="gzip")

    assert said(path) == (
        f"{SUBJECT} is incomplete: of the 72 bytes of voxels that its header announces, 48 are there. "
        "Copy the file again, or export it again."
    )


def test_a_stream_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = write_nrrd(
        tmp_path / "image.nrrd", numbered(), packing="gzip", change=lambda stored: stored[:-8] + bytes(4) + stored[-4:]
    )

    assert "damaged" in said(path)


@pytest.mark.parametrize("packing", ["raw", "gzip"])
def test_more_voxels_than_announced_are_left_out_with_a_warning(
    packing: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_nrrd(tmp_path / "image.nrrd", numbered(), {"sizes": "4 3 1"}, packing=packing)

    volume = read_nrrd(path, SUBJECT)

    np.testing.assert_array_equal(volume.voxels, numbered()[:1])
    assert caplog.messages == [f"{SUBJECT} holds more voxels than its header announces; the rest is left out."]


def test_sizes_that_no_memory_holds_are_no_reason_to_fill_it(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "image.nrrd", numbered(), {"sizes": "65536 65536 65536"}, packing="gzip")

    with pytest.raises((MemoryError, DataError), match=r"memory|allocate|incomplete"):
        read_nrrd(path, SUBJECT)


@pytest.mark.parametrize(
    ("fields", "before"),
    [({"byte skip": 5}, b"12345"), ({"line skip": 2}, b"one\ntwo\n"), ({"line skip": 1, "byteskip": 2}, b"one\n12"),
     ({"byte skip": -1}, b"a header of another program")],
    ids=["bytes", "lines", "both", "from the end"],
)  # fmt: skip
def test_what_lies_before_the_voxels_is_skipped(fields: dict[str, Any], before: bytes, tmp_path: Path) -> None:
    fields = {**fields, "data file": "image.raw"}
    path = write_nrrd(tmp_path / "image.nhdr", numbered(), fields, change=lambda stored: before + stored)

    np.testing.assert_array_equal(read_nrrd(path, SUBJECT).voxels, numbered())


# --- voxels in a file of their own ---


@pytest.mark.parametrize("packing", ["raw", "gzip"])
@pytest.mark.parametrize("name", ["image.raw", "my image.raw.gz", "größe.raw"])
def test_voxels_in_a_file_beside_the_header_are_read(name: str, packing: str, tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "image.nhdr", numbered(), {"data file": name}, packing=packing)

    np.testing.assert_array_equal(read_nrrd(path, SUBJECT).voxels, numbered())


def test_a_name_that_begins_in_the_folder_itself_is_read(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "image.nhdr", numbered(), {"datafile": "./image.raw"})
    (tmp_path / "image.raw").write_bytes(numbered().tobytes())

    np.testing.assert_array_equal(read_nrrd(path, SUBJECT).voxels, numbered())


@pytest.mark.parametrize(
    "name", ["{absolute}", "../secret.raw", "sub/secret.raw", "..\\secret.raw", "C:\\secret.raw", ".."]
)
def test_voxels_elsewhere_are_never_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for place in (tmp_path, tmp_path / "sub"):
        (place / "secret.raw").write_bytes(numbered().tobytes())
    own = tmp_path / "own"
    own.mkdir()
    name = name.format(absolute=tmp_path / "secret.raw")
    path = own / "image.nhdr"
    path.write_bytes(write_nrrd(tmp_path / "x.nrrd", numbered(), {"data file": "x.raw"}).read_bytes().replace(
        b"data file: x.raw", f"data file: {name}".encode()))  # fmt: skip

    assert said(path).startswith(f"{SUBJECT} keeps its voxels in another folder. ")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_a_pipe_of_voxels_is_not_waited_for(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "image.nhdr", numbered(), {"data file": "image.raw"})
    (tmp_path / "image.raw").unlink()
    os.mkfifo(tmp_path / "image.raw")

    assert "a pipe or a device" in said(path)


def test_a_missing_file_of_voxels_is_named(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "image.nhdr", numbered(), {"data file": "image.raw"})
    (tmp_path / "image.raw").unlink()

    assert f'{SUBJECT} keeps its voxels in "image.raw", which does not exist.' in said(path)


@pytest.mark.parametrize("name", ["LIST\na.raw\nb.raw", "image%03d.raw 1 2 1"])
def test_voxels_in_several_files_are_refused(name: str, tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "image.nhdr", numbered(), {"data file": name})

    assert "several files" in said(path) or "damaged" in said(path)


# --- what is no volume of single numbers ---


def test_layers_of_a_segmentation_are_refused_and_a_single_one_is_read(tmp_path: Path) -> None:
    m = [f"({','.join(map(repr, column))})" for column in GRID_LPS[:3, :3].T.tolist()]
    fields = {"dimension": 4, "kinds": "list domain domain domain", "space directions": " ".join(["none", *m])}
    two = write_nrrd(tmp_path / "two.seg.nrrd", numbered(shape=(2, 3, 4, 2)), {**fields, "sizes": "2 4 3 2"})
    one = write_nrrd(tmp_path / "one.seg.nrrd", numbered(), {**fields, "sizes": "1 4 3 2"})

    assert '(4 x 3 x 2) holds a "list of 2 numbers" in each voxel' in said(two)
    assert "one label map" in said(two)
    volume = read_nrrd(one, SUBJECT)
    np.testing.assert_array_equal(volume.voxels, numbered())
    np.testing.assert_allclose(volume.ijk_to_ras, TO_RAS @ GRID_LPS, atol=1e-12)


def test_several_time_points_are_refused_with_their_number(tmp_path: Path) -> None:
    m = [f"({','.join(map(repr, column))})" for column in GRID_LPS[:3, :3].T.tolist()]
    fields = {"dimension": 4, "sizes": "4 3 2 5", "kinds": "domain domain domain time",
              "space directions": " ".join([*m, "none"])}  # fmt: skip
    path = write_nrrd(tmp_path / "image.nrrd", numbered(shape=(5, 2, 3, 4)), fields)

    assert "has 4 axes (4 x 3 x 2 x 5)" in said(path)


# --- headers with faults ---


@pytest.mark.parametrize(
    "fields",
    [
        {"sizes": None}, {"sizes": "4 3"}, {"sizes": "4 3 x"}, {"sizes": "4 3 0"}, {"sizes": "4 3 -2"},
        {"sizes": "9" * 5000 + " 3 2"}, {"dimension": None}, {"dimension": 4}, {"type": None}, {"encoding": None},
        {"endian": None}, {"endian": "middle"}, {"byte skip": -2}, {"line skip": -1}, {"byte skip": "x"},
        {"space directions": "(1,0,0) (0,1,0)"}, {"space directions": "(1,0) (0,1) (0,0)"},
        {"space directions": "(1,0,x) (0,1,0) (0,0,1)"}, {"space origin": "(1,2)"}, {"space units": '"mm" "mm"'},
        {"kinds": "domain"},
    ],
    ids=str,
)  # fmt: skip
def test_a_header_with_a_fault_is_one_sentence(fields: dict[str, Any], tmp_path: Path) -> None:
    assert "damaged" in said(write_nrrd(tmp_path / "image.nrrd", numbered(), fields))


@pytest.mark.parametrize(
    "content", [b"", b"NRRD", b"no image", b"NRRD0004\nno field\n\n", b"NRRD0004\n" + b"x" * (1 << 25)]
)
def test_a_file_that_is_no_nrrd_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "image.nrrd").write_bytes(content)

    assert "damaged, incomplete or not an image" in said(tmp_path / "image.nrrd")


def test_a_field_that_says_two_things_is_refused_by_name(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "image.nrrd", numbered(), {"lineskip": 0, "line skip": 1})

    assert said(path) == f'{SUBJECT} states "line skip" twice, and differently. Export it again.'


@pytest.mark.parametrize("fields", [{"type": "block"}, {"encoding": "hex"}])
def test_a_type_or_encoding_that_is_not_read_is_named(fields: dict[str, str], tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "image.nrrd", numbered(), fields)

    assert f'"{next(iter(fields.values()))}"' in said(path)


@pytest.mark.parametrize(
    "directions", ["(2,0,0) (0.5,3,0) (0,0,4)", "(0,0,0) (0,3,0) (0,0,4)", "(nan,0,0) (0,3,0) (0,0,4)"]
)
def test_axes_that_are_not_at_right_angles_are_refused(directions: str, tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "image.nrrd", numbered(), {"space directions": directions})

    with pytest.raises(GeometryError, match=r"not at right angles or no valid spacing\. Resample it"):
        read_nrrd(path, SUBJECT)


@pytest.mark.parametrize("compressed", [False, True])
def test_what_itk_writes_and_reads_is_read_in_the_same_way(compressed: bool, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(numbered("<f4"))
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin((1.25, -30.5, 7.0))
    image.SetDirection((0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / "image.nhdr"), useCompression=compressed)

    volume = read_nrrd(tmp_path / "image.nhdr", SUBJECT)

    np.testing.assert_array_equal(volume.voxels, numbered("<f4"))
    for index in np.ndindex(4, 3, 2):
        lps = image.TransformIndexToPhysicalPoint([int(number) for number in index])
        np.testing.assert_allclose((TO_RAS @ volume.ijk_to_ras @ [*index, 1])[:3], lps, atol=1e-9)
