"""Raw NRRD: exactly the grid and the voxels, both ways with SimpleITK, and one sentence for every other file."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # its own documentation's name

from uncol.core.errors import DataError, GeometryError, OutputError
from uncol.core.volume import Volume
from uncol.core.volume_files import read_nrrd, write_nrrd

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
# Directions whose columns (I, J, K) are no multiples of anything: turned about all three axes.
TURNED = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])


def turned_volume(dtype: Any = np.int16) -> Volume:
    """A volume on a grid that is oblique in all three axes, with numbers that need all their digits."""
    matrix = np.eye(4)
    matrix[:3, :3] = TURNED @ np.diag([1 / 3, 0.7, 2.5])
    matrix[:3, 3] = (-100 / 7, 1e-7, 12345.678901234567)
    return Volume((np.arange(24) % 100).reshape(2, 3, 4).astype(dtype), matrix)


def sitk_matrix(image: Any) -> np.ndarray:
    """The IJK-to-RAS matrix of an image of SimpleITK, which speaks LPS."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


def sitk_image(volume: Volume) -> Any:
    """The same volume as an image of SimpleITK."""
    image = sitk.GetImageFromArray(volume.voxels)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.ijk_to_ras
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection((lps[:3, :3] / volume.spacing_mm).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


class TestRoundTrip:
    def test_every_geometry_comes_back_with_all_its_digits(self, nasty_volume: Volume, tmp_path: Path) -> None:
        write_nrrd(tmp_path / "a.nrrd", nasty_volume)

        back = read_nrrd(tmp_path / "a.nrrd")

        assert np.array_equal(back.ijk_to_ras, nasty_volume.ijk_to_ras)
        assert np.array_equal(back.voxels, nasty_volume.voxels)
        assert back.voxels.dtype == nasty_volume.voxels.dtype

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_every_number_type_comes_back(self, dtype: str, tmp_path: Path) -> None:
        volume = turned_volume(dtype)
        limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
        volume.voxels[0, 0, :2] = (limits.min, limits.max)

        write_nrrd(tmp_path / "a.nrrd", volume)

        back = read_nrrd(tmp_path / "a.nrrd")
        assert back.voxels.dtype == dtype
        assert back.voxels.dtype.isnative
        assert np.array_equal(back.voxels, volume.voxels)
        assert np.array_equal(back.ijk_to_ras, volume.ijk_to_ras)

    @pytest.mark.parametrize("change", ["view", "transposed", "big-endian", "read-only"])
    def test_the_memory_layout_does_not_matter(self, change: str, tmp_path: Path) -> None:
        voxels = np.arange(48, dtype=np.int32).reshape(2, 4, 6)
        changed = {
            "view": voxels[:, ::-2, 1::2],
            "transposed": voxels.transpose(2, 0, 1),
            "big-endian": voxels.astype(">i4"),
            "read-only": voxels,
        }[change]
        changed.setflags(write=change != "read-only")

        write_nrrd(tmp_path / "a.nrrd", Volume(changed, np.diag([1.0, 2.0, 3.0, 1.0])))

        assert np.array_equal(read_nrrd(tmp_path / "a.nrrd").voxels, changed)

    def test_a_mask_is_written_as_zeros_and_ones(self, tmp_path: Path) -> None:
        mask = np.array([[[True, False], [False, True]]])

        write_nrrd(tmp_path / "a.nrrd", Volume(mask, np.eye(4)))

        back = read_nrrd(tmp_path / "a.nrrd")
        assert back.voxels.dtype == np.uint8
        assert back.voxels.tolist() == [[[1, 0], [0, 1]]]

    def test_what_is_read_may_be_changed(self, tmp_path: Path) -> None:
        write_nrrd(tmp_path / "a.nrrd", turned_volume())

        read_nrrd(tmp_path / "a.nrrd").voxels[0, 0, 0] = 7

    def test_a_file_is_replaced(self, tmp_path: Path) -> None:
        write_nrrd(tmp_path / "a.nrrd", turned_volume())
        write_nrrd(tmp_path / "a.nrrd", Volume(np.ones((1, 1, 2), np.uint8), np.eye(4)))

        assert read_nrrd(tmp_path / "a.nrrd").voxels.tolist() == [[[1, 1]]]
        assert [each.name for each in tmp_path.iterdir()] == ["a.nrrd"]


class TestAgainstSimpleITK:
    def test_simpleitk_reads_what_is_written(self, nasty_volume: Volume, tmp_path: Path) -> None:
        write_nrrd(tmp_path / "a.nrrd", nasty_volume)

        image = sitk.ReadImage(str(tmp_path / "a.nrrd"))

        assert np.array_equal(sitk.GetArrayViewFromImage(image), nasty_volume.voxels)
        assert image.GetPixelID() == sitk.sitkFloat32
        np.testing.assert_allclose(sitk_matrix(image), nasty_volume.ijk_to_ras, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_simpleitk_reads_every_number_type(self, dtype: str, tmp_path: Path) -> None:
        volume = turned_volume(dtype)
        write_nrrd(tmp_path / "a.nrrd", volume)

        image = sitk.ReadImage(str(tmp_path / "a.nrrd"))

        assert sitk.GetArrayViewFromImage(image).dtype == dtype
        assert np.array_equal(sitk.GetArrayViewFromImage(image), volume.voxels)

    def test_what_simpleitk_writes_is_read(self, nasty_volume: Volume, tmp_path: Path) -> None:
        sitk.WriteImage(sitk_image(nasty_volume), str(tmp_path / "a.nrrd"), useCompression=False)

        back = read_nrrd(tmp_path / "a.nrrd")

        assert np.array_equal(back.voxels, nasty_volume.voxels)
        assert back.voxels.dtype == nasty_volume.voxels.dtype
        np.testing.assert_allclose(back.ijk_to_ras, nasty_volume.ijk_to_ras, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_every_number_type_of_simpleitk_is_read(self, dtype: str, tmp_path: Path) -> None:
        volume = turned_volume(dtype)
        sitk.WriteImage(sitk_image(volume), str(tmp_path / "a.nrrd"), useCompression=False)

        back = read_nrrd(tmp_path / "a.nrrd")

        assert back.voxels.dtype == dtype
        assert np.array_equal(back.voxels, volume.voxels)
        np.testing.assert_allclose(back.ijk_to_ras, volume.ijk_to_ras, rtol=0, atol=1e-9)


HEADER = (
    "NRRD0004\n# a comment\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 1 1\n"
    "space directions: (2,0,0) (0,3,0) (0,0,4)\nendian: little\nencoding: raw\nspace origin: (10,20,30)\n"
    "modality:=CT: head\n\n"
)


def file_with(tmp_path: Path, *changes: tuple[str, str], voxels: bytes = b"\x01\x00\x02\x00") -> Path:
    """A file made of `HEADER` with some changes."""
    header = HEADER
    for old, new in changes:
        assert old in header
        header = header.replace(old, new)
    path = tmp_path / "a.nrrd"
    path.write_bytes(header.encode() + voxels)
    return path


class TestHeader:
    def test_the_grid_is_turned_from_lps_to_ras(self, tmp_path: Path) -> None:
        volume = read_nrrd(file_with(tmp_path))

        assert volume.voxels.tolist() == [[[1, 2]]]
        assert volume.ijk_to_ras.tolist() == [[-2, 0, 0, -10], [0, -3, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]]

    @pytest.mark.parametrize(
        ("space", "signs"),
        [
            ("right-anterior-superior", (1, 1, 1)),
            ("RAS", (1, 1, 1)),
            ("left-anterior-superior", (-1, 1, 1)),
            ("LAS", (-1, 1, 1)),
            ("LPS", (-1, -1, 1)),
        ],
    )
    def test_other_spaces_are_understood(self, space: str, signs: tuple[int, ...], tmp_path: Path) -> None:
        volume = read_nrrd(file_with(tmp_path, ("left-posterior-superior", space)))

        assert volume.ijk_to_ras[:3, 3].tolist() == [10 * signs[0], 20 * signs[1], 30 * signs[2]]

    def test_big_endian_voxels_are_understood(self, tmp_path: Path) -> None:
        volume = read_nrrd(file_with(tmp_path, ("endian: little", "endian: big"), voxels=b"\x01\x00\x02\x00"))

        assert volume.voxels.tolist() == [[[256, 512]]]

    def test_windows_line_ends_are_understood(self, tmp_path: Path) -> None:
        assert read_nrrd(file_with(tmp_path, ("\n", "\r\n"))).voxels.tolist() == [[[1, 2]]]

    @pytest.mark.parametrize(
        ("old", "new", "error", "sentence"),
        [
            ("NRRD0004", "NIFTI", DataError, r'"a.nrrd" is not an NRRD file.*Export'),
            ("dimension: 3", "dimension: 4", DataError, r"has 4 axes, a volume has 3"),
            ("dimension: 3\n", "", DataError, r"has no axes, a volume has 3"),
            ("type: short", "type: block", DataError, r'voxels of type "block"'),
            ("encoding: raw", "encoding: gzip", DataError, r'not one uncompressed file \(encoding "gzip"\)'),
            ("encoding: raw", "encoding: raw\ndata file: b.raw", DataError, r"not one uncompressed file"),
            ("encoding: raw", "encoding: raw\nbyte skip: 8", DataError, r"not one uncompressed file"),
            ("endian: little\n", "", DataError, r"does not say its byte order"),
            ("sizes: 2 1 1", "sizes: 2 0 1", DataError, r'its sizes are "2 0 1"'),
            ("sizes: 2 1 1", "sizes: 2 1", DataError, r'its sizes are "2 1"'),
            ("sizes: 2 1 1", "sizes: 3 1 1", DataError, r"holds 4 bytes of voxels instead of 6"),
            ("sizes: 2 1 1", "sizes: 1 1 1", DataError, r"holds 4 bytes of voxels instead of 2"),
            ("sizes: 2 1 1", "sizes: 99999999999 99999999999 9", DataError, r"holds 4 bytes of voxels instead of"),
            ("# a comment", "nonsense", DataError, r'its header has the line "nonsense"'),
            ("# a comment", "# " + "x" * 70000, DataError, r"its header does not end"),
            ("left-posterior-superior", "scanner-xyz", GeometryError, r"where it lies.*scanner-xyz"),
            ("(0,3,0) ", "none ", GeometryError, r"no complete geometry"),
            ("(0,3,0) ", "(0,3) ", GeometryError, r"no complete geometry"),
            ("(0,3,0) ", "(0,x,0) ", GeometryError, r"no complete geometry"),
            ("(0,3,0) ", "(2,0,0) ", GeometryError, r"parallel axes"),
            ("(0,3,0) ", "(0,nan,0) ", GeometryError, r"finite"),
            ("space origin: (10,20,30)\n", "", GeometryError, r"no complete geometry"),
        ],
    )
    def test_other_files_are_refused_in_one_sentence(
        self, old: str, new: str, error: type[Exception], sentence: str, tmp_path: Path
    ) -> None:
        path = file_with(tmp_path, (old, new))

        with pytest.raises(error, match=sentence):
            read_nrrd(path)

    def test_an_empty_file_and_a_missing_one_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "empty.nrrd").touch()

        with pytest.raises(DataError, match=r'"empty.nrrd" is not an NRRD file'):
            read_nrrd(tmp_path / "empty.nrrd")
        with pytest.raises(DataError, match=r'"none.nrrd" could not be read \(No such file'):
            read_nrrd(tmp_path / "none.nrrd")

    def test_a_compressed_file_of_simpleitk_is_refused_by_name(self, tmp_path: Path) -> None:
        sitk.WriteImage(sitk_image(turned_volume()), str(tmp_path / "a.nrrd"), useCompression=True)

        with pytest.raises(DataError, match=r'encoding "gzip".*without compression'):
            read_nrrd(tmp_path / "a.nrrd")


class TestWriting:
    def test_voxels_without_a_number_type_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r'"a.nrrd" cannot hold voxels of type complex64'):
            write_nrrd(tmp_path / "a.nrrd", turned_volume(np.complex64))

        assert list(tmp_path.iterdir()) == []

    def test_a_missing_folder_is_one_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"none.*could not be written \(No such file or directory\)"):
            write_nrrd(tmp_path / "none" / "a.nrrd", turned_volume())

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
    def test_a_full_disk_leaves_the_old_file(self, tmp_path: Path) -> None:
        import resource  # Windows has none

        write_nrrd(tmp_path / "a.nrrd", turned_volume())
        before = (tmp_path / "a.nrrd").read_bytes()
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(OutputError, match=r"File too large.*Free some space"):
                write_nrrd(tmp_path / "a.nrrd", Volume(np.zeros((50, 60, 70), np.float32), np.eye(4)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)

        assert (tmp_path / "a.nrrd").read_bytes() == before
        assert [each.name for each in tmp_path.iterdir()] == ["a.nrrd"]

    @pytest.mark.skipif(os.name == "nt", reason="Windows does not replace a file that is open")
    def test_a_reader_never_sees_a_half_written_file(self, tmp_path: Path, make_volume: Callable[..., Volume]) -> None:
        path = tmp_path / "a.nrrd"
        small, large = (Volume(np.full(shape, 1, np.uint8), np.eye(4)) for shape in ((1, 2, 3), (40, 200, 200)))
        write_nrrd(path, small)
        stop = threading.Event()

        def write_often() -> None:
            while not stop.is_set():
                write_nrrd(path, large)
                write_nrrd(path, small)

        writer = threading.Thread(target=write_often)
        writer.start()
        try:
            shapes = {read_nrrd(path).shape_kji for _ in range(200)}
        finally:
            stop.set()
            writer.join()

        assert shapes <= {(1, 2, 3), (40, 200, 200)}

    def test_the_header_is_what_other_programs_expect(self, tmp_path: Path) -> None:
        write_nrrd(tmp_path / "a.nrrd", Volume(np.zeros((1, 1, 2), np.uint8), np.diag([-1.0, -2.0, 0.5, 1.0])))

        header, _, voxels = (tmp_path / "a.nrrd").read_bytes().partition(b"\n\n")

        assert voxels == b"\0\0"
        assert re.fullmatch(
            "NRRD0004\ntype: unsigned char\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 1 1\n"
            r"space directions: \(1.0,0.0,0.0\) \(0.0,2.0,0.0\) \(0.0,0.0,0.5\)"
            "\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
            r"space origin: \(0.0,0.0,0.0\)",
            header.decode(),
        )
