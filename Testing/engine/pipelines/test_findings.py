"""What is told of a segmentation is what it holds, with a promise or the reason why there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from uncol.core.jobs import AnnotatedSlices, Structure
from uncol.core.promise import LeftOutCheck, Range, StructureCalibration, StructurePromise
from uncol.core.slice_suggestion import next_slice, score_slices
from uncol.core.volume import Volume
from uncol.inference.result import Segmentation
from uncol.pipelines.findings import findings_of
from uncol.report.places import where_to_look

BALL, ROD, GHOST = Structure(3, "ball"), Structure(5, "rod"), Structure(9, "ghost")


@pytest.fixture
def found() -> Segmentation:
    """A ball and a rod in 40 slices of 2 mm; of the ball a part is unsure, a third structure was not found."""
    k, j, i = np.ogrid[:40, :40, :40]
    ball = (k - 20) ** 2 + (j - 20) ** 2 + (i - 14) ** 2 < 81
    labels = np.where(ball, 3, np.where((abs(j - 20) < 3) & (abs(i - 33) < 3) & (k >= 0), 5, 0)).astype(np.uint8)
    doubt = np.where((k - 24) ** 2 + (j - 26) ** 2 + (i - 14) ** 2 < 36, 0.6, 0.05) * np.ones(labels.shape)
    volume = Volume(labels, np.diag([-2.0, -2.0, 2.0, 1.0]))
    return Segmentation(volume, volume.with_voxels(doubt.astype(np.float32)), (BALL, ROD, GHOST))


def test_without_a_promise_volumes_have_what_is_sure_and_possible_and_the_reason_is_told(found: Segmentation) -> None:
    look = where_to_look(found.labels, found.uncertainty, found.structures)

    told = findings_of(found, look, "K", [])

    ball, rod, ghost = told.structures
    assert (ball.name, ball.value, ball.voxels) == ("ball", 3, np.count_nonzero(found.labels.voxels == 3))
    assert ball.volume_ml == pytest.approx(ball.voxels * 0.008)
    assert ball.volume_range_ml is not None
    assert ball.volume_range_ml[0] < ball.volume_ml < ball.volume_range_ml[1]
    assert rod.volume_range_ml == (rod.volume_ml, rod.volume_ml)
    assert (ghost.voxels, ghost.volume_range_ml, ghost.mean_uncertainty) == (0, None, None)
    assert {each.range_rests_on for each in told.structures} == {"map"}
    assert all(each.why_no_promise.startswith("What Dice to expect is not known") for each in told.structures)
    assert told.places == look.places
    assert told.places[0].structure == "ball"
    assert told.unsure_from == 0.25


def test_without_a_promise_the_least_sure_slices_come_next_apart_from_annotated_ones(found: Segmentation) -> None:
    look = where_to_look(found.labels, found.uncertainty, found.structures)
    annotated = [AnnotatedSlices("K", (26,)), AnnotatedSlices("J", (24,))]

    told = findings_of(found, look, "K", annotated).next_slices

    assert told is not None
    scores = score_slices(found.labels, found.uncertainty, found.structures, "K")
    best = next_slice(scores, [26])
    assert best is not None
    first, second, third = told.slices
    assert (told.axis, first.index, first.gain, first.structures[0]) == ("K", best.index, None, "ball")
    assert min(abs(a - b) for a, b in ((first.index, second.index), (second.index, third.index))) > 1


def test_a_promise_gives_the_range_and_what_is_not_calibrated_says_so(found: Segmentation) -> None:
    promise = StructurePromise("ball", Range(0.9, 0.85, 0.94), Range(24, 20, 28), 0.903, LeftOutCheck(3, 0.7, 0.75))
    calibrated = StructureCalibration("ball", 3, 0.3, 0.1, 8.0)
    found = replace(
        found,
        calibration=(calibrated, StructureCalibration("rod", 1), replace(calibrated, structure="ghost")),
        promises=(promise,),
    )

    told = findings_of(found, where_to_look(found.labels, found.uncertainty, found.structures), "K", [])

    ball, rod, ghost = told.structures
    assert (ball.volume_range_ml, ball.predicted_dice, ball.with_two_more) == ((20, 28), (0.9, 0.85, 0.94), 0.903)
    assert (ball.range_rests_on, ball.is_enough, ball.why_no_promise) == ("promise", True, "")
    assert rod.why_no_promise.startswith('"rod" is not calibrated and has no promise: 1 of the annotated slices')
    assert ghost.why_no_promise.startswith("There is nothing to foresee")
