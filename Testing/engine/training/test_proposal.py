"""What is proposed for the annotated image: both teachers' word between annotated slices, which stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from doubles import ThresholdTeacher
from given import BALL, CPU, a_ball, a_setup, begun_state, prompt_now

from uncol.core.config import DataConfig
from uncol.core.errors import CancelledError
from uncol.core.jobs import AnnotatedSlices
from uncol.core.progress import UNWATCHED, Monitor
from uncol.core.uncertainty_maps import DISAGREEMENT
from uncol.core.volume import Volume, plane_of_axis
from uncol.data.annotations import keep_annotated
from uncol.data.cases import LabeledCase, SliceIndex
from uncol.evaluation.metrics import dice
from uncol.inference.student import segment_with_model
from uncol.models.checkpoints import has_checkpoint
from uncol.training.first_pass import end_first_pass
from uncol.training.proposal import propose
from uncol.training.record import finish, model_of
from uncol.training.resume import save
from uncol.training.state import FineTuneSetup, TrainingState
from uncol.training.train import fine_tune, start_stage2, train

SLICES, COLUMNS = 12, 32
ANNOTATED = (0, 3, 6, 9, 11)
BETWEEN = [index for index in range(SLICES) if index not in ANNOTATED]


@pytest.fixture
def make_setup(make_volume: Callable[..., Volume]) -> Callable[..., FineTuneSetup]:
    """A bright ball in noise, label 3, of whose 12 slices five are annotated."""

    def make(
        method: str = "uncol",
        *,
        geometry: str = "anisotropic",
        stage1_part: float = 0.5,
        slices: tuple[AnnotatedSlices, ...] = (AnnotatedSlices("K", ANNOTATED),),
        steps: int = 20,
    ) -> FineTuneSetup:
        case = ball(make_volume(geometry=geometry).ijk_to_ras)
        labels = keep_annotated(case.labels, slices, "ball")
        return a_setup(
            [LabeledCase(case.image, labels)],
            plane=plane_of_axis(case.image, "K"),
            teacher=ThresholdTeacher(COLUMNS),
            method=method,
            steps=steps,
            stage1_part=stage1_part,
            data=DataConfig(neighbor_count=3),
        )

    return make


def ball(grid: np.ndarray | None = None) -> LabeledCase:
    return a_ball(slice_mm=1.6, grid=grid)


TRUTH = ball().labels.voxels == 3


def in_stage_2(setup: FineTuneSetup) -> TrainingState:
    """Return a run whose generalized teacher has voted, while the specialized one is torn between both classes."""
    run = begun_state(setup)
    for parameter in run.specialized_teacher.parameters():
        parameter.zero_()
    end_first_pass(run, UNWATCHED)
    start_stage2(run)
    prompt_now(run)
    return run


@pytest.mark.parametrize("geometry", ["anisotropic", "oblique left-handed", "sagittal"])
def test_where_the_model_is_in_doubt_the_generalized_teacher_decides(make_setup, tmp_path: Path, geometry: str):
    setup = make_setup(geometry=geometry)

    found = propose(in_stage_2(setup), tmp_path).segmentation

    assert found.labels.shares_grid_with(setup.cases[0].image)
    assert dice(found.labels.voxels[BETWEEN] == 3, TRUTH[BETWEEN]) > 0.9
    assert found.structures == (BALL,)


@pytest.mark.parametrize("geometry", ["anisotropic", "oblique left-handed", "sagittal"])
def test_annotated_slices_stay_as_they_are_without_doubt(make_setup, tmp_path: Path, geometry: str):
    annotated = list(ANNOTATED)

    found = propose(in_stage_2(make_setup(geometry=geometry)), tmp_path).segmentation

    assert np.array_equal(found.labels.voxels[annotated], TRUTH[annotated] * 3)
    assert not found.uncertainty.voxels[annotated].any()
    assert found.uncertainty.voxels[BETWEEN].any(axis=(1, 2)).all()


def test_annotated_slices_of_another_plane_stay_as_they_are_too(make_setup, tmp_path: Path):
    rows = [8, 13]

    found = propose(
        in_stage_2(make_setup(slices=(AnnotatedSlices("K", ANNOTATED), AnnotatedSlices("J", tuple(rows))))),
        tmp_path,
    ).segmentation

    assert np.array_equal(found.labels.voxels[:, rows], TRUTH[:, rows] * 3)
    assert not found.uncertainty.voxels[:, rows].any()


def test_what_was_annotated_is_no_island(make_setup, tmp_path: Path):
    setup = make_setup()
    (case,) = setup.cases
    labels = case.labels.voxels.copy()
    labels[0, 2, 2] = 3  # one voxel far from the ball, which is nearly all of what is annotated
    run = in_stage_2(replace(setup, cases=[LabeledCase(case.image, case.labels.with_voxels(labels))]))
    assert model_of(run).card.is_connected == (True,)

    found = propose(run, tmp_path).segmentation

    assert found.labels.voxels[0, 2, 2] == 3


@pytest.mark.parametrize(("earned", "is_ball"), [(0.0, True), (1.0, False)])
def test_a_model_whose_worth_is_known_is_believed_as_far_as_that(
    make_setup, tmp_path: Path, earned: float, is_ball: bool
):
    # Slices 2 to 10 hold the ball; all but 5 are annotated, which are eight, so that one of them is held out.
    slices = (AnnotatedSlices("K", (0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11)),)
    run = in_stage_2(make_setup("uncol-paper", slices=slices))
    assert run.held_out_dice
    run.specialized_reliability[:] = earned
    last = [each for each in run.specialized_teacher.modules() if isinstance(each, torch.nn.Conv2d)][-1]
    last.bias.copy_(torch.tensor([9.0, 0.0]))  # it takes everything for background, with probability 0.9999

    found = propose(run, tmp_path).segmentation

    # Slice 5 is one gap from an annotated one. Uncertainty of the model there: 1 or 0; w_g = 1 / (1 + e^(U_g - U_s)).
    assert dice(found.labels.voxels[5] == 3, TRUTH[5]) > 0.9 if is_ball else not found.labels.voxels[5].any()


def test_a_sure_model_has_its_way_where_the_generalized_teacher_was_not_asked(make_setup, tmp_path: Path):
    run = in_stage_2(make_setup("uncol-paper"))
    index = 5
    run.generalized_teacher._reliability[0][index] = 0  # no vote there
    last = [each for each in run.specialized_teacher.modules() if isinstance(each, torch.nn.Conv2d)][-1]
    last.bias.copy_(torch.tensor([0.0, 9.0]))  # it takes everything for the ball, with probability 0.9999

    found = propose(run, tmp_path).segmentation

    address = SliceIndex(0, index)
    assert run.specialized_probabilities([address])[:, 1].min() > 0.99
    assert (found.labels.voxels[index] == 3).all()


@pytest.mark.parametrize(
    ("method", "stage1_part"),
    [
        pytest.param("uncol-without-generalized", 0.5, id="no generalized teacher"),
        pytest.param("uncol-without-specialized", 0.5, id="the model has no vote"),
        pytest.param("uncol-paper", 1.0, id="no stage 2"),
    ],
)
def test_without_both_votes_the_model_segments_alone(make_setup, tmp_path: Path, method: str, stage1_part: float):
    setup = make_setup(method, stage1_part=stage1_part)
    run = train(setup, tmp_path)

    proposal = propose(run, tmp_path)

    assert not proposal.by_both_teachers
    found = proposal.segmentation
    alone = segment_with_model(setup.cases[0].image, finish(run, tmp_path), CPU)
    assert np.array_equal(found.labels.voxels, alone.labels.voxels)
    assert np.array_equal(found.uncertainty.voxels, alone.uncertainty.voxels)


def test_proposing_changes_nothing_about_the_model(make_setup, tmp_path: Path):
    straight = fine_tune(make_setup(), tmp_path / "straight")
    run = train(make_setup(), tmp_path / "proposed")

    propose(run, tmp_path)

    for name, tensor in finish(run, tmp_path).student.state_dict().items():
        assert torch.equal(tensor, straight.student.state_dict()[name]), name


@pytest.mark.parametrize("method", ["uncol", "uncol-without-generalized"])
def test_a_proposal_that_is_stopped_can_be_made_when_the_run_is_resumed(make_setup, tmp_path: Path, method: str):
    expected = propose(train(make_setup(method), tmp_path / "straight"), tmp_path)
    run = train(make_setup(method), tmp_path / "stopped")

    with pytest.raises(CancelledError, match="--resume"):
        propose(run, tmp_path / "stopped", Monitor(should_stop=lambda: True))
    assert has_checkpoint(tmp_path / "stopped")
    resumed = propose(train(make_setup(method), tmp_path / "stopped", resume=True), tmp_path)

    assert np.array_equal(resumed.segmentation.labels.voxels, expected.segmentation.labels.voxels)
    assert resumed.segmentation.calibration == expected.segmentation.calibration
    assert resumed.segmentation.promises == expected.segmentation.promises


def test_the_golden_run_of_a_proposal_is_the_same_bit_for_bit(make_setup, tmp_path: Path):
    torch.set_num_threads(1)

    first, second = (
        propose(train(make_setup(), tmp_path / name), tmp_path).segmentation for name in ("first", "second")
    )

    assert np.array_equal(first.labels.voxels, second.labels.voxels)
    assert np.array_equal(first.uncertainty.voxels, second.uncertainty.voxels)


def test_a_run_that_is_resumed_with_a_budget_that_is_used_up_has_a_proposal(make_setup, tmp_path: Path):
    run = begun_state(make_setup("uncol-paper", steps=20))
    run.step = 12
    start_stage2(run)
    save(run, tmp_path)  # before the generalized teacher has voted

    proposal = propose(train(make_setup("uncol-paper", steps=8), tmp_path, resume=True), tmp_path)

    assert not proposal.by_both_teachers


def test_the_proposal_is_no_part_of_the_trainings_time(make_setup, tmp_path: Path):
    run = train(make_setup(), tmp_path)
    seconds, curve = run.budget.elapsed_s, list(model_of(run).card.training["curve"])

    propose(run, tmp_path)

    training = finish(run, tmp_path).card.training
    assert (run.budget.elapsed_s, training["curve"]) == (seconds, curve)
    assert curve[-1]["step"] == 20


@pytest.mark.parametrize("number", [0, 1])
def test_each_case_has_a_proposal_of_its_own(make_setup, tmp_path: Path, number: int):
    setup = make_setup()
    (case,) = setup.cases
    other = LabeledCase(*(each.with_voxels(np.roll(each.voxels, 8, axis=2)) for each in (case.image, case.labels)))
    cases = [case, other]

    proposal = propose(in_stage_2(replace(setup, cases=cases)), tmp_path, case=number)

    found, known = proposal.segmentation.labels.voxels, cases[number].labels.voxels
    assert proposal.by_both_teachers
    assert dice(found == 3, np.roll(TRUTH, 8 * number, axis=2)) > 0.9
    assert np.array_equal(found[list(ANNOTATED)], known[list(ANNOTATED)])


def test_a_proposal_says_how_good_it_is_where_nobody_annotated(make_setup, tmp_path: Path):
    found = propose(in_stage_2(make_setup()), tmp_path, maps=[DISAGREEMENT]).segmentation

    (promise,), (calibration,) = found.promises, found.calibration
    real = dice(found.labels.voxels[BETWEEN] == 3, TRUTH[BETWEEN])
    assert (calibration.structure, calibration.slices) == ("ball", 3)
    assert promise.dice.low <= real <= promise.dice.high + 0.03
    assert {each.index for each in promise.slices} <= set(BETWEEN)
    assert found.next_slices is not None
    assert {each.index for each in found.next_slices.slices} <= set(BETWEEN)
    spread = found.maps[DISAGREEMENT]
    assert spread.shares_grid_with(found.labels)
    assert not spread.voxels[list(ANNOTATED)].any()
    assert 0 < spread.voxels[BETWEEN].max() <= 1


def test_what_the_model_has_learned_of_a_slice_has_no_part_in_its_calibration(make_setup, tmp_path: Path):
    """A model that takes everything for the ball, and one that takes nothing for it: one and the same temperature."""
    calibrations, labels = [], []
    for odds in (-9.0, 9.0):
        run = in_stage_2(make_setup())
        last = [each for each in run.result.modules() if isinstance(each, torch.nn.Conv2d)][-1]
        last.weight.data.zero_()
        last.bias.data.copy_(torch.tensor([0.0, odds]))
        run.sources.found_by = lambda _specialized: np.array([True])  # as if it had been right on its own slices
        found = propose(run, tmp_path / str(odds)).segmentation
        calibrations.append(found.calibration)
        labels.append(found.uncertainty.voxels)

    assert calibrations[0] == calibrations[1]
    assert calibrations[0][0].beside is not None
    assert not np.array_equal(*labels)


def test_where_nothing_is_followed_no_map_is_made_up(make_setup, tmp_path: Path):
    found = propose(in_stage_2(make_setup("uncol-paper")), tmp_path, maps=[DISAGREEMENT]).segmentation

    assert found.maps == {}
    assert found.notes[-1] == (
        "There is no map of teacher-disagreement: no annotated slice is followed to others here."
    )
    assert (found.promises, found.calibration, found.next_slices) == ((), (), None)
