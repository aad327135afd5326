"""Images and results from file to file: voxels, types and geometry survive, and results are whole or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation
from image_files import FORMATS, numbered, save

from uncol.core.errors import MEMORY_IS_FULL, DataError, GeometryError, OutputError
from uncol.core.files import sha256_of
from uncol.core.volume import Volume
from uncol.data.io import (
    check_writable,
    content_hash,
    read_image,
    write_results,
)

ENGINE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"
MakeVolume = Callable[..., Volume]


def geometry_of(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    image = sitk.ReadImage(str(path))
    return image.GetSize(), np.array([*image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()])


# --- file -> Volume -> file ---


@pytest.mark.parametrize("suffix", FORMATS)
def test_volume_to_file_to_volume_keeps_voxels_type_and_geometry(
    nasty_volume: Volume, suffix: str, tmp_path: Path
) -> None:
    write_results(tmp_path, {f"image.{suffix}": nasty_volume}, {})

    volume = read_image(tmp_path / f"image.{suffix}")

    np.testing.assert_array_equal(volume.voxels, nasty_volume.voxels)
    assert volume.voxels.dtype == nasty_volume.voxels.dtype
    np.testing.assert_allclose(volume.ijk_to_ras, nasty_volume.ijk_to_ras, rtol=0, atol=1e-5)
    assert volume.shares_grid_with(nasty_volume)


@pytest.mark.parametrize("suffix", FORMATS)
def test_file_to_volume_to_file_keeps_index_order_and_geometry_also_of_left_handed_grids(
    nasty_volume: Volume, suffix: str, tmp_path: Path
) -> None:
    first, second = tmp_path / f"first.{suffix}", f"second.{suffix}"
    write_results(tmp_path, {first.name: nasty_volume}, {})

    write_results(tmp_path, {second: read_image(first)}, {})

    size, numbers = geometry_of(first)
    new_size, new_numbers = geometry_of(tmp_path / second)
    assert new_size == size == (4, 3, 2)
    np.testing.assert_allclose(new_numbers, numbers, rtol=0, atol=1e-6)
    ras_determinant = np.linalg.det(nasty_volume.ijk_to_ras[:3, :3])  # LPS to RAS is a turn: the hand stays
    assert np.sign(np.linalg.det(numbers[6:].reshape(3, 3))) == np.sign(ras_determinant)


@pytest.mark.parametrize("suffix", FORMATS)
def test_voxel_indices_lead_to_the_ras_coordinates_computed_by_hand(suffix: str, tmp_path: Path) -> None:
    # I runs to P in steps of 2 mm, J to S in 3 mm, K to L in 4 mm; the first voxel lies at LPS (10, 20, 30).
    path = save(
        tmp_path / f"image.{suffix}",
        numbered(),
        Spacing=(2.0, 3.0, 4.0),
        Origin=(10.0, 20.0, 30.0),
        Direction=(0, 0, 1, 1, 0, 0, 0, 1, 0),
    )

    ijk_to_ras = read_image(path).ijk_to_ras

    np.testing.assert_allclose(
        ijk_to_ras, [[0, 0, -4, -10], [-2, 0, 0, -20], [0, 3, 0, 30], [0, 0, 0, 1]], rtol=0, atol=1e-6
    )
    # LPS (10 + 4 * 1, 20 + 2 * 1, 30 + 3 * 2) = (14, 22, 36)
    np.testing.assert_allclose(ijk_to_ras @ [1, 2, 1, 1], [-14, -22, 36, 1], rtol=0, atol=1e-6)


def test_a_large_oblique_grid_far_from_the_origin_survives_nifti_within_the_tolerance_of_a_shared_grid(
    make_volume: MakeVolume, tmp_path: Path
) -> None:
    volume = make_volume(geometry="oblique left-handed", shape_kji=(300, 2, 512), dtype=np.uint8)
    far = Volume(volume.voxels, volume.ijk_to_ras + np.array([[0, 0, 0, 1700.3], [0] * 4, [0] * 4, [0] * 4]))

    write_results(tmp_path, {"image.nii.gz": far}, {})

    assert read_image(tmp_path / "image.nii.gz").shares_grid_with(far)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_volume_of_one_slice_is_a_volume(suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"thin.{suffix}", numbered()[:1], Spacing=(0.7, 0.9, 5.0), Origin=(1.0, 2.0, 3.0))

    write_results(tmp_path, {f"again.{suffix}": read_image(path)}, {})

    volume = read_image(tmp_path / f"again.{suffix}")
    assert volume.shape_kji == (1, 3, 4)
    assert volume.spacing_mm == pytest.approx((0.7, 0.9, 5.0))


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.uint8, np.uint8),
        (np.int16, np.int16),
        (np.uint16, np.uint16),
        (np.int32, np.int32),
        (np.float32, np.float32),
        (np.float64, np.float32),
        (np.int64, np.int32),
        (np.uint64, np.int32),
    ],
)
def test_voxels_keep_their_type_up_to_32_bits(stored: Any, expected: Any, tmp_path: Path) -> None:
    volume = read_image(save(tmp_path / "image.nrrd", numbered(stored)))

    assert volume.voxels.dtype == expected
    np.testing.assert_array_equal(volume.voxels, numbered())


def test_whole_numbers_too_large_for_32_bits_become_floating_point_instead_of_wrapping_round(tmp_path: Path) -> None:
    volume = read_image(save(tmp_path / "image.nrrd", numbered(np.int64) * 2**40))

    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels, numbered(np.float32) * 2.0**40)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_fourth_axis_of_one_time_point_is_dropped(suffix: str, tmp_path: Path) -> None:
    turned = sitk.JoinSeries(
        [sitk.ReadImage(str(save(tmp_path / "x.mha", numbered(), Direction=(0, 1, 0, 1, 0, 0, 0, 0, 1))))]
    )
    sitk.WriteImage(turned, str(tmp_path / f"image.{suffix}"))

    volume = read_image(tmp_path / f"image.{suffix}")

    np.testing.assert_array_equal(volume.voxels, numbered())
    np.testing.assert_allclose(volume.ijk_to_ras[:3, :3], [[0, -1, 0], [-1, 0, 0], [0, 0, 1]], atol=1e-6)


def test_axes_rounded_in_the_file_give_results_on_the_grid_of_the_image(tmp_path: Path) -> None:
    # A turn by 1 degree, badly rounded: the axes are 0.9998 * (0.0175 - 0.0173) = 0.0002 off the right angle,
    # which is 0.06 mm over 300 rows.
    path = save(
        tmp_path / "rounded.mha",
        np.arange(2 * 300 * 400, dtype=np.int32).reshape(2, 300, 400),
        Direction=(0.9998, -0.0173, 0, 0.0175, 0.9998, 0, 0, 0, 1),
    )
    image = read_image(path)

    write_results(tmp_path, {"segmentation.nii.gz": image}, {})

    assert read_image(tmp_path / "segmentation.nii.gz").shares_grid_with(image)
    np.testing.assert_allclose(image.ijk_to_ras[:2, :2], [[-0.9998, 0.0175], [-0.0175, -0.9998]], atol=5e-4)


# --- results ---


def test_results_are_written_into_a_new_folder_with_nothing_else(make_volume: MakeVolume, tmp_path: Path) -> None:
    image = make_volume()
    folder = tmp_path / "new" / "deep"

    write_results(folder, {"segmentation.nii.gz": image, "map.nrrd": image}, {"report.json": '{"ü": 1}\n'})

    assert sorted(path.name for path in folder.iterdir()) == ["map.nrrd", "report.json", "segmentation.nii.gz"]
    assert (folder / "report.json").read_bytes() == '{"ü": 1}\n'.encode()


@pytest.mark.parametrize("suffix", FORMATS)
def test_label_maps_are_compressed(suffix: str, make_volume: MakeVolume, tmp_path: Path) -> None:
    labels = make_volume(np.zeros((20, 50, 50), np.uint8))

    write_results(tmp_path, {f"labels.{suffix}": labels}, {})

    assert (tmp_path / f"labels.{suffix}").stat().st_size < 2000  # of 50,000 voxels


def test_a_mask_and_a_flipped_view_are_written_like_any_array(make_volume: MakeVolume, tmp_path: Path) -> None:
    mask = make_volume(numbered() % 3 == 0)
    flipped = make_volume(numbered().transpose(2, 1, 0)[::-1, :, ::-1])

    write_results(tmp_path, {"mask.nii.gz": mask, "flipped.nrrd": flipped}, {})

    np.testing.assert_array_equal(read_image(tmp_path / "mask.nii.gz").voxels, (numbered() % 3 == 0).astype(np.uint8))
    np.testing.assert_array_equal(read_image(tmp_path / "flipped.nrrd").voxels, flipped.voxels)


def test_new_results_replace_old_ones_and_leave_other_files_alone(make_volume: MakeVolume, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_results(tmp_path, {}, {"report.json": "old"})

    write_results(tmp_path, {"map.mha": make_volume()}, {"report.json": "new"})

    assert (tmp_path / "report.json").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.mha", "notes.txt", "report.json"]


@pytest.mark.parametrize("name", ["segmentation.tif", "segmentation.gz", "segmentation"])
def test_a_volume_with_a_suffix_of_no_volume_format_is_refused(
    name: str, make_volume: MakeVolume, tmp_path: Path
) -> None:
    with pytest.raises(
        DataError, match=rf'cannot be written as "{name}"\. Use a name that ends in \.nii\.gz, \.nrrd or'
    ):
        write_results(tmp_path / "new", {name: make_volume()}, {})

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "deeper/still"], ids=["the folder is a file", "a parent is a file"])
def test_a_path_that_leads_through_a_file_is_refused_early_and_late(
    below: str, make_volume: MakeVolume, tmp_path: Path
) -> None:
    obstacle = tmp_path / "scan.txt"
    obstacle.write_text("mine")

    with pytest.raises(
        OutputError, match=r'cannot be written to ".*" \("scan.txt" is a file, not a folder\)\. .* choose'
    ):
        check_writable(obstacle / below)
    with pytest.raises(
        OutputError, match=r'cannot be written to ".*" \("scan.txt" is a file, not a folder\)\. .* choose'
    ):
        write_results(obstacle / below, {"map.nrrd": make_volume()}, {})

    assert obstacle.read_text() == "mine"


def test_a_writable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "deep")

    assert list((tmp_path / "new" / "deep").iterdir()) == []


@pytest.mark.parametrize("leads_to", ["of-others", "nowhere"])
def test_a_link_in_place_of_a_result_folder_is_refused_early_and_late(
    make_volume: MakeVolume, tmp_path: Path, leads_to: str
) -> None:
    write_results(tmp_path / "of-others", {"segmentation.nii.gz": make_volume()}, {"report.json": "{}"})
    before = {each.name: each.stat().st_mtime_ns for each in (tmp_path / "of-others").iterdir()}
    (tmp_path / "out").symlink_to(tmp_path / leads_to)

    for write in (check_writable, lambda out: write_results(out, {"segmentation.nii.gz": make_volume()}, {})):
        with pytest.raises(OutputError, match=r'cannot be written to ".*out": it is a link.* Name the folder itself'):
            write(tmp_path / "out")

    assert {each.name: each.stat().st_mtime_ns for each in (tmp_path / "of-others").iterdir()} == before
    assert not (tmp_path / "nowhere").exists()


def test_nothing_is_replaced_when_one_result_cannot_take_its_place(make_volume: MakeVolume, tmp_path: Path) -> None:
    write_results(tmp_path, {}, {"a.json": "old"})
    (tmp_path / "b.json").mkdir()

    with pytest.raises(OutputError, match=r'\("b.json" is a folder there\)'):
        write_results(tmp_path, {"map.nrrd": make_volume()}, {"a.json": "new", "b.json": "new"})

    assert (tmp_path / "a.json").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_a_result_that_cannot_be_named_leaves_no_new_folder(make_volume: MakeVolume, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"an image file could not be written completely"):
        write_results(tmp_path / "new" / "deep", {"no/such/folder.nrrd": make_volume()}, {"report.json": "{}"})

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_grid_that_nobody_reads_is_not_called_a_full_disk(suffix: str, tmp_path: Path) -> None:
    volume = Volume(numbered(), np.diag([1.0, 1.0, 5000.0, 1.0]))

    with pytest.raises(GeometryError, match=r"^The result has spacing \(1, 1, 5000\) mm"):
        write_results(tmp_path, {f"map.{suffix}": volume}, {})

    assert list(tmp_path.iterdir()) == []


WRITE_WITH_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from uncol.core.errors import OutputError
from uncol.data.io import check_writable, write_results
from uncol.core.volume import Volume

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
noise = Volume(np.random.default_rng(0).integers(0, 256, (10, 40, 50), dtype=np.uint8), np.eye(4))
volumes = {name: noise for name in sys.argv[2:3] if name.endswith(("gz", "nrrd", "mha"))}
documents = {"report.json": "{}", **{name: "x" * 20000 for name in sys.argv[2:3] if name not in volumes}}
try:
    if sys.argv[2] == "probe":
        check_writable(Path(sys.argv[1]))
    write_results(Path(sys.argv[1]), volumes, documents)
except OutputError as error:
    print(error)
"""


# 20,000 random voxels do not compress; the limits lie in the header, in the middle and just before the end.
@pytest.mark.parametrize(
    ("name", "limit"),
    [
        *[(f"segmentation.{suffix}", limit) for suffix in FORMATS for limit in (100, 8000, 19900)],
        ("large.json", 8000),
        ("probe", 0),
    ],
)
@pytest.mark.parametrize("is_new", [True, False], ids=["new folder", "old results"])
def test_a_full_disk_is_told_and_leaves_everything_as_it_was(
    name: str, limit: int, is_new: bool, tmp_path: Path
) -> None:
    pytest.importorskip("resource", reason="needs limits on the size of files")
    folder = tmp_path / "out"
    if not is_new:
        write_results(folder, {}, {name: "old", "report.json": "old"})

    child = subprocess.run(
        [sys.executable, "-c", WRITE_WITH_A_FULL_DISK, str(folder), name, str(limit)],
        env=os.environ | {"PYTHONPATH": str(ENGINE_FOLDER), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert child.stdout.startswith(f'Results cannot be written to "{folder}" (')
    assert child.stdout.endswith("). Free some space or choose another folder.\n")
    assert child.stdout.count("\n") == 1
    if is_new:
        assert not folder.exists()
    else:
        assert {path.name: path.read_text() for path in folder.iterdir()} == {name: "old", "report.json": "old"}


WRITE_WITH_A_FULL_MEMORY = """
import resource
from pathlib import Path
import numpy as np
from uncol.core.errors import OutputError
from uncol.core.volume import Volume
from uncol.data.io import write_results

volume = Volume(np.zeros((256, 512, 512), np.uint8), np.eye(4))
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (32 << 20), resource.RLIM_INFINITY))
try:
    write_results(Path("out"), {"segmentation.nii.gz": volume}, {})
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the memory of a process")
def test_a_memory_that_is_full_while_writing_is_not_told_as_a_full_disk(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ENGINE_FOLDER)}
    child = subprocess.run(
        [sys.executable, "-c", WRITE_WITH_A_FULL_MEMORY],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert child.stdout == f"{MEMORY_IS_FULL}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_report_knows_the_files_that_it_was_written_with_and_comes_last(
    make_volume: MakeVolume, tmp_path: Path
) -> None:
    write_results(tmp_path, {"map.nrrd": make_volume()}, {}, {"image": {"sha256": "a"}})

    report = json.loads((tmp_path / "report.json").read_text())
    assert report == {"image": {"sha256": "a"}, "files": {"map.nrrd": sha256_of(tmp_path / "map.nrrd")}}
    assert (tmp_path / "report.json").stat().st_mtime_ns >= (tmp_path / "map.nrrd").stat().st_mtime_ns


# --- content hash ---


def test_the_content_hash_survives_files_memory_order_and_rounding(nasty_volume: Volume, tmp_path: Path) -> None:
    write_results(tmp_path, {f"x.{suffix}": nasty_volume for suffix in FORMATS}, {})
    column_major = nasty_volume.with_voxels(np.asfortranarray(nasty_volume.voxels))
    big_endian = nasty_volume.with_voxels(nasty_volume.voxels.astype(">f4"))
    read = [read_image(tmp_path / f"x.{suffix}") for suffix in FORMATS]

    assert {content_hash(volume) for volume in [nasty_volume, column_major, big_endian, *read]} == {
        content_hash(nasty_volume)
    }
    assert len(content_hash(nasty_volume)) == 64


def test_the_content_hash_changes_with_a_voxel_the_type_the_shape_or_the_place(make_volume: MakeVolume) -> None:
    volume = make_volume()
    changed_voxel = volume.voxels.copy()
    changed_voxel[1, 2, 3] += 1
    shifted = volume.ijk_to_ras.copy()
    shifted[2, 3] += 0.01
    others = [
        volume.with_voxels(changed_voxel),
        volume.with_voxels(volume.voxels.astype(np.int32)),
        Volume(volume.voxels.reshape(3, 2, 4), volume.ijk_to_ras),
        Volume(volume.voxels, shifted),
    ]

    assert len({content_hash(each) for each in [volume, *others]}) == 5
