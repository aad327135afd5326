"""Votes before anything is learned: what is carried where, what each source is worth, how votes are added."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.transforms import SliceFrame, frame_with_longest_side
from uncol.foundation.boxes import mask_of_box
from uncol.foundation.embeddings import EmbeddingCache, PromptableStack
from uncol.foundation.label_propagation import BACKWARD, CONTOUR, FORWARD, SHAPE, CaseVotes, SourceDice
from uncol.foundation.promptable import Decoded

SIDE = 32  # rows and columns of a slice and of the teacher's frame, 1 mm each; slices are 2 mm apart


class BrightInsideTheBox:
    """A foundation model that finds whatever is brighter than half of the window inside a box."""

    name = identity = "bright-inside-the-box"

    def frame_of(self, rows: int, columns: int, spacing_mm: tuple[float, float]) -> SliceFrame:
        return frame_with_longest_side(rows, columns, spacing_mm, SIDE)

    def encode(self, image: Tensor) -> Tensor:
        return image[None].half()

    def decode(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> Decoded:
        inside = [torch.from_numpy(mask_of_box(box, frame.rows, frame.columns)) for box in boxes.numpy()]
        return Decoded((torch.stack(inside) & (embedding > 0.5)).float(), torch.ones(len(boxes)))


class Patience:
    """A watch whose time is up after a number of slices."""

    def __init__(self, slices: int = 10_000) -> None:
        self.left = slices

    def __call__(self) -> None:
        self.left -= 1

    @property
    def time_is_up(self) -> bool:
        return self.left <= 0


def square(row: int, column: int, side: int = 8) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[row : row + side, column : column + side] = True
    return mask


def votes_on(truth: list[np.ndarray], annotated: list[int]) -> CaseVotes:
    """One structure that is bright where it is; only some slices are annotated."""
    stack = np.stack(truth).astype(np.float32)
    labels = np.full(stack.shape, UNKNOWN_LABEL, dtype=np.uint8)
    labels[annotated] = stack[annotated]
    prompted = PromptableStack(stack, (1.0, 1.0), (0.0, 1.0), BrightInsideTheBox(), EmbeddingCache(None))
    return CaseVotes(prompted, labels, (2.0, 1.0, 1.0), 1, 1.0)


def drifting(count: int) -> list[np.ndarray]:
    """A square that moves by one pixel from slice to slice."""
    return [square(8, 4 + index) for index in range(count)]


EQUAL = SourceDice(np.ones((1, 4), dtype=np.float32), np.ones((1, 4), dtype=np.float32))


class TestCarrying:
    def test_a_moving_structure_is_followed_both_ways_up_to_the_next_annotated_slices(self) -> None:
        truth = drifting(9)
        votes = votes_on(truth, [0, 4, 8])
        votes.carry_and_score(Patience())

        assert votes.decided[:, 0, FORWARD].tolist() == [False, *[True] * 8]
        assert votes.decided[:, 0, BACKWARD].tolist() == [*[True] * 8, False]
        for index in (1, 2, 3, 5, 6, 7):
            found, _ = votes.votes_on(index, SourceDice(EQUAL.near, EQUAL.far))
            assert votes.patches[index, 0, FORWARD].values.shape == (8, 8)
            np.testing.assert_array_equal(found[0].numpy() > 0.5, truth[index])

    def test_where_it_has_ended_it_is_voted_away(self) -> None:
        nothing = np.zeros((SIDE, SIDE), dtype=bool)
        votes = votes_on([square(8, 8), square(8, 8), nothing, nothing], [0])
        votes.carry_and_score(Patience())

        found, deserved = votes.votes_on(3, EQUAL)

        assert (3, 0, FORWARD) not in votes.patches
        assert not found.any()
        assert deserved.tolist() == [1]

    def test_it_is_voted_away_down_to_the_first_slice_as_up_to_the_last_one(self) -> None:
        nothing = np.zeros((SIDE, SIDE), dtype=bool)
        truth = [nothing, nothing, square(8, 8), square(8, 8)]
        down, up = votes_on(truth, [3]), votes_on(truth[::-1], [0])
        for votes in (down, up):
            votes.carry_and_score(Patience())

        assert down.decided[:, 0, BACKWARD].tolist() == [True, True, True, False]
        assert up.decided[:, 0, FORWARD].tolist() == [False, True, True, True]

    def test_where_time_is_short_the_nearest_slices_are_voted_on(self) -> None:
        votes = votes_on(drifting(9), [0, 8])
        votes.carry_and_score(Patience(2 + 3))  # both annotated slices are tried first

        assert np.flatnonzero(votes.decided[:, 0, FORWARD]).tolist() == [1, 2]
        assert np.flatnonzero(votes.decided[:, 0, BACKWARD]).tolist() == [7]


class TestWorth:
    def test_it_is_the_mean_dice_near_and_far(self) -> None:
        dice_of = SourceDice.of_scores([[[0.8, 1.0], [], [], []]], [[[0.5, 0.7], [0.4], [], [0.2]]])

        assert dice_of.near[0].tolist() == pytest.approx([0.9, 1, 1, 1])
        # carried backward it could not be tried: what it is worth near
        assert dice_of.far[0].tolist() == pytest.approx([0.6, 0.4, 1, 0.2])

    def test_what_could_not_be_tried_on_one_structure_is_taken_from_the_others(self) -> None:
        dice_of = SourceDice.of_scores([[[], [], [], []]] * 2, [[[0.6], [], [], []], [[], [], [], []]])

        assert dice_of.far[1, CONTOUR] == pytest.approx(0.6)

    def test_it_falls_linearly_over_one_gap_and_no_further(self) -> None:
        dice_of = SourceDice(np.full((1, 4), 0.9, "f4"), np.full((1, 4), 0.5, "f4"))

        assert [dice_of.at(0, SHAPE, gaps) for gaps in (0, 0.5, 1, 3)] == pytest.approx([0.9, 0.7, 0.5, 0.5])

    def test_annotated_slices_are_voted_on_as_if_nobody_had_annotated_them(self) -> None:
        # The middle slice lies 4 columns beside what its neighbors say: interpolation reaches 2 * 32 / 128 = 0.5 there.
        truth = [square(8, 8), square(8, 8), square(8, 12), square(8, 8), square(8, 8)]
        votes = votes_on(truth, [0, 2, 4])
        near, far = votes.carry_and_score(Patience())

        assert near[0][CONTOUR] == [1, 1, 1]
        assert far[0][SHAPE] == [0.5]
        # carried forward, the box of columns 8 ... 16 with its margin of 2 holds 6 of 8 columns: 2 * 48 / (48 + 64)
        assert far[0][FORWARD][0] == pytest.approx(0.857143, abs=1e-6)


class TestCounting:
    def test_each_source_weighs_the_fourth_power_of_its_dice(self) -> None:
        # The interpolated contour votes 1 inside, the carried answer 0: 1 * 0.5^4 / (0.5^4 + 1^4) = 1/17
        votes = votes_on([square(8, 8)] * 3, [0, 2])
        votes.decided[1, 0, FORWARD] = True
        worth = np.array([[1, 1, 1, 0.5]], dtype=np.float32)

        found, deserved = votes.votes_on(1, SourceDice(worth, worth))

        assert found[0, 12, 12].item() == pytest.approx(1 / 17, abs=1e-3)
        # (0.5^4 * 0.5 + 1) / (0.5^4 + 1)
        assert deserved.item() == pytest.approx(1.03125 / 1.0625)

    def test_a_source_counts_from_its_own_annotated_slice(self) -> None:
        votes = votes_on(drifting(9), [0, 8])

        assert votes.gaps_to(2, FORWARD) == pytest.approx(0.25)
        assert votes.gaps_to(2, BACKWARD) == pytest.approx(0.75)
        assert votes.gaps_to(6) == pytest.approx(0.25)

    def test_without_any_source_nothing_is_deserved(self) -> None:
        votes = votes_on([square(8, 8)] * 2, [0])

        found, deserved = votes.votes_on(1, EQUAL)

        assert not found.any()
        assert deserved.tolist() == [0]


def test_the_state_brings_every_answer_back() -> None:
    first, second = (votes_on(drifting(5), [0, 4]) for _ in range(2))
    first.carry_and_score(Patience())

    second.load_state(first.state())

    assert second.patches.keys() == first.patches.keys()
    for index in range(5):
        for before, after in zip(first.votes_on(index, EQUAL), second.votes_on(index, EQUAL), strict=True):
            assert torch.equal(before, after)
