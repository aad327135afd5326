"""One file in, one volume or one sentence out, whatever the format and whatever is wrong with it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutated import tried
from written_images import META_TYPES, TO_RAS, numbered, write_meta, write_nrrd

from uncol.core.errors import DataError, GeometryError
from uncol.core.jobs import DicomChoice
from uncol.core.volume import Volume
from uncol.formats.read import read_volume

SUBJECT = 'Image "x"'
CHOICE = DicomChoice()


@pytest.mark.parametrize(
    "name", ["image.tif", "image.png", "image.vtk", "image.gipl", "image.nrrd.gz", "notes.txt", "x"]
)
def test_a_format_that_the_guide_does_not_name_is_refused(name: str, tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(numbered()), str(tmp_path / "image.tif"))
    (tmp_path / name).write_bytes((tmp_path / "image.tif").read_bytes())

    with pytest.raises(DataError, match=r'^Image "x" is of a format that is not read here\. Use a NIfTI') as caught:
        read_volume(tmp_path / name, SUBJECT, CHOICE)

    assert ".nrrd" in str(caught.value)
    assert ".mha" in str(caught.value)
    assert "DICOM" in str(caught.value)


@pytest.mark.parametrize("name", ["IMAGE.NRRD", "organ.seg.nrrd", "image.nhdr"])
def test_the_ending_says_the_format(name: str, tmp_path: Path) -> None:
    volume = read_volume(write_nrrd(tmp_path / name, numbered()), SUBJECT, CHOICE)

    np.testing.assert_array_equal(volume.voxels, numbered())


def test_sizes_that_no_memory_holds_are_told_as_such(tmp_path: Path) -> None:
    sizes = {"sizes": "9999999999 9999999999 9999999999"}
    path = write_nrrd(tmp_path / "image.nrrd", numbered(), sizes, packing="gzip")

    with pytest.raises(DataError, match=r"^The memory is full\."):
        read_volume(path, SUBJECT, CHOICE)


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz", "image.nrrd", "image.mha"])
def test_a_grid_that_will_not_do_is_refused_by_the_header_alone(name: str, tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((40, 60, 80), np.float64)), str(tmp_path / name), name[-2:] == "gz")
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) - 500] if name[-2:] == "gz" else whole[:600])  # no or few voxels
    told: list[tuple[int, int, int]] = []

    def refuse(volume: Volume) -> None:
        told.append(volume.shape_kji)
        message = "This grid will not do."
        raise GeometryError(message)

    with pytest.raises(GeometryError, match=r"^This grid will not do\.$"):
        read_volume(tmp_path / name, SUBJECT, CHOICE, refuse)
    with pytest.raises(DataError):
        read_volume(tmp_path / name, SUBJECT, CHOICE)

    assert told == [(40, 60, 80)]


# --- random files, right and wrong ---


@dataclass(frozen=True)
class Wanted:
    """What is read of a file; `affine` is None where it does not say how it lies, all of it where it is refused."""

    voxels: np.ndarray | None
    affine: np.ndarray | None = None


@dataclass(frozen=True)
class Fault:
    """Fields of both formats that are changed, and what comes of it."""

    nrrd: dict[str, Any]
    meta: dict[str, Any]
    is_read: bool = False
    is_placed: bool = False


FAULTS = {
    "none": Fault({}, {}, is_read=True, is_placed=True),
    "comments": Fault({"content": "a: b"}, {"Comment": "a = b"}, is_read=True, is_placed=True),
    "no place": Fault({"space": None, "space origin": None}, {"TransformMatrix": None, "Offset": None}, is_read=True),
    "no sizes": Fault({"sizes": None}, {"DimSize": None}),
    "one slice more": Fault({"sizes": "{i} {j} {k1}"}, {"DimSize": "{i} {j} {k1}"}),
    "no type": Fault({"type": None}, {"ElementType": None}),
    "unknown type": Fault({"type": "half"}, {"ElementType": "MET_HALF"}),
    "unknown unit": Fault({"space units": '"ell" "ell" "ell"'}, {"DistanceUnits": "ell"}),
    "no number": Fault({"space origin": "(1,2,three)"}, {"Offset": "1 2 three"}),
    "not finite": Fault({"space origin": "(1,2,nan)"}, {"Offset": "1 2 nan"}),
    "sheared": Fault({"space directions": "(1,0,0) (0.1,1,0) (0,0,1)"}, {"TransformMatrix": "1 0 0 0.1 1 0 0 0 1"}),
    "voxels elsewhere": Fault({"data file": "/dev/zero"}, {"ElementDataFile": "/dev/zero"}),
    "no voxels": Fault({"data file": "gone.raw"}, {"ElementDataFile": "gone.raw"}),
}


@st.composite
def affines(draw: Callable[..., Any]) -> np.ndarray:
    """Axes in any order and direction, turned about the third one; LPS, mm."""
    axes = np.eye(3)[:, draw(st.permutations(range(3)))] * draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    angle = math.radians(draw(st.floats(-180, 180)))
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes * draw(st.tuples(*[st.floats(0.01, 100)] * 3))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-1e5, 1e5)] * 3))
    return affine


@st.composite
def files(draw: Callable[..., Any]) -> tuple[Callable[[Path], Path], Wanted]:
    """Return what writes a file into a folder, and what is to be read of it."""
    kind, order = draw(st.sampled_from(sorted(META_TYPES))), draw(st.sampled_from("<>"))
    shape = draw(st.tuples(*[st.integers(1, 5)] * 3))
    # Rounded, so that numbers of 64 bits fit into 32, which is what they become.
    voxels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 127, shape).astype(order + kind)
    affine, fault = draw(affines()), FAULTS[draw(st.sampled_from(sorted(FAULTS)))]
    is_nrrd = draw(st.booleans())
    write = write_nrrd if is_nrrd else write_meta
    packing = draw(st.sampled_from(["raw", "gzip", "bzip2", "text"] if is_nrrd else ["raw", "zlib", "text"]))
    ending = draw(st.sampled_from([".nrrd", ".nhdr"] if is_nrrd else [".mha", ".mhd"]))
    sizes = dict(zip("kji", shape, strict=True)) | {"k1": shape[0] + 1}
    fields = {
        name: value.format(**sizes) if isinstance(value, str) else value
        for name, value in (fault.nrrd if is_nrrd else fault.meta).items()
    }
    cut = draw(st.sampled_from([0, 0, 1, 7, 10**6])) if packing != "text" else 0  # text has no length of its own
    if draw(st.booleans()):
        fields = {"data file" if is_nrrd else "ElementDataFile": "voxels.raw"} | fields
    is_read = fault.is_read and cut == 0

    def write_to(folder: Path) -> Path:
        path = folder / f"image{ending}"
        change = (lambda stored: stored[: max(len(stored) - cut, 0)]) if cut else bytes
        name = fields.get("data file", fields.get("ElementDataFile"))
        write(path, voxels, fields, packing=packing, grid_lps=affine, change=change)
        if name == "gone.raw":
            (folder / name).unlink()
        return path

    return write_to, Wanted(voxels if is_read else None, TO_RAS @ affine if fault.is_placed else None)


def read(path: Path) -> Volume | str:
    """What is read of a file, or the sentence about it."""
    try:
        return read_volume(path, SUBJECT, CHOICE)
    except DataError as error:
        return str(error)


def check(written: tuple[Callable[[Path], Path], Wanted]) -> bool:
    """The voxels and the place that were written are read, or there is one sentence."""
    write_to, wanted = written
    with tempfile.TemporaryDirectory() as folder:
        found = read(write_to(Path(folder)))
    if wanted.voxels is None:
        assert isinstance(found, str), "accepted"
        assert found.startswith(SUBJECT)
        assert found.endswith(".")
        return False
    assert isinstance(found, Volume), found
    np.testing.assert_array_equal(found.voxels, wanted.voxels)
    assert found.is_placed is (wanted.affine is not None)
    if wanted.affine is not None:
        np.testing.assert_allclose(found.ijk_to_ras, wanted.affine, rtol=1e-9, atol=1e-6)
    return True


def check_damaged(written: tuple[Callable[[Path], Path], Wanted], places: list[tuple[float, int]]) -> bool:
    """Bytes anywhere in a file that are others: a volume or one sentence, never another error."""
    with tempfile.TemporaryDirectory() as folder:
        path = written[0](Path(folder))
        content = bytearray(path.read_bytes())
        for place, byte in places:
            content[int(place * (len(content) - 1))] = byte
        path.write_bytes(content)
        found = read(path)
    assert isinstance(found, Volume) or found.endswith(".")
    return isinstance(found, Volume)


BYTES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4)
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW, derandomize=True)
@given(files())
def test_random_files_are_read_as_they_were_written_or_refused(written: Any) -> None:
    check(written)


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW, derandomize=True)
@given(files(), BYTES)
def test_random_bytes_in_a_file_end_in_no_other_error(written: Any, places: Any) -> None:
    check_damaged(written, places)


@pytest.mark.soak
def test_thousands_of_random_files_are_read_as_they_were_written_or_refused(tell: Callable[[str], None]) -> None:
    tell(f"random NRRD and MetaImage files: {tried(10_000, files(), check)}")
    damaged = st.tuples(files(), BYTES)
    tell(f"the same with other bytes in them: {tried(10_000, damaged, lambda given: check_damaged(*given))}")
