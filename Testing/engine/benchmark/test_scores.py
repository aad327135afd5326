"""Predictions against references: hand-computed overlaps, distances only in real mm, nothing forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.protocol import BENCHMARKS
from uncol.benchmark.scores import LabelScore, score_case, score_predictions
from uncol.job import Structure
from uncol.volume import Volume

REFERENCE = np.array([[[0, 1, 1, 0, 2]], [[0, 1, 1, 0, 2]], [[0, 1, 1, 0, 2]]])
"""Label map (3, 1, 5); voxels are 1 x 1 x 2 mm."""


@pytest.fixture
def data(tmp_path: Path, write_case: Callable[..., None], write_splits: Callable[..., None]) -> Path:
    """A set with one labeled case a and one test case c, both with the same reference."""
    for case_id in "ac":
        write_case(tmp_path / "hippocampus", case_id, np.arange(15.0).reshape(3, 1, 5), REFERENCE)
    write_splits(tmp_path / "hippocampus", train=["a"], test=["c"], labeled_1=["a"])
    return tmp_path


def reader_of(data: Path, **changes: object) -> CaseReader:
    return CaseReader(replace(BENCHMARKS["hippocampus"], **changes), data)


def prediction_in(reader: CaseReader, change: dict[tuple[int, int, int], int]) -> Volume:
    """Return the reference with some voxels changed."""
    voxels = REFERENCE.astype(np.uint8)
    for place, value in change.items():
        voxels[place] = value
    return reader.reference("c").with_voxels(voxels)


def test_dice_and_distances_are_those_counted_by_hand(data: Path) -> None:
    reader = reader_of(data)

    anterior, posterior = score_case("c", prediction_in(reader, {(0, 0, 1): 0, (0, 0, 2): 0}), reader, 1)

    # Predicted 4 of 6 voxels: 2 * 4 / (4 + 6). The two missed ones lie one slice, 2 mm, from the prediction.
    assert anterior.dice == 0.8
    assert (anterior.prediction_voxels, anterior.reference_voxels) == (4, 6)
    assert anterior.hd95_mm == pytest.approx(2.0)
    assert anterior.asd_mm == pytest.approx(2 * 2.0 / (4 + 6))
    assert (posterior.dice, posterior.hd95_mm) == (1.0, 0.0)


def test_without_a_known_spacing_there_are_no_distances(data: Path) -> None:
    reader = reader_of(data, spacing_known=False)

    scores = score_case("c", prediction_in(reader, {(0, 0, 1): 0}), reader, 1)

    assert [(score.hd95_mm, score.asd_mm) for score in scores] == [(None, None)] * 2


def test_a_missed_structure_is_dice_0_with_undefined_distances(data: Path) -> None:
    reader = reader_of(data)

    _, posterior = score_case("c", prediction_in(reader, {(k, 0, 4): 0 for k in range(3)}), reader, 1)

    assert (posterior.dice, posterior.hd95_mm, posterior.asd_mm) == (0.0, None, None)


def test_annotated_slices_do_not_count(data: Path) -> None:
    structures = (Structure(1, "liver"),)
    reader = reader_of(data, supervision="slices", volume="c", structures=structures, labeled_counts=(2,))
    # Slices 0 and 2 are annotated and wrong in the prediction; slice 1 is right.
    wrong = prediction_in(reader, {(0, 0, 1): 0, (0, 0, 2): 0, (2, 0, 1): 0, (0, 0, 4): 0, (1, 0, 4): 0, (2, 0, 4): 0})

    (liver,) = score_case("c", wrong, reader, 2)

    assert (liver.dice, liver.prediction_voxels, liver.reference_voxels) == (1.0, 2, 2)


def test_each_score_knows_its_case_and_its_subject(
    tmp_path: Path, write_case: Callable[..., None], write_splits: Callable[..., None]
) -> None:
    for case_id in ("a1", "c1", "c2"):
        write_case(tmp_path / "hippocampus", case_id, np.arange(15.0).reshape(3, 1, 5), REFERENCE)
    frames = {"a": ["a1"], "c": ["c1", "c2"]}
    write_splits(tmp_path / "hippocampus", train=["a"], test=["c"], labeled_1=["a"], frames=frames)
    reader = reader_of(tmp_path)

    scores = score_predictions(((name, reader.reference(name)) for name in ("c2", "c1")), reader, 1)

    assert [(score.case, score.subject) for score in scores[::2]] == [("c1", "c"), ("c2", "c")]


@pytest.mark.parametrize(
    ("names", "message"), [((), "'c'.* but .. were segmented"), (("c", "c"), 'Case "c" was segmented twice')]
)
def test_a_method_that_leaves_out_or_repeats_a_case_is_a_mistake(
    data: Path, names: tuple[str, ...], message: str
) -> None:
    reader = reader_of(data)

    with pytest.raises(ValueError, match=message):
        score_predictions([(name, reader.reference("c")) for name in names], reader, 1)


def test_a_prediction_on_another_grid_is_a_mistake(data: Path) -> None:
    elsewhere = Volume(REFERENCE.astype(np.uint8), np.eye(4))

    with pytest.raises(ValueError, match="not on the grid of its image"):
        score_case("c", elsewhere, reader_of(data), 1)


def test_a_score_survives_the_way_through_json() -> None:
    score = LabelScore("c1", "c", "anterior", 0.5, None, 1.25, 3, 4)

    assert LabelScore.from_document(score.as_document()) == score
