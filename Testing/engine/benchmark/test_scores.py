"""Predictions against references: hand-computed overlaps, distances only in real mm, nothing forgotten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_benchmark import write_case, write_splits

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.prediction import Prediction
from uncol.benchmark.scores import PartScore, UncertaintyScore, score_case, score_predictions
from uncol.benchmark.suites import BENCHMARKS
from uncol.core.jobs import Structure
from uncol.core.volume import Volume

REFERENCE = np.array([[[0, 1, 1, 0, 2]], [[0, 1, 1, 0, 2]], [[0, 1, 1, 0, 2]]])
"""Label map (3, 1, 5); voxels are 1 x 1 x 2 mm."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A set with one labeled case a and one test case c, both with the same reference."""
    for case_id in "ac":
        write_case(tmp_path / "hippocampus", case_id, np.arange(15.0).reshape(3, 1, 5), REFERENCE)
    write_splits(tmp_path / "hippocampus", train=["a"], test=["c"], labeled_1=["a"])
    return tmp_path


def reader_of(data: Path, **changes: object) -> CaseReader:
    return CaseReader(replace(BENCHMARKS["hippocampus"], **changes), data)


def prediction_in(reader: CaseReader, change: dict[tuple[int, int, int], int]) -> Prediction:
    """Return the reference with some voxels changed."""
    voxels = REFERENCE.astype(np.uint8)
    for place, value in change.items():
        voxels[place] = value
    return Prediction(reader.reference("c").with_voxels(voxels))


def test_dice_and_distances_are_those_counted_by_hand(data: Path) -> None:
    reader = reader_of(data)

    anterior, posterior = score_case("c", prediction_in(reader, {(0, 0, 1): 0, (0, 0, 2): 0}), reader, 1).labels

    # Predicted 4 of 6 voxels: 2 * 4 / (4 + 6). The two missed ones lie one slice, 2 mm, from the prediction.
    assert anterior.dice == 0.8
    assert (anterior.prediction_voxels, anterior.reference_voxels) == (4, 6)
    assert anterior.hd95_mm == pytest.approx(2.0)
    assert anterior.asd_mm == pytest.approx(2 * 2.0 / (4 + 6))
    assert (posterior.dice, posterior.hd95_mm) == (1.0, 0.0)


def test_without_a_known_spacing_there_are_no_distances(data: Path) -> None:
    reader = reader_of(data, spacing_known=False)

    scores = score_case("c", prediction_in(reader, {(0, 0, 1): 0}), reader, 1).labels

    assert [(score.hd95_mm, score.asd_mm) for score in scores] == [(None, None)] * 2


def test_a_missed_structure_is_dice_0_with_undefined_distances(data: Path) -> None:
    reader = reader_of(data)

    _, posterior = score_case("c", prediction_in(reader, {(k, 0, 4): 0 for k in range(3)}), reader, 1).labels

    assert (posterior.dice, posterior.hd95_mm, posterior.asd_mm) == (0.0, None, None)


def test_annotated_slices_do_not_count(data: Path) -> None:
    structures = (Structure(1, "liver"),)
    reader = reader_of(data, supervision="slices", volume="c", structures=structures, labeled_counts=(2,))
    # Slices 0 and 2 are annotated and wrong in the prediction; slice 1 is right.
    wrong = prediction_in(reader, {(0, 0, 1): 0, (0, 0, 2): 0, (2, 0, 1): 0, (0, 0, 4): 0, (1, 0, 4): 0, (2, 0, 4): 0})

    (liver,) = score_case("c", wrong, reader, 2).labels

    assert (liver.dice, liver.prediction_voxels, liver.reference_voxels) == (1.0, 2, 2)


def test_dice_is_told_by_the_distance_to_the_nearest_annotated_slice(tmp_path: Path) -> None:
    # Slices 0 and 4 of six are annotated: 1 and 3 are one slice (2 mm) away from one, 2 is two. 5 lies beyond them.
    labels = np.repeat(REFERENCE[:1], 6, axis=0)
    labels[5] = 0
    for case_id in "ac":
        write_case(tmp_path / "hippocampus", case_id, np.arange(30.0).reshape(6, 1, 5), labels)
    write_splits(tmp_path / "hippocampus", train=["a"], test=["c"], labeled_1=["a"])
    structures = (Structure(1, "liver"), Structure(2, "cyst"))
    reader = reader_of(tmp_path, supervision="slices", volume="c", structures=structures, labeled_counts=(4,))
    found = labels.astype(np.uint8)
    found[1, 0, 1:3] = 0  # 2 of 4 voxels one slice away are missed
    found[2, 0, 4] = 0  # the only one of the cyst two slices away
    found[5] = 1  # wrong, but not between annotated slices

    liver, cyst = score_case("c", Prediction(reader.reference("c").with_voxels(found)), reader, 4).labels

    assert liver.dice_by_distance == ((2.0, pytest.approx(2 * 2 / (2 + 4), abs=1e-5)), (4.0, 1.0))
    assert cyst.dice_by_distance == ((2.0, 1.0), (4.0, 0.0))


def test_errors_are_told_apart_by_whether_they_lie_between_the_annotated_slices_of_a_structure(tmp_path: Path) -> None:
    # Of eight slices 0, 2, 4 and 6 are annotated; the liver is in 0 to 4, so that 1 and 3 lie inside, 5 and 7 beyond.
    labels = np.repeat(REFERENCE[:1], 8, axis=0)
    labels[5:, 0, 1:3] = 0
    labels[1:, 0, 4] = 0  # the cyst is in 0 alone: nothing lies inside
    for case_id in "ac":
        write_case(tmp_path / "hippocampus", case_id, np.arange(40.0).reshape(8, 1, 5), labels)
    write_splits(tmp_path / "hippocampus", train=["a"], test=["c"], labeled_1=["a"])
    structures = (Structure(1, "liver"), Structure(2, "cyst"))
    reader = reader_of(tmp_path, supervision="slices", volume="c", structures=structures, labeled_counts=(2,))
    found = labels.astype(np.uint8)
    found[1, 0, 1] = 0  # 1 of the 4 voxels inside is missed
    found[5, 0, 1:4] = 1  # three are invented beyond

    liver, cyst = score_case("c", Prediction(reader.reference("c").with_voxels(found)), reader, 2).labels

    assert (liver.inside, liver.beyond) == (PartScore(pytest.approx(2 * 3 / (3 + 4), abs=1e-5), 1), PartScore(0.0, 3))
    assert (cyst.inside, cyst.beyond) == (PartScore(None, 0), PartScore(None, 0))


def test_a_distance_at_which_a_structure_is_not_has_no_dice_whatever_is_found_there(tmp_path: Path) -> None:
    labels = REFERENCE.copy()
    labels[1, 0, 4] = 0  # no cyst in the only slice that is not annotated
    for case_id in "ac":
        write_case(tmp_path / "hippocampus", case_id, np.arange(15.0).reshape(3, 1, 5), labels)
    write_splits(tmp_path / "hippocampus", train=["a"], test=["c"], labeled_1=["a"])
    structures = (Structure(1, "liver"), Structure(2, "cyst"))
    reader = reader_of(tmp_path, supervision="slices", volume="c", structures=structures, labeled_counts=(2,))

    _liver, cyst = score_case("c", prediction_in(reader, {}), reader, 2).labels  # it finds one there

    assert cyst.dice == 0
    assert cyst.dice_by_distance == ()


def test_whole_cases_have_no_distance_to_annotated_slices(data: Path) -> None:
    reader = reader_of(data)

    scores = score_case("c", prediction_in(reader, {}), reader, 1).labels

    assert [(score.dice_by_distance, score.inside, score.beyond) for score in scores] == [((), None, None)] * 2


def test_an_uncertainty_that_is_high_at_the_errors_and_low_elsewhere_finds_them_all(data: Path) -> None:
    reader = reader_of(data)
    wrong = prediction_in(reader, {(0, 0, 1): 0, (0, 0, 2): 0})
    doubt = np.zeros(REFERENCE.shape, dtype=np.float32)
    doubt[0, 0, 1:3] = 1

    scores = score_case("c", replace(wrong, uncertainty=wrong.labels.with_voxels(doubt)), reader, 1)

    # All 15 voxels are within 5 mm of a boundary. At entropy 0 the confidence is 1 and right; at 1 it is 1/3 and wrong.
    assert scores.uncertainty == (UncertaintyScore("c", 1.0, pytest.approx(2 / 15 * 1 / 3, abs=1e-5)),)


def test_what_is_near_a_boundary_is_not_known_without_a_spacing(data: Path) -> None:
    reader = reader_of(data, spacing_known=False)
    found = prediction_in(reader, {})

    scores = score_case("c", replace(found, uncertainty=found.labels), reader, 1)

    assert scores.uncertainty == ()


def test_each_score_knows_its_case_and_its_subject(tmp_path: Path) -> None:
    for case_id in ("a1", "c1", "c2"):
        write_case(tmp_path / "hippocampus", case_id, np.arange(15.0).reshape(3, 1, 5), REFERENCE)
    frames = {"a": ["a1"], "c": ["c1", "c2"]}
    write_splits(tmp_path / "hippocampus", train=["a"], test=["c"], labeled_1=["a"], frames=frames)
    reader = reader_of(tmp_path)

    scores = score_predictions(((name, Prediction(reader.reference(name))) for name in ("c2", "c1")), reader, 1).labels

    assert [(score.case, score.subject) for score in scores[::2]] == [("c1", "c"), ("c2", "c")]


@pytest.mark.parametrize(
    ("names", "message"), [((), "'c'.* but .. were segmented"), (("c", "c"), 'Case "c" was segmented twice')]
)
def test_a_method_that_leaves_out_or_repeats_a_case_is_a_mistake(
    data: Path, names: tuple[str, ...], message: str
) -> None:
    reader = reader_of(data)

    with pytest.raises(ValueError, match=message):
        score_predictions([(name, Prediction(reader.reference("c"))) for name in names], reader, 1)


def test_a_prediction_on_another_grid_is_a_mistake(data: Path) -> None:
    elsewhere = Volume(REFERENCE.astype(np.uint8), np.eye(4))

    with pytest.raises(ValueError, match="not on the grid of its image"):
        score_case("c", Prediction(elsewhere), reader_of(data), 1)
