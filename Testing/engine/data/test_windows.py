"""Which images are CT is told from their distribution, and windows are chosen from it, not from single voxels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from uncol.core.volume import Volume
from uncol.data.io import read_image, read_labels
from uncol.data.transforms import apply_window
from uncol.data.windows import choose_window, grey_values_of, may_be_hounsfield, own_window

SHAPE = (12, 40, 48)
SOFT_TISSUE = (-160, 240)
FAT, WATER, LIVER, BONE = -100, 0, 60, 900


def a_ct(air: float = 0.4, noise: float = 15, seed: int = 0) -> np.ndarray:
    """Fat, water, liver and bone with noise, and a part of air; float32 (K, J, I) in HU."""
    random = np.random.default_rng(seed)
    tissue = random.choice([FAT, WATER, LIVER, BONE], p=[0.3, 0.1, 0.5, 0.1], size=SHAPE)
    tissue = np.where(random.random(SHAPE) < air, -1000, tissue)
    return (tissue + random.normal(0, noise, SHAPE)).astype(np.float32)


def an_mr(top: float = 800, seed: int = 0) -> np.ndarray:
    """Background, two tissues and noise, never below 0."""
    random = np.random.default_rng(seed)
    tissue = random.choice([0.02, 0.5, 0.95], p=[0.4, 0.4, 0.2], size=SHAPE)
    return np.clip(top * (tissue + random.normal(0, 0.02, SHAPE)), 0, None).astype(np.float32)


def padded(voxels: np.ndarray, value: float, columns: int = 8) -> np.ndarray:
    """The same with constant columns at the border."""
    copy = voxels.copy()
    copy[..., :columns] = value
    return copy


def with_one(voxels: np.ndarray, value: float) -> np.ndarray:
    copy = voxels.copy()
    copy[3, 4, 5] = value
    return copy


def of(distribution: Callable[..., np.ndarray], *numbers: float) -> np.ndarray:
    return distribution(*numbers, SHAPE).astype(np.float32)


RANDOM = np.random.default_rng(1)
CTS = {
    "with air": a_ct(),
    "one part of air in a hundred": a_ct(0.02),
    "noise of a low dose": a_ct(noise=80),
    "metal": with_one(a_ct(), 30000.5),
    "one black voxel": with_one(a_ct(), -32768),
    "padding of -2000": padded(a_ct(), -2000),
    "padding of -3024": padded(a_ct(), -3024, columns=40),
    "padding of -32768": padded(a_ct(), -32768),
    "lung alone": np.where(RANDOM.random(SHAPE) < 0.15, a_ct(0.0), of(RANDOM.normal, -850, 60)),
    "cut off at -1000": a_ct().clip(-1000, 1000),
}
OTHERS = {
    "MR": an_mr(),
    "MR, one black voxel": with_one(an_mr(), -32768),
    "MR, padding of -32768": padded(an_mr(), -32768),
    "MR, padding of -1024": padded(an_mr(), -1024),
    "MR, padding of -1000, and it": padded(padded(an_mr(), -1000), -32768, columns=3),
    "MR, some values below 0": an_mr() - 10,
    "MR, zero mean": (an_mr() - 300) / 250,
    "MR, zero mean, padding": padded((an_mr() - 300) / 250, -1000),
    "subtraction": of(RANDOM.normal, 0, 400),
    "subtraction, wide": of(RANDOM.normal, 0, 900),
    "subtraction, long tails": of(RANDOM.laplace, 0, 200),
    "phase": of(RANDOM.uniform, -4096, 4095),
    "CT as stored, without rescaling": a_ct() + 1024,
}
PIECES = {
    "fat and organs": a_ct(0.0),
    "an organ, some fat": of(RANDOM.normal, LIVER, 15) + np.where(RANDOM.random(SHAPE) < 0.01, FAT, 0),
    "an organ without fat": of(RANDOM.normal, 40, 15),
    "padding": padded(a_ct(0.0), -2000),
    "bone": np.where(RANDOM.random(SHAPE) < 0.6, of(RANDOM.normal, BONE, 100), a_ct(0.0)),
    "a little gas and its edges": np.where(RANDOM.random(SHAPE) < 0.02, of(RANDOM.uniform, -900, -100), a_ct(0.0)),
}


@pytest.mark.parametrize("name", CTS)
def test_a_ct_is_told_by_its_air(name: str) -> None:
    assert grey_values_of(CTS[name]) == "hounsfield"
    assert may_be_hounsfield(CTS[name])
    assert choose_window(CTS[name]) == SOFT_TISSUE


@pytest.mark.parametrize("name", OTHERS)
def test_padding_one_voxel_and_negative_values_make_no_ct(name: str) -> None:
    assert grey_values_of(OTHERS[name]) == "arbitrary"
    assert not may_be_hounsfield(OTHERS[name])


@pytest.mark.parametrize("name", PIECES)
def test_a_piece_of_a_ct_without_air_claims_no_hounsfield_units_but_may_have_them(name: str) -> None:
    assert grey_values_of(PIECES[name]) == "arbitrary"
    assert may_be_hounsfield(PIECES[name])
    assert choose_window(PIECES[name]) == own_window(PIECES[name])


@pytest.mark.parametrize("value", [-32768, -1024, -2000.5])
def test_padding_does_not_change_the_window_of_an_mr(value: float) -> None:
    plain = an_mr()

    assert own_window(padded(plain, value)) == own_window(plain[..., 8:])
    assert own_window(padded(padded(plain, value), -40000, columns=3)) == own_window(plain[..., 8:])


def test_a_window_goes_with_the_scale_of_an_mr() -> None:
    low, high = own_window(an_mr())

    assert own_window(4 * an_mr()) == pytest.approx((4 * low, 4 * high))
    assert own_window(an_mr() / 4) == pytest.approx((low / 4, high / 4))


def test_the_background_of_an_mr_is_no_padding() -> None:
    organ = np.zeros(SHAPE, dtype=np.int16)
    organ[:, 10:20, 10:20], organ[:, 12:16, 12:16] = 400, 500

    assert own_window(organ) == (0, 500)


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        # 101 evenly spaced values: percentiles 1 and 99 are the second and the last but one
        pytest.param(np.arange(200, 1201, 10), (-160, 1190), id="bone"),
        pytest.param(np.arange(-900, -399, 5), (-895, 240), id="lung"),
        pytest.param(np.arange(-500, 501, 10), (-490, 490), id="both ways"),
        pytest.param(np.arange(0, 101), (-160, 240), id="soft tissue"),
    ],
)
def test_a_ct_window_is_widened_to_the_middle_of_the_annotated_structures(
    structure: np.ndarray, expected: tuple[float, float]
) -> None:
    ct = np.concatenate([structure, a_ct().ravel()]).astype(np.int16)
    labels = np.zeros(len(ct), dtype=np.uint8)
    labels[: len(structure)], labels[-50:] = 4, 255

    assert choose_window(ct, labels) == pytest.approx(expected)


def test_a_ct_without_any_annotated_structure_keeps_its_window() -> None:
    assert choose_window(a_ct(), np.zeros(SHAPE, dtype=np.uint8)) == SOFT_TISSUE


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32])
def test_an_mr_gets_its_middle_99_percent(dtype: type) -> None:
    # 1001 evenly spaced values: percentile 0.5 is 5, percentile 99.5 is 995
    assert choose_window(np.arange(1001).astype(dtype)) == pytest.approx((5, 995))
    assert choose_window(np.arange(1001).astype(dtype).reshape(7, 11, 13)) == pytest.approx((5, 995))


def test_the_window_of_an_mr_does_not_depend_on_its_labels() -> None:
    mr = np.arange(1001).astype(np.int16)

    assert choose_window(mr, (mr > 990).astype(np.uint8)) == choose_window(mr)


def test_an_image_of_one_value_but_for_a_few_voxels_gets_its_whole_range() -> None:
    almost_empty = np.zeros(10_000, dtype=np.float32)
    almost_empty[7] = 8

    assert choose_window(almost_empty) == (0, 8)


@pytest.mark.parametrize("value", [0, 37, -1000, -32768])
def test_the_window_of_a_constant_image_can_be_applied(value: int) -> None:
    constant = np.full((2, 3, 4), value, dtype=np.int16)

    assert apply_window(torch.from_numpy(constant), choose_window(constant)).isfinite().all()
    assert not may_be_hounsfield(constant)


def images_below(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/images/*.nii.gz"))


@pytest.mark.realdata
def test_what_is_a_ct_is_told_right_for_every_real_image(shared_data: Path) -> None:
    told = {path: read_image(path).voxels for path in images_below(shared_data)}
    cts = {path for path in told if path.parts[-3] in ("chaos_ct", "totalseg_ct") and path.name != "ts_mr_sm.nii.gz"}

    assert len(told) > 200
    assert {path for path, voxels in told.items() if grey_values_of(voxels) == "hounsfield"} == cts
    assert {path for path, voxels in told.items() if may_be_hounsfield(voxels)} == cts
    assert {choose_window(told[path]) for path in cts} == {SOFT_TISSUE}
    assert grey_values_of(read_image(shared_data / "chaos_ct_dicom").voxels) == "hounsfield"


def pieces_of(image: Volume, part: float, count: int) -> list[np.ndarray]:
    """Pieces with that part of each side, anywhere where a fifth of them is no air."""
    random, pieces = np.random.default_rng(0), []
    sides = [max(4, int(part * side)) for side in image.shape_kji]
    while len(pieces) < count:
        corner = [random.integers(0, side - size + 1) for side, size in zip(image.shape_kji, sides, strict=True)]
        piece = image.voxels[tuple(slice(at, at + size) for at, size in zip(corner, sides, strict=True))]
        if (piece > -300).mean() > 0.2:
            pieces.append(piece)
    return pieces


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name", ["chaos_ct/images/chaos_ct_liver", "totalseg_ct/images/ts_body3mm", "totalseg_ct/images/ts_body3mm_sm"]
)
def test_pieces_of_a_real_ct_may_be_a_ct(shared_data: Path, name: str) -> None:
    image = read_image(shared_data / f"{name}.nii.gz")

    for part in (0.35, 0.5, 0.7):
        assert all(may_be_hounsfield(each) for each in pieces_of(image, part, count=60))


@pytest.mark.realdata
def test_the_box_of_every_organ_of_a_real_ct_may_be_a_ct(shared_data: Path) -> None:
    image = read_image(shared_data / "totalseg_ct" / "images" / "ts_body3mm.nii.gz")
    labels = read_labels(shared_data / "totalseg_ct" / "labels" / "ts_body3mm.nii.gz", image, "ts_body3mm").voxels

    for value in np.unique(labels[labels > 0]):
        places = np.argwhere(labels == value)
        box = image.voxels[tuple(map(slice, places.min(0), places.max(0) + 1))]
        assert box.size < 500 or may_be_hounsfield(box), value
