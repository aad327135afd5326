from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from uncol.core.errors import CancelledError
from uncol.core.jobs import Structure
from uncol.core.progress import UNWATCHED, Monitor, Progress
from uncol.core.volume import Volume, view_slices
from uncol.data.shape_interpolation import interpolate_shapes
from uncol.demo.case import annotate
from uncol.demo.scores import score
from uncol.evaluation.evaluate import Evaluation
from uncol.report.results import Method, SliceScore

LIVER, SPLEEN = Structure(1, "liver"), Structure(7, "spleen")
# I to the right and K down: slices and columns of the axial stack run against the file.
TURNED = np.array([[2.0, 0, 0, 5], [0, -2, 0, 6], [0, 0, -3, 7], [0, 0, 0, 1]])


def scored(
    empty_slice: int | None = None, monitor: Monitor = UNWATCHED
) -> tuple[dict[Method, Evaluation], tuple[SliceScore, ...]]:
    """Score seven slices of 4 x 6 voxels: a liver of 2 x 2 that the model misses in slice 1, a spleen in slice 0 only.

    Slices 0, 3 and 6 are annotated. In the empty slice neither the reference nor the model shows anything.
    """
    voxels = np.zeros((7, 4, 6), np.uint8)
    voxels[:, 1:3, 0:2] = 1
    voxels[0, 3, 5] = 7
    whole = Volume(voxels, TURNED)
    view = view_slices(whole, "axial")
    annotation = annotate(whole, (LIVER, SPLEEN), view, 3)
    assert annotation.slices.indices == (0, 3, 6)
    true, found, doubt = voxels.copy(), voxels.copy(), np.zeros(voxels.shape, np.float32)
    found[1], doubt[1] = 0, 0.5
    if empty_slice is not None:
        true[empty_slice] = found[empty_slice] = 0
    labels: dict[Method, Volume] = {
        "interpolation": interpolate_shapes(annotation.labels, annotation.structures, view),
        "first_pass": whole,
        "fine_tuned": whole.with_voxels(found),
    }
    return score(labels, whole.with_voxels(doubt), whole.with_voxels(true), annotation, monitor)


def test_only_slices_that_nobody_annotated_are_scored() -> None:
    evaluations, _ = scored()

    # Of the four others the model misses slice 1: 3 of 4 slices found, Dice 2 * 3 / (3 + 4).
    # The spleen is in none of them and in no result there: both empty, Dice 1.
    assert [each.scores.dice for each in evaluations["fine_tuned"].structures] == pytest.approx([6 / 7, 1])
    # Interpolation lets the spleen of slice 0 fade out in slices 1 and 2, where it is not: Dice 0.
    means: Any = {method: each.mean_dice for method, each in evaluations.items()}
    assert means == pytest.approx({"interpolation": 0.5, "first_pass": 1, "fine_tuned": (6 / 7 + 1) / 2})


def test_slices_are_scored_in_the_order_of_the_file() -> None:
    _, slices = scored()

    assert [each.number for each in slices] == [0, 1, 2, 3, 4, 5, 6]
    assert [each.distance for each in slices] == [0, 1, 1, 0, 1, 1, 0]
    assert [each.dice["fine_tuned"] for each in slices] == [1, 0, 1, 1, 1, 1, 1]


def test_a_slice_where_neither_shows_anything_says_nothing() -> None:
    _, slices = scored(empty_slice=4)

    # The two others find something where there is nothing.
    assert dict(slices[4].dice) == {"interpolation": 0.0, "first_pass": 0.0}


def test_the_uncertainty_is_scored_where_the_model_is_wrong() -> None:
    evaluations, _ = scored()

    assert evaluations["first_pass"].uncertainty is None
    uncertainty = evaluations["fine_tuned"].uncertainty
    assert uncertainty is not None
    assert uncertainty.band_errors == 4
    # The 4 wrong voxels are as unsure as the right ones of slice 1 and more so than all others of the band.
    assert uncertainty.error_detection_auroc is not None
    assert uncertainty.error_detection_auroc > 0.8


def test_scoring_can_be_stopped_before_every_method() -> None:
    told: list[Progress] = []

    with pytest.raises(CancelledError):
        scored(monitor=Monitor(told.append, lambda: bool(told)))

    assert [(each.phase, each.fraction) for each in told] == [("Scoring", 0.0)]
