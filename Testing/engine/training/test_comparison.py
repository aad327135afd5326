"""The verdict of a fine-tuning: on new slices alone, as each model sees images, and not where nobody can know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from given import BALL, CPU, StopAfter, a_ball, a_setup, annotated_in

from uncol.core.config import DataConfig, TeacherConfig
from uncol.core.errors import CancelledError, CheckpointError
from uncol.core.jobs import Structure
from uncol.core.model_card import verdict_in
from uncol.core.progress import Monitor
from uncol.core.verdict import Verdict
from uncol.data.cases import LabeledCase
from uncol.models.card import Model
from uncol.models.checkpoints import load_model
from uncol.training.setup import card_for, frame_cases, prepared
from uncol.training.specialized_teacher import dice_on_held_out
from uncol.training.state import FineTuneSetup
from uncol.training.train import fine_tune

CASE = a_ball(shape_kji=(24, 32, 40), center_kji=(12, 16, 20), radius_mm=11, slice_mm=1)
"""Slices 2 to 22 show the ball."""
OLD, NEW = tuple(range(0, 24, 4)), tuple(range(0, 24, 2))
"""Two of the ten inner ones of NEW are held out: of 2, 6, 10, 14 and 18, which are not in OLD, 6 and 18."""
CUBE = Structure(9, "cube")
SHORT = {"teachers": TeacherConfig(registration=False)}
"""Stage 2 begins after its share of the steps, whatever was learned."""


def setup_of(slices: tuple[int, ...] = NEW, case: LabeledCase = CASE, **choices: Any) -> FineTuneSetup:
    earlier = choices.pop("earlier", None)
    return replace(
        a_setup([annotated_in(case, slices)], **{"steps": 4, "channels": 8, **SHORT, **choices}), earlier=earlier
    )


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that has learned the ball."""
    return fine_tune(setup_of(OLD, steps=80, stage1_part=0.8), tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """One that has hardly learned."""
    return fine_tune(setup_of(OLD, steps=2), tmp_path_factory.mktemp("poor"))


def verdict_of(setup: FineTuneSetup, folder: Path) -> Verdict:
    fine_tune(setup, folder)
    verdict = verdict_in(load_model(folder).card.training)
    assert verdict is not None
    return verdict


def test_both_are_scored_on_the_same_slices_which_neither_has_learned_from(good: Model, tmp_path: Path) -> None:
    setup = setup_of(earlier=good)
    pool = prepared(setup).pool
    expected = dice_on_held_out(good.student, pool, 2, CPU)[1]

    model = fine_tune(setup, tmp_path)

    verdict = verdict_in(model.card.training)
    assert [each.index for each in pool.held_out] == [6, 18]
    assert verdict == Verdict("not better", {"ball": round(expected, 4)}, verdict.new, 2)
    assert round(verdict.new["ball"], 3) == model.card.training["held_out_dice"]["ball"]
    assert expected > 0.8 > verdict.new["ball"]


def test_a_better_one_is_called_better_whatever_it_started_from(good: Model, poor: Model, tmp_path: Path) -> None:
    verdict = verdict_of(setup_of(earlier=poor, base=good), tmp_path / "from-good")

    assert verdict.outcome == "better"
    assert verdict.new["ball"] > 0.8 > verdict.old["ball"]


def test_structures_are_compared_by_their_names(good: Model, tmp_path: Path) -> None:
    """The earlier model calls another class by another number, and knows one that is background now."""
    voxels = np.where(CASE.labels.voxels == 3, 5, 0).astype(np.uint8)
    voxels[:, :4] = 9
    case = LabeledCase(CASE.image, CASE.labels.with_voxels(voxels))
    both = (CUBE, Structure(5, "ball"))
    earlier = fine_tune(setup_of(OLD, case, structures=both, steps=80, stage1_part=0.8), tmp_path / "earlier")

    verdict = verdict_of(setup_of(earlier=earlier), tmp_path / "new")

    assert [*verdict.old] == ["ball"]
    assert verdict.old["ball"] > 0.7


def test_the_earlier_model_sees_images_in_its_own_pixels_and_with_its_own_neighbors(
    good: Model, tmp_path: Path
) -> None:
    small = a_ball(shape_kji=(24, 64, 80), center_kji=(12, 32, 40), radius_mm=20, slice_mm=1)
    coarse = setup_of(OLD, small, data=DataConfig(max_side_vox=40, neighbor_count=3), steps=80, stage1_part=0.8)
    earlier = fine_tune(coarse, tmp_path / "coarse")
    setup = setup_of(case=small, earlier=earlier)
    pool = frame_cases(setup, earlier.card)[1]

    verdict = verdict_of(setup, tmp_path / "new")

    assert (earlier.card.pixel_mm, card_for(setup).pixel_mm) == (2, 1)
    assert [each.index for each in pool.held_out] == [6, 18]
    assert verdict.old["ball"] == round(dice_on_held_out(earlier.student, pool, 2, CPU)[1], 4)
    assert verdict.old["ball"] > 0.7


@pytest.mark.parametrize(
    ("choices", "record", "reason"),
    [
        pytest.param({}, "", "it or its base does not say which slices it has learned from", id="no record"),
        pytest.param({"slices": OLD}, None, "none of the slices annotated since could be", id="no new ones"),
        pytest.param({"slices": (0, 6, 12, 18, 23)}, None, "none of the slices annotated since", id="too few"),
        pytest.param({"plane": "sagittal"}, None, "it looks at axial slices, this one at sagittal ones", id="plane"),
        pytest.param({"structures": (Structure(3, "egg"),)}, None, "those slices show no structure", id="other names"),
        pytest.param({"dims": 3}, None, "its student is 2D, this one 3D", id="dimensions"),
        pytest.param({"method": "supervised"}, None, "nothing was held out to compare them on", id="method"),
    ],
)
def test_where_nobody_can_know_they_are_not_compared(
    poor: Model, tmp_path: Path, choices: dict[str, Any], record: str | None, reason: str
) -> None:
    card = poor.card if record is None else replace(poor.card, learned_slices=record)

    verdict = verdict_of(setup_of(**choices, earlier=Model(card, poor.student)), tmp_path)

    assert verdict.outcome == "not compared"
    assert verdict.reason.startswith(reason)


def test_a_base_that_does_not_say_what_it_learned_from_leaves_nothing_to_compare(poor: Model, tmp_path: Path) -> None:
    base = Model(replace(poor.card, learned_slices=""), poor.student)

    assert verdict_of(setup_of(earlier=poor, base=base), tmp_path).outcome == "not compared"


def test_a_training_that_ends_before_its_first_pass_is_over_compares_nothing(poor: Model, tmp_path: Path) -> None:
    verdict = verdict_of(setup_of(earlier=poor, steps=1), tmp_path)

    assert verdict.reason == "training ended before a first pass was over; give more minutes or steps"


def test_without_an_earlier_model_there_is_no_verdict(tmp_path: Path) -> None:
    assert "verdict" not in fine_tune(setup_of(), tmp_path).card.training


def test_a_3d_student_is_compared_on_whole_new_cases(tmp_path: Path) -> None:
    cases = [a_ball(seed=seed, shape_kji=(16, 24, 32), center_kji=(8, 12, 16)) for seed in range(5)]
    choices: dict[str, Any] = {"dims": 3, "steps": 2, "data": DataConfig(patch_vox=(16, 16, 32))}
    earlier = fine_tune(a_setup(cases[:2], **choices), tmp_path / "earlier")
    setup = replace(a_setup(cases, unlabeled=[a_ball(seed=9).image], **choices), earlier=earlier)

    verdict = verdict_of(setup, tmp_path / "new")

    assert {each.case for each in prepared(setup).pool.held_out} == {3}
    assert verdict.slices == 16
    assert [*verdict.old] == [*verdict.new] == [BALL.name]


@pytest.mark.parametrize("questions", [3, 6], ids=["stage 1", "stage 2"])
def test_a_verdict_survives_an_interruption(good: Model, tmp_path: Path, questions: int) -> None:
    setup = setup_of(earlier=good, steps=8)
    whole = verdict_of(setup, tmp_path / "whole")
    with pytest.raises(CancelledError):
        fine_tune(setup, tmp_path / "model", Monitor(should_stop=StopAfter(questions)))

    resumed = fine_tune(setup, tmp_path / "model", resume=True)

    assert verdict_in(resumed.card.training) == whole
    assert whole.slices == 2


@pytest.mark.parametrize("questions", [3, 6], ids=["stage 1", "stage 2"])
@pytest.mark.parametrize("before", [True, False])
def test_an_earlier_model_that_is_named_only_when_a_run_is_resumed_is_not_compared(
    good: Model, poor: Model, tmp_path: Path, questions: int, before: bool
) -> None:
    """Slices that would be held out for it may have been learned from."""
    setup = setup_of(earlier=poor if before else None, steps=8)
    with pytest.raises(CancelledError):
        fine_tune(setup, tmp_path, Monitor(should_stop=StopAfter(questions)))

    resumed = fine_tune(replace(setup, earlier=good), tmp_path, resume=True)

    verdict = verdict_in(resumed.card.training)
    assert verdict == Verdict("not compared", reason="it was not the one named when this training began")
    assert ("ball" in resumed.card.training["held_out_dice"]) == (questions == 6)  # was scored before


def test_a_run_is_not_resumed_with_another_base_of_the_same_frame(good: Model, poor: Model, tmp_path: Path) -> None:
    setup = setup_of(base=good, steps=8)
    with pytest.raises(CancelledError):
        fine_tune(setup, tmp_path, Monitor(should_stop=StopAfter(3)))

    with pytest.raises(CheckpointError, match="was written with another base model, or with none"):
        fine_tune(replace(setup, base=poor), tmp_path, resume=True)
