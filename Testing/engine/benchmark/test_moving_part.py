"""The heart is found by what moves between two phases, and what is found there comes back to its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_benchmark import write_case, write_splits

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.moving_part import cut, moving_window, put_back
from uncol.benchmark.prediction import Prediction
from uncol.benchmark.scores import score_predictions
from uncol.benchmark.suites import BENCHMARKS
from uncol.core.errors import DataError
from uncol.core.volume import Volume

HEART = replace(BENCHMARKS["acdc-heart"], moving_side_vox=4)


def phases(*moved: tuple[int, int, int, float], shape: tuple[int, int, int] = (2, 12, 10)) -> list[np.ndarray]:
    still = np.random.default_rng(0).random(shape).astype(np.float32)
    other = still.copy()
    for k, j, i, by in moved:
        other[k, j, i] += by
    return [still, other]


def test_the_window_lies_round_the_center_of_the_squared_differences() -> None:
    pair = phases((0, 4, 3, 1.0), (1, 8, 3, 0.5), (1, 8, 7, -0.5))  # weights 4, 1 and 1: center (5.33, 3.67)

    assert moving_window(*pair, 4) == (slice(4, 8), slice(2, 6))  # 5.83 - 2 and 4.17 - 2, rounded
    assert moving_window(*reversed(pair), 4) == (slice(4, 8), slice(2, 6))


@pytest.mark.parametrize(
    ("moved", "window"),
    [((0, 0, 9, 1.0), (slice(0, 4), slice(6, 10))), ((0, 11, 0, 1.0), (slice(8, 12), slice(0, 4)))],
    ids=["upper right", "lower left"],
)
def test_the_window_stays_in_the_image(moved: tuple[int, int, int, float], window: tuple[slice, slice]) -> None:
    assert moving_window(*phases(moved), 4) == window


def test_where_nothing_moves_the_window_is_in_the_middle_and_a_small_image_is_taken_whole() -> None:
    assert moving_window(*phases(), 4) == (slice(4, 8), slice(3, 7))
    assert moving_window(*phases((0, 2, 2, 1.0)), 11) == (slice(0, 11), slice(0, 10))


def test_a_window_keeps_its_place_in_the_patient_and_comes_back_there() -> None:
    oblique = np.array([[0.0, -2.0, 0.5, 10], [1.5, 0.0, 0.0, -4], [0.0, 0.25, 5.0, 7], [0, 0, 0, 1]])
    whole = Volume(np.arange(240, dtype=np.uint8).reshape(2, 12, 10), oblique)
    window = slice(3, 7), slice(5, 9)

    part = cut(whole, window)
    back = put_back(part, whole, window)

    first, same = (part.ijk_to_ras @ [0, 0, 0, 1]), (oblique @ [5, 3, 0, 1])
    assert np.array_equal(first, same)
    assert np.array_equal(part.voxels, whole.voxels[:, 3:7, 5:9])
    assert back.shares_grid_with(whole)
    assert np.array_equal(back.voxels[:, 3:7, 5:9], part.voxels)
    assert back.voxels.sum() == part.voxels.sum()


@pytest.fixture
def hearts(tmp_path: Path) -> Path:
    """Two patients of two phases; in their hearts the three structures, and one voxel far from what moves."""
    labels = np.zeros((2, 12, 10), dtype=np.uint8)
    labels[:, 5, 3:6] = 1, 2, 3
    labels[0, 0, 9] = 1
    for patient in "ab":
        for number, image in enumerate(phases(*((0, j, i, 3.0) for j in (5, 6) for i in (4, 5)))):
            write_case(tmp_path / "acdc", f"{patient}{number}", image, labels)
    frames = {patient: [f"{patient}0", f"{patient}1"] for patient in "ab"}
    write_splits(tmp_path / "acdc", train=["a"], test=["b"], labeled_1=["a"], frames=frames)
    return tmp_path


def test_all_that_a_run_sees_is_in_the_window_and_what_lies_outside_counts_as_missed(hearts: Path) -> None:
    reader = CaseReader(HEART, hearts)

    cases = reader.cases(1)
    sizes = {each.image.shape_kji for each in cases.labeled.values()} | {each.shape_kji for each in cases.test.values()}
    (label_of_a, *_) = (each.labels for each in cases.labeled.values())
    truth = cut(reader.reference("b0"), (slice(4, 8), slice(3, 7)))
    scores = score_predictions([(name, Prediction(truth, None)) for name in ("b0", "b1")], reader, 1).labels

    assert sizes == {(2, 4, 4)}
    assert np.array_equal(label_of_a.voxels, truth.voxels)
    assert {(each.structure, each.dice) for each in scores} == {
        ("right ventricle", 0.8),  # 2 of 3 voxels
        ("myocardium", 1.0),
        ("left ventricle", 1.0),
    }


def test_phases_of_different_size_are_refused(hearts: Path) -> None:
    other = np.arange(264.0).reshape(2, 12, 11)
    write_case(hearts / "acdc", "a1", other, np.zeros_like(other))

    with pytest.raises(DataError, match=r'The phases "a0" and "a1" differ in size, so that nothing tells what moves.'):
        CaseReader(HEART, hearts).cases(1)
