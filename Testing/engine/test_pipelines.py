"""What users of comparable tools ran into with real learning; minutes each, so for `make soak` alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.data.io import read_image, write_results

pytestmark = pytest.mark.soak

SHAPE = (24, 48, 64)
TO_RAS = np.array([[-1.5, 0, 0, 48], [0, -1.5, 0, 36], [0, 0, 4.0, -46], [0, 0, 0, 1.0]])
Masks = Mapping[str, np.ndarray]


def ellipsoid(
    center_kji: tuple[float, ...], radii_kji: tuple[float, ...], shape: tuple[int, ...] = SHAPE
) -> np.ndarray:
    parts = zip(np.ogrid[tuple(slice(size) for size in shape)], center_kji, radii_kji, strict=True)
    return sum(((axis - center) / radius) ** 2 for axis, center, radius in parts) < 1


def ct(organs: Mapping[float, np.ndarray], seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Volume:
    """A body of 0 HU in air with organs of other HU and noise."""
    _k, j, i = np.ogrid[tuple(slice(size) for size in shape)]
    body = ((i - shape[2] / 2) / (shape[2] * 0.45)) ** 2 + ((j - shape[1] / 2) / (shape[1] * 0.44)) ** 2 < 1
    voxels = np.broadcast_to(np.where(body, 0.0, -1000.0), shape).copy()
    for value, mask in organs.items():
        voxels[mask] = value
    return Volume((voxels + np.random.default_rng(seed).normal(0, 12, shape)).astype(np.int16), TO_RAS)


def patient(shift: int, seed: int) -> tuple[Volume, dict[str, np.ndarray]]:
    """A CT with a liver, a spleen and a kidney."""
    liver = ellipsoid((12, 22, 22 + shift), (8, 11, 12))
    spleen = ellipsoid((13, 24, 46 + shift), (6, 7, 6)) & ~liver
    kidney = ellipsoid((8, 36, 34 + shift), (5, 4, 5)) & ~liver & ~spleen
    return ct({90.0: liver, 140.0: spleen, 190.0: kidney}, seed), {"liver": liver, "spleen": spleen, "kidney": kidney}


def annotated(masks: Masks, values: Mapping[str, int], slices: Any) -> Volume:
    whole = np.zeros(next(iter(masks.values())).shape, np.uint8)
    for name, value in values.items():
        whole[masks[name]] = value
    labels = np.full_like(whole, UNKNOWN_LABEL)
    labels[list(slices)] = whole[list(slices)]
    return Volume(labels, TO_RAS)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def structures(values: Mapping[str, int]) -> list[str]:
    return [word for name, value in values.items() for word in ("--structure", f"{name}={value}")]


def test_the_order_of_the_structures_of_a_base_model_does_not_matter(
    run_uncol: Callable[..., Any], tmp_path: Path
) -> None:
    """A base that knows three organs, and another patient annotated in the same and in another order."""
    straight, swapped = {"liver": 1, "spleen": 2, "kidney": 3}, {"kidney": 1, "liver": 2, "spleen": 3}
    (first, masks), (second, others) = patient(0, 1), patient(3, 2)
    images = {
        "a.nii.gz": first,
        "b.nii.gz": second,
        "la.nii.gz": annotated(masks, straight, range(0, 24, 3)),
        "same.nii.gz": annotated(others, straight, (6, 12, 16)),
        "other.nii.gz": annotated(others, swapped, (6, 12, 16)),
    }
    write_results(tmp_path / "in", images, {})
    case = ["--case", tmp_path / "in" / "a.nii.gz", tmp_path / "in" / "la.nii.gz"]
    base = run_uncol("fine-tune", *case, "--steps", 200, *structures(straight), "--out", tmp_path / "base")
    assert base.returncode == 0, base.stderr

    scores = []
    for name, values in (("same", straight), ("other", swapped)):
        case = ["--case", tmp_path / "in" / "b.nii.gz", tmp_path / "in" / f"{name}.nii.gz", "--base", tmp_path / "base"]
        learned = run_uncol("fine-tune", *case, "--steps", 100, *structures(values), "--out", tmp_path / name)
        assert learned.returncode == 0, learned.stderr
        run_uncol(
            "segment", tmp_path / "in" / "b.nii.gz", "--model", tmp_path / name, "--out", tmp_path / f"out-{name}"
        )
        found = read_image(tmp_path / f"out-{name}" / "segmentation.nii.gz").voxels
        scores.append(np.mean([dice(found == value, others[each]) for each, value in values.items()]))

    assert scores[1] > scores[0] - 0.1
    assert min(scores) > 0.8


def test_lesions_of_three_voxels_are_found_or_the_user_is_told(run_uncol: Callable[..., Any], tmp_path: Path) -> None:
    shape, random = (24, 64, 64), np.random.default_rng(3)
    lesions = np.zeros(shape, bool)
    for k in range(4, 21):
        for j, i in random.integers((24, 20), (40, 40), (2, 2)):
            lesions[k, [j, j, j + 1], [i, i + 1, i]] = True
    liver = ellipsoid((12, 32, 30), (10, 20, 20), shape)
    slices = (5, 8, 11, 14, 17, 20)
    images = {
        "ct.nii.gz": ct({90.0: liver, 200.0: lesions}, shape=shape),
        "labels.nii.gz": annotated({"lesion": lesions}, {"lesion": 1}, slices),
    }
    write_results(tmp_path / "in", images, {})

    learned = run_uncol(
        *(
            "fine-tune",
            "--case",
            tmp_path / "in" / "ct.nii.gz",
            tmp_path / "in" / "labels.nii.gz",
            "--structure",
            "lesion=1",
        ),
        *("--steps", 300, "--out", tmp_path / "model", "--proposal", tmp_path / "proposal"),
    )

    assert learned.returncode == 0, learned.stderr
    proposal = read_image(tmp_path / "proposal" / "segmentation.nii.gz").voxels == 1
    assert np.array_equal(proposal[list(slices)], lesions[list(slices)])
    rest = [k for k in range(shape[0]) if k not in slices]
    assert dice(proposal[rest], lesions[rest]) > 0.5
