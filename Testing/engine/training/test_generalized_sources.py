"""All that knows nothing of the task, fused for every slice: what stage 2 learns from, and who has a vote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from doubles import ThresholdTeacher
from given import BALL, StopAfter, a_ball, a_setup, annotated_in, begun_state
from torch import Tensor

from uncol.core.config import TeacherConfig
from uncol.core.errors import CancelledError
from uncol.core.jobs import Structure
from uncol.core.progress import UNWATCHED, Monitor
from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.cases import LabeledCase, SliceIndex
from uncol.evaluation.metrics import dice
from uncol.training.proposal import propose
from uncol.training.record import model_of
from uncol.training.resume import begun
from uncol.training.state import FineTuneSetup, TrainingState
from uncol.training.train import fused_pseudo_labels, go_on, prompt_if_due, put_off, start_stage2

TRUTH = a_ball().labels.voxels == BALL.value
BETWEEN = [1, 2, 4, 5, 7, 8, 10]


def setup_with(*, foundation: bool = True, **choices: object) -> FineTuneSetup:
    teacher = ThresholdTeacher(32) if foundation else None
    return a_setup([annotated_in(a_ball())], teacher=teacher, channels=2, **choices)  # type: ignore[arg-type]


def in_stage_2(setup: FineTuneSetup, *, finds: bool) -> TrainingState:
    """Return a run whose moving average says "ball" in every voxel, or "background", and whose sources are fused."""
    run = begun_state(setup)
    says_always(run, int(finds))
    start_stage2(run)
    prompt_if_due(run, UNWATCHED)
    return run


def says_always(run: TrainingState, label: int) -> None:
    for parameter in run.specialized_teacher.parameters():
        parameter.zero_()
    last = [each for each in run.specialized_teacher.modules() if isinstance(each, torch.nn.Conv2d)][-1]
    assert last.bias is not None
    last.bias[label] = 9.0


@pytest.mark.parametrize("foundation", [True, False])
def test_the_ball_is_found_between_annotated_slices_without_any_learning(foundation: bool) -> None:
    run = in_stage_2(setup_with(foundation=foundation), finds=False)
    assert run.sources is not None

    for index in BETWEEN:
        maps, share = run.sources.predictions_for([SliceIndex(0, index)])
        assert dice((maps[0, 0, :24, :32] > 0.5).numpy(), TRUTH[index]) > 0.85
        assert share.item() == 0, "a student that finds nothing on its own slices has no vote"


def test_pseudo_labels_are_those_of_the_sources_and_annotated_slices_stay(tmp_path: Path) -> None:
    run = in_stage_2(setup_with(), finds=False)

    found = fused_pseudo_labels(run, [SliceIndex(0, 3), SliceIndex(0, 4)])[:, :24, :32]

    np.testing.assert_array_equal(found[0].numpy(), TRUTH[3])
    known = (found[1] != UNKNOWN_LABEL).numpy()
    assert known.mean() > 0.8
    assert dice((found[1] == 1).numpy() & known, TRUTH[4] & known) > 0.9


def test_only_what_is_found_on_its_own_slices_counts_as_found() -> None:
    run = begun_state(setup_with())
    assert run.sources is not None

    def perfect(addresses: list[SliceIndex]) -> Tensor:
        labels = torch.stack([run.pool.targets([each])[0] for each in addresses]).long() % UNKNOWN_LABEL
        return torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).float()

    says_always(run, 1)
    assert run.sources.found_by(perfect).tolist() == [True]
    assert run.sources.found_by(run.specialized_slices).tolist() == [False], "everything is no ball"


def test_stage_2_waits_for_every_structure_but_not_for_ever() -> None:
    run = begun_state(setup_with(steps=100, stage1_part=0.5))
    says_always(run, 0)

    parts = []
    while put_off(run):
        parts.append(round(run.budget.stage1_part, 2))

    assert parts == [0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9]


def test_what_is_not_even_found_on_annotated_slices_is_told() -> None:
    run = begun_state(setup_with())
    said = "Not found even on annotated slices: ball. Give more minutes, or more steps."
    assert said in model_of(run).card.training["notes"]
    assert run.sources is not None
    run.sources.found_by = lambda _: np.array([True])  # type: ignore[method-assign]

    assert said not in model_of(run).card.training["notes"]


def test_what_was_held_out_is_learned_while_stage_2_is_put_off(tmp_path: Path) -> None:
    most = [annotated_in(a_ball(number), slices=(0, 3, 4, 6, 7, 8, 9, 11)) for number in (0, 1)]  # 12 hold the ball
    setup = a_setup(most, teacher=ThresholdTeacher(32), channels=2, steps=10, stage1_part=0.5)
    run = begun(setup, tmp_path, UNWATCHED, resume=False)
    held_out = set(run.pool.held_out)
    assert held_out

    with pytest.raises(CancelledError):
        go_on(run, tmp_path, Monitor(should_stop=lambda: run.step >= 7))
    resumed = begun(setup, tmp_path, UNWATCHED, resume=True)

    for each in (run, resumed):
        assert each.stage == 1, "too few steps to find anything"
        assert each.held_out_dice.keys() == {"ball"}
        assert held_out <= set(each.pool.draw_labeled(200, torch.Generator().manual_seed(0)))
    go_on(resumed, tmp_path)
    assert resumed.held_out_dice == run.held_out_dice, "scored once, before it was learned from"


def test_without_registration_it_is_the_papers_method() -> None:
    for choice in ({"method": "uncol-paper"}, {"teachers": TeacherConfig(registration=False)}):
        run = begun_state(setup_with(**choice))
        assert run.sources is None
        assert not put_off(run)


def test_a_case_that_is_annotated_whole_has_nothing_to_carry() -> None:
    run = begun_state(a_setup([a_ball()], unlabeled=[a_ball(1).image], teacher=ThresholdTeacher(32), channels=2))

    assert run.sources is None


def test_a_case_without_annotations_beside_one_with_some() -> None:
    run = in_stage_2(setup_with(unlabeled=[a_ball(1).image]), finds=False)
    assert run.sources is not None

    assert run.sources.carries(0)
    assert not run.sources.carries(1)
    maps, share = run.sources.predictions_for([SliceIndex(1, 5)])
    assert maps.shape[:2] == share.shape == (1, 1)
    assert 0 <= share.item() <= 1


def test_a_cancel_while_cases_are_fused_leaves_nothing_half_fused() -> None:
    """With the second case cancelled, a checkpoint would hold one case of two, and could not be resumed."""
    run = begun_state(replace(setup_with(), cases=[annotated_in(a_ball()), annotated_in(a_ball(1))]))
    assert run.sources is not None
    stops = Monitor(should_stop=StopAfter(20))

    with pytest.raises(CancelledError):
        run.sources.fuse(run.specialized_slices, stops)

    assert not run.sources.has_predictions
    assert run.sources.state() == {}


def test_the_proposal_is_not_worse_than_registration_whatever_the_student_says(tmp_path: Path) -> None:
    for finds in (True, False):
        run = in_stage_2(setup_with(foundation=False), finds=finds)

        found = propose(run, tmp_path / str(finds))

        assert found.by_both_teachers
        assert dice(found.segmentation.labels.voxels == BALL.value, TRUTH) > 0.9


def test_what_was_fused_comes_back_and_nothing_else_is_taken() -> None:
    run, other = in_stage_2(setup_with(), finds=False), begun_state(setup_with())
    assert run.sources is not None
    assert other.sources is not None
    kept = run.sources.state()

    other.sources.load_state(kept)

    for one, again in zip(
        run.sources.predictions_for([SliceIndex(0, 4)]), other.sources.predictions_for([SliceIndex(0, 4)]), strict=True
    ):
        assert torch.equal(one, again)
    with pytest.raises(ValueError, match="has shape"):
        other.sources.load_state({name: tensor[:-1] for name, tensor in kept.items()})
    with pytest.raises(KeyError):
        other.sources.load_state({"0.probabilities": kept["0.probabilities"]})


def test_two_structures_do_not_share_their_votes() -> None:
    case = a_ball()
    labels = case.labels.voxels.copy()
    labels[:, :, 24:] = 5
    both = LabeledCase(case.image, case.labels.with_voxels(labels))
    setup = replace(setup_with(), cases=[annotated_in(both)], structures=(BALL, Structure(5, "side")))
    run = in_stage_2(setup, finds=False)
    assert run.sources is not None

    maps, share = run.sources.predictions_for([SliceIndex(0, 4)])

    assert maps.shape[1] == share.shape[1] == 2
    assert dice((maps[0, 1, :24, :32] > 0.5).numpy(), labels[4] == 5) > 0.9
