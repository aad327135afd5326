"""Tests of the generalized teacher's turns: when they come, how long they may last, and what is told about it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from doubles import ThresholdTeacher
from torch import Tensor

from uncol.core.progress import Monitor
from uncol.core.volume import UNKNOWN_LABEL, SliceView
from uncol.data.cases import FramedCase, SliceIndex
from uncol.data.slice_dataset import SliceDataset
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.prompting import SlicePredictor
from uncol.training.generalized_teacher import GeneralizedTeacher
from uncol.training.prompting_rounds import PromptingRounds

SIDE = 32
AXIAL = SliceView("axial", (0, 1, 2), (False, False, False), (3.0, 1.0, 1.0))
RELIABILITY = torch.ones(2)
ONLY_THE_STUDENTS_S = 60.0
"""A budget of which nothing is left for the generalized teacher."""


class Scene:
    """A bright square in three slices, the first and the last one annotated, and the turns of a run over it."""

    def __init__(self, *, total_s: float | None = None, rounds: int = 1) -> None:
        square = np.zeros((SIDE, SIDE), dtype=np.uint8)
        square[8:16, 10:18] = 1
        labels = np.stack([square, np.full_like(square, UNKNOWN_LABEL), square])
        grey = np.stack([square] * 3).astype(np.float32)
        stacks = [FramedCase(AXIAL, torch.from_numpy(grey), torch.from_numpy(labels), labels)]
        prompted = SlicePredictor(grey, (1.0, 1.0), (0.0, 1.0), ThresholdTeacher(SIDE), EmbeddingCache(None))
        self.teacher = GeneralizedTeacher(SliceDataset(stacks, 2, 1, 16), stacks, [prompted], 1.0)
        self.told: list[str] = []
        self.notes: list[str] = []
        self.turns = PromptingRounds(self.teacher, rounds, total_s, self.notes)
        self.monitor = Monitor(lambda progress: self.told.append(progress.phase))

    def carry(self) -> float:
        return self.turns.propagate_annotations(self.monitor)

    def prompt(self, spare_s: float | None = None) -> None:
        self.turns.prompt(sees_nothing, RELIABILITY, spare_s, self.monitor)

    @property
    def has_answer(self) -> bool:
        return bool(self.teacher.cases[0].candidates)


def sees_nothing(addresses: Sequence[SliceIndex]) -> Tensor:
    return torch.tensor([1.0, 0.0])[:, None, None].expand(len(addresses), 2, SIDE, SIDE)


def test_where_steps_are_counted_a_turn_takes_as_long_as_it_takes() -> None:
    scene = Scene()

    assert scene.carry() > 0
    scene.prompt()

    assert scene.has_answer
    assert scene.turns.elapsed_s > 0
    assert scene.notes == []
    assert list(dict.fromkeys(scene.told)) == [
        "Propagating annotated slices with the foundation model",
        "Prompting the foundation model (round 1)",
    ]


def test_the_next_turn_wants_no_more_than_half_of_what_is_not_the_students() -> None:
    assert 0 < Scene(total_s=600.0).carry() < 270
    # Of 60.002 s the teacher may have 1 ms in all.
    assert Scene(total_s=60.002).carry() < 0.001


def test_without_time_nothing_is_asked_and_the_notes_tell_what_was_left_out() -> None:
    scene = Scene(total_s=ONLY_THE_STUDENTS_S)

    assert scene.carry() == 0.0
    scene.prompt()

    assert not scene.has_answer
    assert scene.notes == [
        "There was no time to propagate all annotated slices with the foundation model, so the model learned less from "
        "slices that nobody annotated. Give more minutes.",
        "There was no time to prompt the foundation model for all other slices, so the model learned less from slices "
        "that nobody annotated. Give more minutes.",
    ]


def test_a_round_takes_no_more_than_the_run_can_spare() -> None:
    with_time, without = Scene(total_s=600.0), Scene(total_s=600.0)

    with_time.prompt(spare_s=100.0)
    without.prompt(spare_s=0.0)

    assert with_time.has_answer
    assert not without.has_answer
    assert (len(with_time.notes), len(without.notes)) == (0, 1)


def test_seconds_of_an_earlier_sitting_count() -> None:
    # Of 160 s the teacher may have half of 100 s.
    fresh, resumed = Scene(total_s=160.0), Scene(total_s=160.0)
    resumed.turns.go_on(0, 50.0)

    fresh.prompt()
    resumed.prompt()

    assert (len(fresh.notes), len(resumed.notes)) == (0, 1)
    assert resumed.turns.elapsed_s > 50.0


def test_two_rounds_come_at_the_beginning_and_in_the_middle_of_stage_2() -> None:
    scene = Scene(rounds=2)

    due = [scene.turns.are_due(0.0)]
    scene.prompt()
    due += [scene.turns.are_due(0.49), scene.turns.are_due(0.5)]
    scene.prompt()
    due += [scene.turns.are_due(1.0)]

    assert due == [True, False, True, False]
    assert scene.told[-1] == "Prompting the foundation model (round 2)"


@pytest.mark.parametrize("rounds_done", [0, 1])
def test_votes_count_again_after_a_restart_where_a_round_was_done(rounds_done: int) -> None:
    before, after = Scene(), Scene()
    before.carry()
    before.prompt()
    after.teacher.load_state(before.teacher.state())

    after.turns.go_on(rounds_done, 1.0)

    assert after.turns.are_due(0.0) == (rounds_done == 0)
    if rounds_done:
        assert after.teacher.predictions_for([SliceIndex(0, 1)]).prompted
