"""Labels before anything is learned: what is propagated where, how reliable each source is, how they are fused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from doubles import ThresholdTeacher

from uncol.core.progress import UNWATCHED, Phase
from uncol.core.volume import UNKNOWN_LABEL
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.label_propagation import PropagatedLabels
from uncol.foundation.prompting import SlicePredictor
from uncol.foundation.source_reliability import Source, SourceReliability, ValidationScores

SIDE = 32  # rows and columns of a slice and of the teacher's frame, 1 mm each; slices are 2 mm apart


class Patience(Phase):
    """A phase whose time is up after a number of slices."""

    def __init__(self, slices: int = 10_000) -> None:
        super().__init__(UNWATCHED, "Propagating", slices)
        self.left = slices

    def step(self) -> None:
        self.left -= 1

    @property
    def time_is_up(self) -> bool:
        return self.left <= 0


def square(row: int, column: int, side: int = 8) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[row : row + side, column : column + side] = True
    return mask


def labels_of(truth: list[np.ndarray], annotated: list[int]) -> PropagatedLabels:
    """One structure that is bright where it is; only some slices are annotated."""
    stack = np.stack(truth).astype(np.float32)
    labels = np.full(stack.shape, UNKNOWN_LABEL, dtype=np.uint8)
    labels[annotated] = stack[annotated]
    predictor = SlicePredictor(stack, (1.0, 1.0), (0.0, 1.0), ThresholdTeacher(SIDE), EmbeddingCache(None))
    return PropagatedLabels(predictor, labels, (2.0, 1.0, 1.0), 1, 1.0)


def drifting(count: int) -> list[np.ndarray]:
    """A square that moves by one pixel from slice to slice."""
    return [square(8, 4 + index) for index in range(count)]


EQUAL = SourceReliability(np.ones((1, 4), dtype=np.float32), np.ones((1, 4), dtype=np.float32))


class TestPropagation:
    def test_a_moving_structure_is_followed_both_ways_up_to_the_next_annotated_slices(self) -> None:
        truth = drifting(9)
        labels = labels_of(truth, [0, 4, 8])
        labels.propagate_and_validate(Patience())

        assert labels.has_candidate[:, 0, Source.FORWARD].tolist() == [False, *[True] * 8]
        assert labels.has_candidate[:, 0, Source.BACKWARD].tolist() == [*[True] * 8, False]
        for index in (1, 2, 3, 5, 6, 7):
            found, _ = labels.fuse(index, EQUAL)
            assert labels.candidates[index, 0, Source.FORWARD].values.shape == (8, 8)
            np.testing.assert_array_equal(found[0].numpy() > 0.5, truth[index])

    def test_where_it_has_ended_it_is_voted_away(self) -> None:
        nothing = np.zeros((SIDE, SIDE), dtype=bool)
        labels = labels_of([square(8, 8), square(8, 8), nothing, nothing], [0])
        labels.propagate_and_validate(Patience())

        found, deserved = labels.fuse(3, EQUAL)

        assert (3, 0, Source.FORWARD) not in labels.candidates
        assert not found.any()
        assert deserved.tolist() == [1]

    def test_it_is_voted_away_down_to_the_first_slice_as_up_to_the_last_one(self) -> None:
        nothing = np.zeros((SIDE, SIDE), dtype=bool)
        truth = [nothing, nothing, square(8, 8), square(8, 8)]
        down, up = labels_of(truth, [3]), labels_of(truth[::-1], [0])
        for labels in (down, up):
            labels.propagate_and_validate(Patience())

        assert down.has_candidate[:, 0, Source.BACKWARD].tolist() == [True, True, True, False]
        assert up.has_candidate[:, 0, Source.FORWARD].tolist() == [False, True, True, True]

    def test_where_time_is_short_the_nearest_slices_are_voted_on(self) -> None:
        labels = labels_of(drifting(9), [0, 8])
        labels.propagate_and_validate(Patience(2 + 3))  # both annotated slices are tried first

        assert np.flatnonzero(labels.has_candidate[:, 0, Source.FORWARD]).tolist() == [1, 2]
        assert np.flatnonzero(labels.has_candidate[:, 0, Source.BACKWARD]).tolist() == [7]

    @pytest.mark.parametrize("annotated", [[0, 4, 8], [0, 8], [2, 6]])
    def test_as_many_steps_are_expected_as_are_taken_where_a_structure_goes_through(self, annotated: list[int]) -> None:
        labels = labels_of([square(8, 8)] * 9, annotated)
        patience = Patience()
        expected = len(labels.expected_looks)

        labels.propagate_and_validate(patience)

        taken = 10_000 - patience.left
        beyond = 2 * 2 if annotated == [2, 6] else 0  # half of the slices beyond the ends are expected
        assert expected == taken - beyond / 2

    def test_where_a_structure_ends_half_of_the_slices_are_expected(self) -> None:
        nothing = np.zeros((SIDE, SIDE), dtype=bool)
        labels = labels_of([square(8, 8)] * 3 + [nothing] * 6, [0, 8])

        assert len(labels.expected_looks) == 2 + 4  # both annotated slices, and half of the eight on the way


class TestReliability:
    def test_it_is_the_mean_dice_near_and_far(self) -> None:
        scores = ValidationScores()
        for source in (Source.PROMPTED, Source.FORWARD, Source.BACKWARD):
            scores.near[0, source] += [0.8, 1.0]
        scores.far[0, Source.PROMPTED] += [0.5, 0.7]
        scores.far[0, Source.FORWARD] += [0.4]
        scores.far[0, Source.INTERPOLATED] += [0.2]

        reliability = scores.reliability(1)

        assert reliability.near[0].tolist() == pytest.approx([0.9, 0.9, 0.9, 1])
        # propagated backward it could not be tried: what it is worth near
        assert reliability.far[0].tolist() == pytest.approx([0.6, 0.4, 0.9, 0.2])

    def test_what_could_not_be_tried_on_one_structure_is_taken_from_the_others(self) -> None:
        scores = ValidationScores()
        scores.far[0, Source.PROMPTED] += [0.6]

        assert scores.reliability(2).far[1, Source.PROMPTED] == pytest.approx(0.6)

    def test_without_any_score_every_source_is_fully_reliable(self) -> None:
        reliability = ValidationScores().reliability(2)

        assert (reliability.near == 1).all()
        assert (reliability.far == 1).all()

    def test_it_falls_linearly_over_one_gap_and_no_further(self) -> None:
        reliability = SourceReliability(np.full((1, 4), 0.9, "f4"), np.full((1, 4), 0.5, "f4"))

        assert [reliability.at(0, Source.INTERPOLATED, gaps) for gaps in (0, 0.5, 1, 3)] == pytest.approx(
            [0.9, 0.7, 0.5, 0.5]
        )

    def test_annotated_slices_are_voted_on_as_if_nobody_had_annotated_them(self) -> None:
        # The middle slice lies 4 columns beside what its neighbors say: interpolation reaches 2 * 32 / 128 = 0.5 there.
        truth = [square(8, 8), square(8, 8), square(8, 12), square(8, 8), square(8, 8)]
        labels = labels_of(truth, [0, 2, 4])
        scores = labels.propagate_and_validate(Patience())

        assert scores.near[0, Source.PROMPTED] == [1, 1, 1]
        assert scores.far[0, Source.INTERPOLATED] == [0.5]
        # propagated forward, the box of columns 8 ... 16 with its margin of 2 holds 6 of 8 columns: 2 * 48 / (48 + 64)
        assert scores.far[0, Source.FORWARD][0] == pytest.approx(0.857143, abs=1e-6)


class TestFusion:
    def test_each_source_weighs_the_fourth_power_of_its_dice(self) -> None:
        # The interpolated contour says 1 inside, the propagated mask 0: 1 * 0.5^4 / (0.5^4 + 1^4) = 1/17
        labels = labels_of([square(8, 8)] * 3, [0, 2])
        labels.has_candidate[1, 0, Source.FORWARD] = True
        worth = np.array([[1, 1, 1, 0.5]], dtype=np.float32)

        found, deserved = labels.fuse(1, SourceReliability(worth, worth))

        assert found[0, 12, 12].item() == pytest.approx(1 / 17, abs=1e-3)
        # (0.5^4 * 0.5 + 1) / (0.5^4 + 1)
        assert deserved.item() == pytest.approx(1.03125 / 1.0625)

    def test_a_source_counts_from_its_own_annotated_slice(self) -> None:
        labels = labels_of(drifting(9), [0, 8])

        assert labels.gaps_to(2, Source.FORWARD) == pytest.approx(0.25)
        assert labels.gaps_to(2, Source.BACKWARD) == pytest.approx(0.75)
        assert labels.gaps_to(6) == pytest.approx(0.25)

    def test_without_any_source_nothing_is_deserved(self) -> None:
        labels = labels_of([square(8, 8)] * 2, [0])

        found, deserved = labels.fuse(1, EQUAL)

        assert not found.any()
        assert deserved.tolist() == [0]


def test_the_state_brings_every_answer_back() -> None:
    first, second = (labels_of(drifting(5), [0, 4]) for _ in range(2))
    first.propagate_and_validate(Patience())

    second.load_state(first.state())

    assert second.candidates.keys() == first.candidates.keys()
    for index in range(5):
        for before, after in zip(first.fuse(index, EQUAL), second.fuse(index, EQUAL), strict=True):
            assert torch.equal(before, after)


def test_the_state_brings_back_what_is_said_of_left_out_slices() -> None:
    first, second = (labels_of([square(8, 8)] * 9, [0, 4, 8]) for _ in range(2))
    first.propagate_and_validate(Patience())

    second.load_state(first.state())

    before, after = (each.fuse(4, EQUAL, is_left_out=True) for each in (first, second))
    assert torch.equal(before[0], after[0])
    plain = labels_of([square(8, 8)] * 9, [0, 4, 8]).fuse(4, EQUAL, is_left_out=True)
    assert not torch.equal(before[0], plain[0])
