"""Volumes between panel and engine: exactly the grid and the voxels, whole or not at all, and never a program."""

from __future__ import annotations

import io
import os
import pickle  # noqa: TID251  # to see that nothing reads one
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutated import counted, mutated

from uncol.core.errors import DataError, GeometryError, OutputError
from uncol.core.protocol import Preview, read_event, write_message
from uncol.core.volume import Volume
from uncol.core.volume_files import VolumeFile, read_voxels, write_voxels
from uncol.data.io import read_image

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")


def numbers(dtype: Any = np.int16) -> np.ndarray:
    return (np.arange(24) % 100).reshape(2, 3, 4).astype(dtype)


def travel(volume: Volume, path: Path) -> Volume:
    """Write a volume, send it as a message, and read what arrives."""
    _, arrived = read_event(write_message(1, Preview(VolumeFile.write(path, volume))))
    return arrived.segmentation.read()


class TestRoundTrip:
    def test_every_geometry_comes_back_with_all_its_digits(self, nasty_volume: Volume, tmp_path: Path) -> None:
        back = travel(nasty_volume, tmp_path / "a.npy")

        assert np.array_equal(back.ijk_to_ras, nasty_volume.ijk_to_ras)
        assert np.array_equal(back.voxels, nasty_volume.voxels)
        assert back.voxels.dtype == nasty_volume.voxels.dtype

    def test_numbers_that_need_all_their_digits_come_back(self, tmp_path: Path) -> None:
        # Directions whose columns are no multiples of anything: turned about all three axes.
        matrix = np.eye(4)
        matrix[:3, :3] = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]]) @ np.diag(
            [1 / 3, 0.7, 2.5]
        )
        matrix[:3, 3] = (-100 / 7, 1e-7, 12345.678901234567)

        assert np.array_equal(travel(Volume(numbers(), matrix), tmp_path / "a.npy").ijk_to_ras, matrix)

    def test_the_engine_reads_exactly_what_was_written(self, nasty_volume: Volume, tmp_path: Path) -> None:
        image = read_image(VolumeFile.write(tmp_path / "a.npy", nasty_volume))

        assert np.array_equal(image.ijk_to_ras, nasty_volume.ijk_to_ras)
        assert np.array_equal(image.voxels, nasty_volume.voxels)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_every_number_type_comes_back(self, dtype: str, tmp_path: Path) -> None:
        voxels = numbers(dtype)
        limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
        voxels[0, 0, :2] = (limits.min, limits.max)

        back = travel(Volume(voxels, np.eye(4)), tmp_path / "a.npy").voxels

        assert (back.dtype, back.dtype.isnative) == (dtype, True)
        assert np.array_equal(back, voxels)

    @pytest.mark.parametrize("change", ["view", "transposed", "big-endian", "read-only"])
    def test_the_memory_layout_does_not_matter(self, change: str, tmp_path: Path) -> None:
        voxels = np.arange(48, dtype=np.int32).reshape(2, 4, 6)
        changed = {
            "view": voxels[:, ::-2, 1::2],
            "transposed": voxels.transpose(2, 1, 0),
            "big-endian": voxels.astype(">i4"),
            "read-only": voxels,
        }[change]
        changed.setflags(write=change != "read-only")

        back = travel(Volume(changed, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "a.npy").voxels

        assert np.array_equal(back, changed)
        assert (back.flags.c_contiguous, back.dtype.isnative) == (True, True)

    def test_a_mask_is_written_as_zeros_and_ones(self, tmp_path: Path) -> None:
        write_voxels(tmp_path / "a.npy", np.array([[[True, False], [False, True]]]))

        back = read_voxels(tmp_path / "a.npy")
        assert back.dtype == np.uint8
        assert back.tolist() == [[[1, 0], [0, 1]]]

    def test_a_volume_that_was_read_may_be_changed_and_its_file_deleted(self, tmp_path: Path) -> None:
        file = VolumeFile.write(tmp_path / "a.npy", Volume(numbers(), np.eye(4)))

        back = file.read()
        file.file.unlink()
        back.voxels[0, 0, 0] = 7

        assert type(back.voxels) is np.ndarray
        assert back.voxels.base is None

    def test_voxels_are_mapped_and_cannot_be_changed(self, tmp_path: Path) -> None:
        write_voxels(tmp_path / "a.npy", numbers())

        mapped = read_voxels(tmp_path / "a.npy")

        assert isinstance(mapped, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            mapped[0, 0, 0] = 7

    def test_a_file_is_replaced(self, tmp_path: Path) -> None:
        write_voxels(tmp_path / "a.npy", numbers())
        write_voxels(tmp_path / "a.npy", np.ones((1, 1, 2), np.uint8))

        assert read_voxels(tmp_path / "a.npy").tolist() == [[[1, 1]]]
        assert [each.name for each in tmp_path.iterdir()] == ["a.npy"]


class Program:
    """An object whose pickle does something when it is read."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, numbers())
    return file.getvalue()


def sized(side: int) -> bytes:
    """A header that announces so many voxels."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i2", "fortran_order": False, "shape": (side, 1, 1)})
    return header.getvalue() + bytes(48)


GOOD = npy(numbers())
OBJECTS = np.full((1, 1, 1), Program(), dtype=object)


class TestReading:
    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            pytest.param(b"", r'"a.npy" is damaged.*Export it again\.', id="empty"),
            pytest.param(b"NRRD0004\ntype: short\n", r'"a.npy" is damaged', id="another format"),
            pytest.param(pickle.dumps(Program()), r'"a.npy" is damaged', id="a pickle"),
            pytest.param(npy(OBJECTS, allow_pickle=True), r"cannot hold voxels of type object", id="objects"),
            pytest.param(npz(), r'"a.npy" is damaged', id="an archive"),
            pytest.param(GOOD[:50], r'"a.npy" is damaged', id="cut off in the header"),
            pytest.param(GOOD[:-1], r'"a.npy" is damaged', id="cut off by a byte"),
            pytest.param(GOOD[:128], r'"a.npy" is damaged', id="nothing but a header"),
            pytest.param(GOOD.replace(b"(2, 3, 4)", b"(9, 9, 9)"), r'"a.npy" is damaged', id="too few voxels"),
            pytest.param(GOOD.replace(b"(2, 3, 4)", b"2, 3, 4) "), r'"a.npy" is damaged', id="no Python in the header"),
            pytest.param(GOOD.replace(b"(2, 3, 4)", b"(-2,3, 4)"), r'"a.npy"', id="negative size"),
            pytest.param(npy(numbers()[0]), r"shape \(3, 4\), a volume has 3 axes", id="two axes"),
            pytest.param(sized(10**30), r"shape \(1000000000000000000000000000000, 1, 1\)", id="a size of 31 digits"),
            pytest.param(sized(10**4000), r"shape \(10{58}, a volume", id="a size of 4001 digits"),
            pytest.param(sized(2**62), r'"a.npy" has voxels of shape', id="more than any disk"),
            pytest.param(npy(numbers()[None]), r"shape \(1, 2, 3, 4\), a volume has 3 axes", id="four axes"),
            pytest.param(npy(numbers()[:0]), r"shape \(0, 3, 4\), a volume has 3 axes", id="no voxels"),
            pytest.param(npy(numbers(np.complex64)), "cannot hold voxels of type complex64", id="complex"),
            pytest.param(npy(numbers(np.float16)), "cannot hold voxels of type float16", id="half"),
            pytest.param(npy(numbers().astype("U3")), "cannot hold voxels of type <U3", id="texts"),
            pytest.param(npy(numbers().view("i1,i1")), "cannot hold voxels of type", id="records"),
        ],
    )
    def test_other_files_are_refused_in_one_sentence(
        self, content: bytes, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a.npy").write_bytes(content)

        with pytest.raises(DataError, match=sentence):
            read_voxels(tmp_path / "a.npy")

        assert [each.name for each in tmp_path.iterdir()] == ["a.npy"]  # no program in a pickle ran

    def test_whatever_is_broken_in_the_header_is_a_sentence(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        for position in range(80):
            for byte in (0, ord("("), ord("'"), ord("9"), 255):
                path.write_bytes(GOOD[:position] + bytes([byte]) + GOOD[position + 1 :])
                try:
                    assert read_voxels(path).ndim == 3
                except DataError as error:
                    assert str(error).startswith('"a.npy" ')  # noqa: PT017  # most of them are refused, not all

    def test_a_missing_file_is_one_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r'"none.npy" could not be read \(No such file'):
            read_voxels(tmp_path / "none.npy")

    def test_a_grid_that_is_not_usable_is_refused(self, tmp_path: Path) -> None:
        flat = VolumeFile.write(tmp_path / "a.npy", Volume(numbers(), np.eye(4))).ijk_to_ras[:2]

        with pytest.raises(GeometryError, match="parallel axes"):
            VolumeFile(tmp_path / "a.npy", (*flat, flat[0], (0.0, 0.0, 0.0, 1.0))).read()

    def test_the_engine_refuses_axes_that_are_not_at_right_angles(self, tmp_path: Path) -> None:
        slanted = np.eye(4)
        slanted[0, 1] = 0.5
        file = VolumeFile.write(tmp_path / "a.npy", Volume(numbers(), slanted))

        with pytest.raises(GeometryError, match=r'Image "a.npy" has axes that are not at right angles'):
            read_image(file)


class TestWriting:
    @pytest.mark.parametrize("dtype", [np.complex64, np.float16, object])
    def test_voxels_without_a_number_type_are_refused(self, dtype: Any, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r'"a.npy" cannot hold voxels of type'):
            write_voxels(tmp_path / "a.npy", numbers(dtype))

        assert list(tmp_path.iterdir()) == []

    def test_a_missing_folder_is_one_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"none.*could not be written \(No such file or directory\)"):
            write_voxels(tmp_path / "none" / "a.npy", numbers())

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
    def test_a_full_disk_leaves_the_old_file(self, tmp_path: Path) -> None:
        import resource  # Windows has none

        write_voxels(tmp_path / "a.npy", numbers())
        before = (tmp_path / "a.npy").read_bytes()
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(OutputError, match=r"a\.npy.*could not be written.*Free some space"):
                write_voxels(tmp_path / "a.npy", np.zeros((50, 60, 70), np.float32))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)

        assert (tmp_path / "a.npy").read_bytes() == before
        assert [each.name for each in tmp_path.iterdir()] == ["a.npy"]

    @pytest.mark.skipif(os.name == "nt", reason="Windows does not replace a file that is open")
    def test_a_reader_never_sees_a_half_written_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        small, large = np.ones((1, 2, 3), np.uint8), np.ones((40, 200, 200), np.uint8)
        write_voxels(path, small)
        stop = threading.Event()

        def write_often() -> None:
            while not stop.is_set():
                write_voxels(path, large)
                write_voxels(path, small)

        writer = threading.Thread(target=write_often)
        writer.start()
        try:
            seen = [np.array(read_voxels(path)) for _ in range(200)]
        finally:
            stop.set()
            writer.join()

        assert {each.shape for each in seen} <= {small.shape, large.shape}
        assert all(each.all() for each in seen)


@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz` file required additional header parsing:UserWarning")
@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.soak)])
def test_mutated_files_are_read_or_refused(tell: Callable[[str], None], tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.npy"
    write_voxels(path, numbers())

    def use(content: bytes) -> None:
        path.write_bytes(content)
        assert np.array(read_voxels(path)).ndim == 3

    tell(f"mutated voxels: {counted(count, mutated(path.read_bytes()), use, DataError)}")
