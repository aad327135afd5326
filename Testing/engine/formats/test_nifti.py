"""Tests of NIfTI and Analyze files as a whole: their voxels arrive as they are meant, all of them, or are refused."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import numbered
from mutated import tried
from written_nifti import (
    CODES,
    OBLIQUE,
    TYPES,
    qform,
    save,
    save_pair,
    second_reading,
    single_file,
    turned,
)

from uncol.core.errors import DataError
from uncol.core.volume import Volume
from uncol.data.io import read_image, read_labels, read_map
from uncol.formats.nifti import read_nifti

ROOT = Path(__file__).resolve().parents[3]
INCOMPLETE = "cannot be read: it is damaged, incomplete or not an image"
NOISE = np.random.default_rng(0).integers(-1000, 3000, (6, 40, 50)).astype(np.int16)
EXTENSION = b"\1\0\0\0" + (16).to_bytes(4, "little") + (6).to_bytes(4, "little") + b"a note\0\0"


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def members(content: bytes) -> bytes:
    return gzip.compress(content[:300]) + gzip.compress(content[300:370]) + gzip.compress(content[370:])


# --- ways to pack the same voxels ---

PACKED = {
    "plain": lambda folder, order: save(folder / "image.nii", NOISE, order=order),
    "compressed": lambda folder, order: save(folder / "image.nii.gz", NOISE, order=order),
    "NIfTI-2": lambda folder, order: save(folder / "image.nii.gz", NOISE, order=order, version=2),
    "capital letters": lambda folder, order: save(folder / "IMAGE.NII", NOISE, order=order),
    "plain, named as compressed": lambda folder, order: written(folder / "i.nii.gz", single_file(NOISE, order=order)),
    "compressed, named as plain": lambda folder, order: written(
        folder / "i.nii", gzip.compress(single_file(NOISE, order=order))
    ),
    "compressed in three parts": lambda folder, order: written(
        folder / "i.nii.gz", members(single_file(NOISE, order=order))
    ),
    "bytes behind the voxels": lambda folder, order: written(
        folder / "i.nii.gz", gzip.compress(single_file(NOISE, order=order) + b"more")
    ),
    "an extension": lambda folder, order: save(
        folder / "i.nii", NOISE, order=order, extension=EXTENSION, vox_offset=348 + len(EXTENSION)
    ),
    "the flag of an extension alone": lambda folder, order: save(
        folder / "i.nii", NOISE, order=order, extension=b"\1\0\0\0"
    ),
    "header of a pair": lambda folder, order: save_pair(folder / "i.hdr", NOISE, order=order),
    "voxels of a pair": lambda folder, order: save_pair(folder / "i.hdr", NOISE, order=order).with_suffix(".img"),
    "pair in capital letters": lambda folder, order: save_pair(
        folder / "I.HDR", NOISE, order=order, voxel_suffix=".IMG"
    ),
    "pair of NIfTI-2": lambda folder, order: save_pair(folder / "i.hdr", NOISE, version=2, order=order),
    "pair with a .nii": lambda folder, order: save_pair(folder / "i.nii", NOISE, order=order),
    "pair, compressed voxels": lambda folder, order: save_pair(
        folder / "i.hdr", NOISE, order=order, voxel_suffix=".img.gz"
    ),
    "compressed voxels of a pair": lambda folder, order: save_pair(
        folder / "i.hdr", NOISE, order=order, voxel_suffix=".img.gz"
    ).with_suffix(".img.gz"),
}


@pytest.mark.parametrize("order", ["<", ">"], ids=["little endian", "big endian"])
@pytest.mark.parametrize("packed", PACKED)
def test_voxels_and_grid_arrive_however_they_are_packed(
    packed: str, order: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = read_image(PACKED[packed](tmp_path, order))

    np.testing.assert_array_equal(volume.voxels, NOISE, strict=True)
    np.testing.assert_allclose(volume.ijk_to_ras, OBLIQUE, atol=1e-5)
    assert volume.voxels.flags.c_contiguous
    assert caplog.records == []


# --- files that do not hold what they announce ---


def cut(content: bytes) -> bytes:
    return content[:-1]


def with_wrong_checksum(content: bytes) -> bytes:
    return content[:-6] + bytes([content[-6] ^ 0x55]) + content[-5:]


SPOILED = {
    "plain, cut": lambda folder: written(folder / "i.nii", cut(single_file(NOISE))),
    "compressed, cut before": lambda folder: written(folder / "i.nii.gz", gzip.compress(cut(single_file(NOISE)))),
    "compressed, cut behind": lambda folder: written(folder / "i.nii.gz", gzip.compress(single_file(NOISE))[:-50]),
    "without the checksum": lambda folder: written(folder / "i.nii.gz", gzip.compress(single_file(NOISE))[:-8]),
    "a wrong checksum": lambda folder: written(
        folder / "i.nii.gz", with_wrong_checksum(gzip.compress(single_file(NOISE)))
    ),
    "other bytes in the middle": lambda folder: written(
        folder / "i.nii.gz", (whole := gzip.compress(single_file(NOISE)))[:9000] + bytes(50) + whole[9050:]
    ),
    "compressed twice": lambda folder: written(folder / "i.nii.gz", gzip.compress(gzip.compress(single_file(NOISE)))),
    "something behind the compressed part": lambda folder: written(
        folder / "i.nii.gz", gzip.compress(single_file(NOISE)) + b"text"
    ),
    "NIfTI-2, cut": lambda folder: written(folder / "i.nii", cut(single_file(NOISE, version=2))),
    "pair, cut": lambda folder: spoiled_pair(folder, ".img", cut),
    "pair, compressed voxels cut": lambda folder: spoiled_pair(folder, ".img.gz", lambda _: gzip.compress(bytes(6000))),
    "pair, compressed voxels of a wrong checksum": lambda folder: spoiled_pair(folder, ".img.gz", with_wrong_checksum),
}


def spoiled_pair(folder: Path, voxel_suffix: str, spoil: Any) -> Path:
    path = save_pair(folder / "i.hdr", NOISE, voxel_suffix=voxel_suffix)
    voxels = path.with_suffix(voxel_suffix)
    voxels.write_bytes(spoil(voxels.read_bytes()))
    return path


@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_file_that_does_not_hold_all_voxels_unchanged_is_refused(spoiled: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf'^Image "i\..*" {INCOMPLETE}\. Use a NIfTI, .* copy the file again\.$'):
        read_image(SPOILED[spoiled](tmp_path))


@pytest.mark.parametrize("name", ["i.hdr", "i.img"])
def test_half_of_a_pair_is_told_with_the_names_of_the_other(name: str, tmp_path: Path) -> None:
    save_pair(tmp_path / "i.hdr", NOISE)
    other = "i.img" if name == "i.hdr" else "i.hdr"
    (tmp_path / other).unlink()

    with pytest.raises(DataError, match=rf'is one file of a pair, and neither of "{other}" and "{other}\.gz" is there'):
        read_image(tmp_path / name)


@pytest.mark.parametrize("given", ["pair.hdr", "pair.img"])
def test_a_pipe_in_place_of_the_other_file_of_a_pair_is_not_waited_for(given: str, tmp_path: Path) -> None:
    save_pair(tmp_path / "pair.hdr", NOISE)
    other = tmp_path / ("pair.img" if given == "pair.hdr" else "pair.hdr")
    other.unlink()
    os.mkfifo(other)

    with pytest.raises(DataError, match=rf'"{given}" cannot be read: "{other.name}" is no regular file'):
        read_image(tmp_path / given)


def test_two_files_of_voxels_for_one_header_are_not_chosen_from(tmp_path: Path) -> None:
    path = save_pair(tmp_path / "i.hdr", NOISE)
    save_pair(path, NOISE - 1, voxel_suffix=".img.gz")

    with pytest.raises(DataError, match=r'both "i\.img" and "i\.img\.gz" are there\. Remove one of them\.$'):
        read_image(path)
    np.testing.assert_array_equal(read_image(tmp_path / "i.img.gz").voxels, NOISE - 1)


def test_the_other_file_of_a_pair_may_be_unreadable(tmp_path: Path) -> None:
    path = save_pair(tmp_path / "i.hdr", NOISE)
    (tmp_path / "i.img").unlink()
    (tmp_path / "i.img").symlink_to("i.img")

    with pytest.raises(DataError, match="cannot be read: its links lead in a circle"):
        read_image(path)


# --- number types and scaling ---


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "f4"])
def test_numbers_of_up_to_32_bits_keep_their_type(kind: str, tmp_path: Path) -> None:
    for order in "<>":
        volume = read_image(save(tmp_path / "image.nii", numbered(kind), order=order))

        np.testing.assert_array_equal(volume.voxels, numbered(kind), strict=True)


@pytest.mark.parametrize(
    ("kind", "largest", "read_as"),
    [
        ("i8", 2**31 - 1, np.int32),
        ("i8", 2**31, np.float32),
        ("u8", 2**31 - 1, np.int32),
        ("u8", 2**64 - 1, np.float32),
        ("f8", 1e30, np.float32),
    ],
)
def test_numbers_of_64_bits_become_32_bits(kind: str, largest: float, read_as: type, tmp_path: Path) -> None:
    stored = np.arange(150_000).reshape(3, 500, 100).astype(kind)  # more than is read at a time
    stored[-1, -1, -1] = largest

    volume = read_nifti(save(tmp_path / "image.nii.gz", stored), "Image")

    np.testing.assert_array_equal(volume.voxels, stored.astype(read_as), strict=True)


SCALED = [
    pytest.param("i2", 1, -1024, np.int32, id="Hounsfield units of unsigned numbers"),
    pytest.param("u1", -2, 3, np.int32, id="whole numbers"),
    pytest.param("i4", 2**28, 0, np.float32, id="whole numbers beyond 32 bits"),
    pytest.param("i2", 0.1, 0, np.float32, id="fractions"),
    pytest.param("f4", 2, 1, np.float32, id="stored fractions"),
    pytest.param("f8", 1e300, 0, np.float32, id="beyond what floats hold"),
    pytest.param("u1", 1, 0.5, np.float32, id="half a number"),
]


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize(("kind", "slope", "intercept", "read_as"), SCALED)
def test_values_are_stored_numbers_times_slope_plus_intercept(
    kind: str, slope: float, intercept: float, read_as: type, suffix: str, tmp_path: Path
) -> None:
    version = 2 if slope > 1e30 else 1
    path = save(tmp_path / f"i.{suffix}", numbered(kind), version=version, scl_slope=slope, scl_inter=intercept)

    voxels = read_nifti(path, "Image").voxels

    exact_slope = slope if version == 2 else float(np.float32(slope))
    with np.errstate(over="ignore"):
        expected = (numbered(np.float64) * exact_slope + intercept).astype(read_as)
    np.testing.assert_array_equal(voxels, expected, strict=True)


@pytest.mark.parametrize("slope", [0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("intercept", [-1024, np.nan])
def test_a_slope_of_zero_or_none_switches_scaling_off(slope: float, intercept: float, tmp_path: Path) -> None:
    path = save(tmp_path / "image.nii", numbered(), scl_slope=slope, scl_inter=intercept)

    np.testing.assert_array_equal(read_image(path).voxels, numbered(), strict=True)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("not_finite", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_seen(
    not_finite: float, version: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored = numbered(np.float32) + 7
    stored[1, 2, 3] = not_finite
    path = save(tmp_path / "image.nii.gz", stored, version=version)

    image = read_image(path)

    assert np.isfinite(image.voxels).all()
    assert "is not a finite number in 1 of 24 voxels" in caplog.text
    with pytest.raises(DataError, match=rf"holds the value {not_finite}; labels are whole numbers"):
        read_labels(path, image, "image.nii.gz")
    with pytest.raises(DataError, match="is not a finite number in 1 of 24 voxels"):
        read_map(path, image, "image.nii.gz")


# --- memory ---


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_header_that_announces_terabytes_takes_no_memory(version: int, suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"image.{suffix}", NOISE, version=version, dim=(3, 32767, 32767, 32767, 1, 1, 1, 1))
    tracemalloc.start()

    with pytest.raises(DataError, match=INCOMPLETE):
        read_image(path)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize(
    ("kind", "fields"),
    [("i2", {}), ("i2", {"scl_slope": 0.5}), ("i8", {}), ("u2", {"scl_inter": -9}), ("f8", {})],
    ids=["as stored", "scaled", "64 bits", "shifted", "doubles"],
)
def test_reading_takes_little_more_memory_than_the_voxels(
    kind: str, fields: dict[str, float], suffix: str, tmp_path: Path
) -> None:
    path = save(tmp_path / f"image.{suffix}", np.tile(NOISE, (20, 8, 10)).astype(kind), **fields)
    tracemalloc.start()

    voxels = read_nifti(path, "Image").voxels

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert voxels.nbytes > 38e6
    assert peak < 1.7 * voxels.nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
def test_voxels_that_no_memory_can_hold_are_not_called_damaged(tmp_path: Path) -> None:
    header = single_file(numbered(), dim=(3, 1024, 1024, 1024, 1, 1, 1, 1))[:352]
    part = gzip.compress(bytes(1 << 26), 1)
    path = written(tmp_path / "zeros.nii.gz", gzip.compress(header) + part * 32)  # 2 GiB in 9 MB
    program = (
        "import resource, sys; from pathlib import Path; from uncol.formats.nifti import read_nifti;"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize();"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000,) * 2);"
        "read_nifti(Path(sys.argv[1]), 'Image')"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        cwd=ROOT / "UnCoLSegment",
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr.splitlines()[-1].startswith("uncol.core.errors.DataError: The memory is full. Close other")


# --- whatever a header says: right, or refused ---

SCALES = st.sampled_from([0.0, 1.0, -2.0, 0.1, 3e38, np.nan, np.inf])
FAULTS = st.one_of(
    st.builds(lambda n: {"dim": n}, st.tuples(*[st.sampled_from([-3, 0, 1, 2, 3, 4, 300])] * 8)),
    st.builds(lambda n: {"datatype": n}, st.sampled_from([*TYPES, 0, 1, 32, 128, 1536, -4])),
    st.builds(lambda n: {"bitpix": n}, st.sampled_from([0, 1, 8, 16, 32, 64, -8])),
    st.builds(lambda n: {"vox_offset": n}, st.integers(-400, 800)),
    st.builds(lambda n: {"scl_slope": n}, SCALES),
    st.builds(lambda n: {"scl_inter": n}, SCALES),
    st.builds(lambda n: {"xyzt_units": n}, st.integers(0, 255)),
    st.builds(lambda n: {"sform_code": n}, st.integers(-1, 5)),
    st.builds(lambda n: {"qform_code": n}, st.integers(-1, 5)),
    st.builds(lambda n: {"quatern": n}, st.tuples(*[st.floats(width=32) | st.floats(-1, 1, width=32)] * 3)),
    st.builds(lambda n: {"pixdim": n}, st.tuples(*[st.floats(width=32) | st.floats(-2, 3, width=32)] * 8)),
    st.builds(lambda n: {"srow": n}, st.tuples(*[st.floats(width=32) | st.floats(-2, 3, width=32)] * 12)),
    st.builds(lambda degrees: qform(turned(OBLIQUE, degrees)), st.floats(-180, 180)),
    st.builds(lambda n: {"magic": n}, st.binary(min_size=4, max_size=8)),
)
GRIDS = st.builds(
    lambda spacing, degrees, origin: np.vstack(
        [np.column_stack([turned(OBLIQUE, degrees)[:3, :3] / [0.75, 0.8, 2.5] * spacing, origin]), [0, 0, 0, 1]]
    ),
    st.tuples(*[st.floats(0.01, 100)] * 3),
    st.floats(-180, 180),
    st.tuples(*[st.floats(-1000, 1000)] * 3),
)
FILES = st.fixed_dictionaries(
    {
        "grid": GRIDS,
        "shape": st.tuples(*[st.integers(1, 5)] * 3),
        "kind": st.sampled_from([*CODES]),
        "version": st.sampled_from([1, 2]),
        "order": st.sampled_from("<>"),
        "faults": st.lists(FAULTS, max_size=3),
        "kept": st.sampled_from([1.0] * 9 + [0.0, 0.5, 0.99]),
        "seed": st.integers(0, 99),
        "is_compressed": st.booleans(),
    }
)


def check_one_file(made: dict[str, Any]) -> bool:
    numbers = np.random.default_rng(made["seed"])
    voxels = np.frombuffer(numbers.bytes(8 * 125), made["kind"])[: np.prod(made["shape"])].reshape(made["shape"])
    fields = {name: value for fault in made["faults"] for name, value in fault.items()}
    if made["version"] == 1 and "magic" in fields:
        fields["magic"] = fields["magic"][:4]
    content = single_file(voxels, made["grid"], made["version"], made["order"], **fields)
    content = content[: int(len(content) * made["kept"])]
    is_whole = made["kept"] == 1 and not fields
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.nii"
        path.write_bytes(gzip.compress(content, 1) if made["is_compressed"] else content)
        try:
            volume = read_nifti(path, "Image")
        except DataError as error:
            sentence = str(error)
            assert not is_whole, sentence
            assert re.fullmatch(r"Image .+\.", sentence), sentence
            return False
    second = second_reading(content, made["version"], made["order"])
    assert second is not None
    assert_read_alike(volume, *second)
    return True


def assert_read_alike(volume: Volume, grid: np.ndarray, values: np.ndarray) -> None:
    """Corners within 2 % of a voxel, values exactly as 32-bit numbers."""
    corners = np.array([[0, 0, 0, 1], [*(np.array(volume.shape_kji[::-1]) - 1), 1]]).T
    apart = np.linalg.norm((volume.ijk_to_ras - grid) @ corners, axis=0)
    assert (apart < 0.02 * min(volume.spacing_mm) + 1e-6 * np.abs(grid[:3, 3]).max()).all()
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_array_equal(volume.voxels.astype(np.float32), values.astype(np.float32))
    assert volume.voxels.dtype.itemsize <= 4


@settings(max_examples=200, deadline=None, derandomize=True)
@given(FILES)
def test_a_file_with_random_faults_is_read_as_a_second_reading_has_it_or_refused(made: dict[str, Any]) -> None:
    check_one_file(made)


@pytest.mark.soak
def test_10000_files_with_random_faults_are_read_as_a_second_reading_has_them_or_refused(
    tell: Callable[[str], None],
) -> None:
    tell(f"NIfTI files with random faults: {tried(10_000, FILES, check_one_file)}")
