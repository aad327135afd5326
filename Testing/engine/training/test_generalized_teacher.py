"""Tests of the generalized teacher's part: where it is asked, with which box, and what it says to the student."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from doubles import ThresholdTeacher
from torch import Tensor

from uncol.core.errors import CancelledError
from uncol.core.progress import Monitor, Phase
from uncol.core.volume import UNKNOWN_LABEL, SliceView
from uncol.data.cases import FramedCase, SliceIndex
from uncol.data.slice_dataset import SliceDataset
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import BoxPrediction
from uncol.foundation.prompting import SlicePredictor
from uncol.foundation.source_reliability import Source, SourceReliability
from uncol.training.generalized_teacher import GeneralizedTeacher

SIDE = 32  # rows and columns of a slice, 1 mm each
TEACHER_SIDE = 64  # the teacher sees two pixels for each of them
AXIAL = SliceView("axial", (0, 1, 2), (False, False, False), (3.0, 1.0, 1.0))
SQUARE = np.s_[8:16, 10:18]
# In the teacher's frame rows 16 ... 32 and columns 20 ... 36; with the margin of one pixel a pixel more on every side.
SQUARE_BOX = [15, 19, 33, 37]


class RecordedPredictor(SlicePredictor):
    """Slices that note which boxes are asked about in which slice."""

    def __init__(self, stack: np.ndarray, teacher: ThresholdTeacher) -> None:
        super().__init__(stack, (1.0, 1.0), (0.0, 1.0), teacher, EmbeddingCache(None))
        self.asked: dict[int, list[list[float]]] = {}

    def predict(self, index: int, boxes: np.ndarray) -> BoxPrediction:
        self.asked.setdefault(index, []).extend(boxes.tolist())
        return super().predict(index, boxes)


def slice_with(*parts: tuple[tuple[slice, slice], int], rows: int = SIDE, columns: int = SIDE) -> np.ndarray:
    """A label map (H, W) of zeros with a value in each part."""
    labels = np.zeros((rows, columns), dtype=np.uint8)
    for place, value in parts:
        labels[place] = value
    return labels


UNKNOWN = slice_with((np.s_[:, :], UNKNOWN_LABEL))
ANNOTATED = slice_with((SQUARE, 1))
BRIGHT = (slice_with((SQUARE, 1)) == 1).astype(np.float32)
EMPTY = slice_with()


def specialist_seeing(classes: np.ndarray, certainty_of_vote: float = 0.999) -> Callable[..., Tensor]:
    """A specialized teacher that sees these classes (H, W) in every slice, out of three."""
    rest = (1 - certainty_of_vote) / 2
    votes = torch.nn.functional.one_hot(torch.from_numpy(classes).long(), 3).movedim(-1, 0)
    probabilities = votes * (certainty_of_vote - rest) + rest

    def answer(addresses: Sequence[SliceIndex]) -> Tensor:
        return probabilities.expand(len(addresses), *probabilities.shape)

    return answer


def phase(stop_at: int | None = None) -> Phase:
    """A phase that nobody watches; it is cancelled before the slice with a number."""
    answers = itertools.count(1)
    return Monitor(should_stop=lambda: next(answers) == stop_at).phase("Asking", 1)


class Scene:
    """Stacks of label maps and images (S, H, W) with everything that is built on them."""

    def __init__(
        self, *cases: tuple[Sequence[np.ndarray], Sequence[np.ndarray]], class_count: int = 3, **choices: Any
    ) -> None:
        stacks, self.prompted = [], []
        for labels, images in cases:
            native = np.stack(labels)
            grey = np.stack(images).astype(np.float32)
            stacks.append(FramedCase(AXIAL, torch.from_numpy(grey), torch.from_numpy(native), native))
            self.prompted.append(RecordedPredictor(grey, ThresholdTeacher(TEACHER_SIDE)))
        self.pool = SliceDataset(stacks, class_count, 1, 16)
        self.teacher = GeneralizedTeacher(self.pool, stacks, self.prompted, 1.0, **choices)

    def carry(self) -> Scene:
        """Carry and score before the boxes are counted."""
        self.teacher.propagate_and_validate(phase())
        return self

    def prompt(self, specialized: Callable[..., Tensor] | None = None) -> dict[int, list[list[float]]]:
        """Prompt and return the boxes asked by slice of the first case."""
        self.prompted[0].asked = {}
        self.teacher.prompt(specialized, phase())
        return self.prompted[0].asked


def one_case(*labels: np.ndarray, image: np.ndarray = BRIGHT, class_count: int = 3) -> Scene:
    return Scene((labels, [image] * len(labels)), class_count=class_count)


class TestBoxesFromContours:
    def test_an_unannotated_slice_is_asked_with_the_interpolated_contours_box(self) -> None:
        # twice the pixels 8 ... 16 and 10 ... 18, and a margin of 1; annotated slices are not asked
        assert one_case(ANNOTATED, UNKNOWN, ANNOTATED).prompt() == {1: [SQUARE_BOX]}

    def test_beyond_the_annotated_slices_no_contour_is_expected(self) -> None:
        assert set(one_case(UNKNOWN, ANNOTATED, UNKNOWN, ANNOTATED, UNKNOWN).prompt()) == {2}

    def test_a_box_stops_at_the_edge_of_the_slice(self) -> None:
        corner = slice_with((np.s_[0:8, 24:32], 1))

        # rows 0 ... 16 and columns 48 ... 64; above and on the right there is no room for the margin
        assert one_case(corner, UNKNOWN, corner).prompt() == {1: [[0, 47, 17, 64]]}

    @pytest.mark.parametrize(
        ("size", "asked"),
        [
            pytest.param(np.s_[8:10, 10:14], True, id="eight pixels"),
            pytest.param(np.s_[8:15, 10:11], False, id="seven pixels"),
        ],
    )
    def test_a_tiny_contour_prompts_nothing(self, size: tuple[slice, slice], *, asked: bool) -> None:
        small = slice_with((size, 1))

        assert bool(one_case(small, UNKNOWN, small).prompt()) == asked

    def test_a_slice_annotated_in_part_is_asked(self) -> None:
        partly = ANNOTATED.copy()
        partly[0, 0] = UNKNOWN_LABEL

        assert one_case(ANNOTATED, partly, ANNOTATED).prompt() == {1: [SQUARE_BOX]}

    def test_every_structure_gets_its_own_box(self) -> None:
        both = slice_with((SQUARE, 1), (np.s_[20:30, 2:6], 2))

        assert one_case(both, UNKNOWN, both).prompt() == {1: [SQUARE_BOX, [39, 3, 61, 13]]}

    def test_questions_are_counted_before_they_are_asked(self) -> None:
        both = slice_with((SQUARE, 1), (np.s_[20:30, 2:6], 2))

        teacher = one_case(UNKNOWN, both, UNKNOWN, both).teacher

        assert teacher.steps_to_propagate == 10  # two annotated slices; two structures both ways, two slices each
        assert teacher.prompts_per_round == 2  # two structures in the one slice between annotated ones
        assert teacher.unseen_slices == 0

    def test_every_slice_of_a_case_without_annotations_may_be_asked_about(self) -> None:
        both = slice_with((SQUARE, 1), (np.s_[20:30, 2:6], 2))
        scene = Scene(([both, UNKNOWN, both], [BRIGHT] * 3), ([UNKNOWN] * 5, [BRIGHT] * 5))

        assert scene.teacher.unseen_slices == 5
        assert scene.teacher.prompts_per_round == 2 * (1 + 5)


class TestBoxesFromTheSpecializedTeacher:
    # Its own idea of structure 1: rows 20 ... 28, columns 4 ... 14, in the teacher's frame twice as much, plus margin.
    ELSEWHERE = slice_with((np.s_[20:28, 4:14], 1))
    ELSEWHERE_BOX = [39, 7, 57, 29]  # noqa: RUF012  # read only

    @staticmethod
    def well_interpolated() -> Scene:
        """Slice 2 lies where slices 0 and 4 say: interpolation reaches Dice 1 there."""
        return one_case(ANNOTATED, UNKNOWN, ANNOTATED, UNKNOWN, ANNOTATED).carry()

    @staticmethod
    def badly_interpolated() -> Scene:
        """Slice 2 lies elsewhere than slices 0 and 4: interpolation reaches Dice 0 there."""
        moved = slice_with((np.s_[22:30, 20:28], 1))
        return one_case(ANNOTATED, UNKNOWN, moved, UNKNOWN, ANNOTATED).carry()

    def test_a_sure_specialist_overrules_contours_that_interpolate_badly(self) -> None:
        assert self.badly_interpolated().prompt(specialist_seeing(self.ELSEWHERE))[1] == [self.ELSEWHERE_BOX]

    def test_contours_that_interpolate_well_are_kept(self) -> None:
        assert self.well_interpolated().prompt(specialist_seeing(self.ELSEWHERE))[1] == [SQUARE_BOX]

    def test_it_counts_how_sure_the_specialist_is_where_it_sees_the_structure(self) -> None:
        # Dice of the interpolation: slice 2 is the left half of what slices 0 and 4 say, 2 * 32 / (32 + 64) = 2/3.
        half = slice_with((np.s_[8:16, 10:14], 1))
        scene = one_case(ANNOTATED, UNKNOWN, half, UNKNOWN, ANNOTATED).carry()
        contour = scene.prompt()[1]
        # Certainty 1 - H/ln 3 of (0.9, 0.05, 0.05): H = 0.9 * 0.105361 + 0.1 * 2.995732 = 0.394398, 0.641: below 2/3
        assert scene.prompt(specialist_seeing(self.ELSEWHERE, 0.9))[1] == contour
        # ... and of (0.96, 0.02, 0.02): H = 0.96 * 0.040822 + 0.04 * 3.912023 = 0.195670, 0.822: above
        assert scene.prompt(specialist_seeing(self.ELSEWHERE, 0.96))[1] == [self.ELSEWHERE_BOX]

    def test_only_its_largest_part_is_prompted(self) -> None:
        in_parts = slice_with((np.s_[20:28, 4:14], 1), (np.s_[2:5, 25:30], 1))

        assert self.badly_interpolated().prompt(specialist_seeing(in_parts))[1] == [self.ELSEWHERE_BOX]

    def test_it_finds_the_structure_beyond_the_annotated_slices(self) -> None:
        scene = one_case(ANNOTATED, ANNOTATED, UNKNOWN)

        assert scene.prompt(specialist_seeing(self.ELSEWHERE)) == {2: [self.ELSEWHERE_BOX]}

    def test_where_it_sees_nothing_the_contour_is_kept(self) -> None:
        assert one_case(ANNOTATED, UNKNOWN, ANNOTATED).prompt(specialist_seeing(EMPTY)) == {1: [SQUARE_BOX]}

    def test_a_few_stray_pixels_do_not_shut_out_the_contour(self) -> None:
        stray = slice_with((np.s_[2:4, 2:4], 1))

        assert one_case(ANNOTATED, UNKNOWN, ANNOTATED).prompt(specialist_seeing(stray)) == {1: [SQUARE_BOX]}


class TestOpinion:
    ADDRESS = SliceIndex(0, 1)

    def test_votes_become_class_probabilities_with_background(self) -> None:
        scene = one_case(ANNOTATED, UNKNOWN, ANNOTATED)
        scene.prompt()

        prediction = scene.teacher.predictions_for([self.ADDRESS])

        assert prediction.probabilities.shape == (1, 3, SIDE, SIDE)
        assert prediction.prompted[0, 0]
        np.testing.assert_array_equal(prediction.probabilities[0].argmax(0), ANNOTATED)
        torch.testing.assert_close(prediction.probabilities.sum(1), torch.ones(1, SIDE, SIDE))

    def test_a_slice_that_nobody_votes_on_is_background_and_says_so(self) -> None:
        scene = one_case(ANNOTATED, UNKNOWN)
        scene.prompt()

        prediction = scene.teacher.predictions_for([self.ADDRESS])

        assert not prediction.prompted.any()
        assert (prediction.probabilities[0, 0] == 1).all()
        assert prediction.reliability.tolist() == [[1, 0, 0]]

    def test_beyond_the_last_annotated_slice_a_carried_structure_is_voted_on(self) -> None:
        scene = one_case(ANNOTATED, UNKNOWN).carry()
        scene.prompt()

        prediction = scene.teacher.predictions_for([self.ADDRESS])

        assert prediction.prompted.tolist() == [[True, False]]
        np.testing.assert_array_equal(prediction.probabilities[0].argmax(0), ANNOTATED)

    def test_below_a_dice_of_one_half_there_is_no_vote(self) -> None:
        scene = one_case(ANNOTATED, UNKNOWN, ANNOTATED)
        scene.teacher.source_reliability = SourceReliability(np.full((2, 4), 0.49, "f4"), np.full((2, 4), 0.49, "f4"))
        scene.prompt()

        prediction = scene.teacher.predictions_for([self.ADDRESS])

        assert not prediction.prompted.any()
        assert prediction.reliability[0, 1:].tolist() == [0, 0]

    def test_a_batch_is_answered_in_the_order_of_its_addresses(self) -> None:
        dark = np.zeros((SIDE, SIDE), dtype=np.float32)
        scene = Scene(([ANNOTATED, UNKNOWN, UNKNOWN, ANNOTATED], [BRIGHT, BRIGHT, dark, BRIGHT]))
        scene.prompt()

        batch = scene.teacher.predictions_for([SliceIndex(0, 2), SliceIndex(0, 1), SliceIndex(0, 2)]).probabilities

        # In the dark slice the teacher says no and the contour yes, each as loud as the other: 0.5 inside.
        assert batch[:, 1, 12, 14].tolist() == pytest.approx([0.5, 1, 0.5], abs=0.01)

    def test_cases_keep_apart_and_smaller_ones_are_padded_with_background(self) -> None:
        small, unknown = slice_with((np.s_[2:10, 2:10], 1), rows=16, columns=16), UNKNOWN[:16, :16]
        scene = Scene(
            ([ANNOTATED, UNKNOWN, ANNOTATED], [BRIGHT] * 3),
            ([small, unknown, small], [small.astype(np.float32)] * 3),
        )
        scene.prompt()

        probabilities = scene.teacher.predictions_for([SliceIndex(1, 1), SliceIndex(0, 1)]).probabilities

        expected = np.zeros((SIDE, SIDE))
        expected[2:10, 2:10] = 1
        np.testing.assert_array_equal(probabilities[0].argmax(0), expected)
        np.testing.assert_array_equal(probabilities[1].argmax(0), ANNOTATED)

    def test_a_kept_state_brings_back_the_same_opinion_without_asking(self) -> None:
        first, resumed = (one_case(ANNOTATED, UNKNOWN, ANNOTATED, UNKNOWN) for _ in range(2))
        first.carry().prompt()

        resumed.teacher.load_state(first.teacher.state())
        resumed.teacher.fuse_candidates()

        for index in (1, 3):
            before, after = (each.teacher.predictions_for([SliceIndex(0, index)]) for each in (first, resumed))
            assert torch.equal(before.probabilities, after.probabilities)
            assert torch.equal(before.reliability, after.reliability)
        assert resumed.prompted[0].asked == {}

    def test_the_distance_to_the_nearest_annotated_slice_is_told_in_gaps(self) -> None:
        scene = one_case(ANNOTATED, UNKNOWN, UNKNOWN, UNKNOWN, ANNOTATED)

        gaps = scene.teacher.gaps_to([SliceIndex(0, index) for index in range(5)])

        assert gaps.tolist() == [0, 0.25, 0.5, 0.25, 0]

    def test_a_case_without_annotated_slices_has_no_gaps(self) -> None:
        scene = Scene(([ANNOTATED, UNKNOWN, ANNOTATED], [BRIGHT] * 3), ([UNKNOWN] * 2, [BRIGHT] * 2))

        gaps = scene.teacher.gaps_to([SliceIndex(0, 1), SliceIndex(1, 0), SliceIndex(1, 1)])

        assert gaps.tolist() == [0.5, 0, 0]


def test_reliability_is_what_the_best_source_reaches_far_from_annotated_slices() -> None:
    # The image shows the square everywhere, so that propagation reaches 1; structure 2 is dark: nothing is ever found,
    # but its contour lies where the neighbors say.
    both = slice_with((SQUARE, 1), (np.s_[20:30, 2:6], 2))
    scene = one_case(both, UNKNOWN, both, UNKNOWN, both).carry()

    assert scene.teacher.reliability.tolist() == [1, 1, 1]
    assert scene.teacher.source_reliability.far[1].tolist() == [0, 0, 0, 1]


def test_the_work_can_be_stopped_between_slices() -> None:
    scene = one_case(ANNOTATED, *[UNKNOWN] * 8, ANNOTATED)

    with pytest.raises(CancelledError):
        scene.teacher.prompt(None, phase(stop_at=4))

    assert len(scene.prompted[0].asked) == 3


class TestWholeCases:
    """Some cases are annotated as a whole, the others not at all."""

    def scene(self, **choices: Any) -> Scene:
        return Scene(([ANNOTATED] * 5, [BRIGHT] * 5), ([UNKNOWN] * 6, [BRIGHT] * 6), **choices)

    def test_nothing_is_carried_in_a_whole_case_and_every_fourth_slice_is_scored(self) -> None:
        scene = self.scene().carry()

        # Slices 0 and 4, structure 1: its own box, and of the inner ones the interpolated box; none is inner here.
        assert scene.prompted[0].asked == {0: [SQUARE_BOX], 4: [SQUARE_BOX]}
        assert scene.prompted[1].asked == {}

    def test_an_unannotated_case_is_asked_with_the_specialized_teachers_mask(self) -> None:
        scene = self.scene()

        scene.teacher.prompt(specialist_seeing(ANNOTATED), phase())

        assert scene.prompted[1].asked == {index: [SQUARE_BOX] for index in range(6)}

    def test_what_its_masks_are_worth_as_prompts_is_tried_on_held_out_slices(self) -> None:
        scene = self.scene().carry()
        half = slice_with((np.s_[8:16, 10:14], 1))

        scene.teacher.score_prompts(specialist_seeing(half), [SliceIndex(0, 1), SliceIndex(0, 3)], phase())

        # Columns 10 to 14 with the margin of half a pixel: 9 of the square's 16 columns are found in the teacher's
        # frame, in all its rows. Dice 2 * 9 / (9 + 16) = 0.72.
        assert scene.teacher.source_reliability.far[0, Source.PROMPTED] == pytest.approx(0.72)
        assert float(scene.teacher.reliability[1]) == pytest.approx(0.72)

    def test_in_sparsely_annotated_cases_interpolated_contours_say_what_it_is_worth(self) -> None:
        scene = one_case(ANNOTATED, UNKNOWN, ANNOTATED, UNKNOWN, ANNOTATED).carry()
        before = scene.teacher.source_reliability.far.copy()

        scene.teacher.score_prompts(specialist_seeing(EMPTY + 1), [SliceIndex(0, 2)], phase())

        np.testing.assert_array_equal(scene.teacher.source_reliability.far, before)

    def test_about_no_more_slices_than_wanted_are_asked_and_always_the_same(self) -> None:
        first, second = (self.scene(most_slices=4).teacher.slices for _ in range(2))

        assert first == second
        assert len(first) == 4
        assert [each.index for each in first] == sorted(each.index for each in first)

    def test_the_whole_slice_is_asked_about_where_no_mask_shows_a_structure(self) -> None:
        scene = self.scene(whole_slices=True)

        scene.teacher.prompt(specialist_seeing(EMPTY), phase())

        assert scene.prompted[1].asked[0] == [[0, 0, TEACHER_SIDE, TEACHER_SIDE]] * 2

    def test_every_vote_counts_when_it_is_wanted(self) -> None:
        scene = self.scene(every_vote=True)
        scene.teacher.source_reliability = SourceReliability(np.full((2, 4), 0.1, "f4"), np.full((2, 4), 0.1, "f4"))
        scene.teacher.prompt(specialist_seeing(ANNOTATED), phase())

        assert scene.teacher.predictions_for([SliceIndex(1, 0)]).prompted.tolist() == [[True, False]]


class TestWholeCasesBesideSparseOnes:
    """A gap of a case that is annotated as a whole is one slice: little is learned from it about wider ones."""

    MOVED = slice_with((np.s_[22:30, 20:28], 1))
    # Slice 2 lies elsewhere than slices 0 and 4 say: the interpolated contour and the answer to its box find nothing.
    SPARSE = ((ANNOTATED, UNKNOWN, MOVED, UNKNOWN, ANNOTATED), (BRIGHT, BRIGHT, MOVED, BRIGHT, BRIGHT))
    WHOLE = ([ANNOTATED] * 12, [BRIGHT] * 12)

    @pytest.mark.parametrize("is_first", [True, False])
    def test_sources_are_worth_what_they_are_worth_between_the_sparse_cases_slices(self, *, is_first: bool) -> None:
        alone = Scene(self.SPARSE).carry().teacher.source_reliability

        cases = (self.WHOLE, self.SPARSE) if is_first else (self.SPARSE, self.WHOLE)
        both = Scene(*cases, ([UNKNOWN] * 3, [BRIGHT] * 3)).carry().teacher.source_reliability

        assert alone.far[0, Source.PROMPTED] == 0
        np.testing.assert_array_equal(both.far, alone.far)
        np.testing.assert_array_equal(both.near, alone.near)

    def test_a_structure_that_only_whole_cases_show_keeps_its_scores(self) -> None:
        # Structure 2 is dark in the whole case: not even its own box finds it.
        both = slice_with((SQUARE, 1), (np.s_[20:30, 2:6], 2))

        worth = Scene(self.SPARSE, ([both] * 12, [BRIGHT] * 12)).carry().teacher.source_reliability

        assert worth.far[0, Source.PROMPTED] == 0
        assert worth.near[1, Source.PROMPTED] == 0
        assert worth.far[1, Source.INTERPOLATED] == 1

    def test_a_contour_too_small_to_ask_about_counts_as_tried(self) -> None:
        # Seven pixels, elsewhere in slice 2: no box is asked, and interpolation finds nothing.
        small, moved = slice_with((np.s_[8:15, 10:11], 1)), slice_with((np.s_[20:27, 20:21], 1))
        sparse = ([small, UNKNOWN, moved, UNKNOWN, small], [BRIGHT] * 5)

        for cases in ((sparse,), (sparse, self.WHOLE)):
            assert Scene(*cases).carry().teacher.source_reliability.far[0, Source.INTERPOLATED] == 0

    def test_beside_cases_without_annotation_whole_ones_are_scored(self) -> None:
        worth = Scene(self.WHOLE, ([UNKNOWN] * 3, [BRIGHT] * 3)).carry().teacher.source_reliability

        assert worth.far[0, [Source.PROMPTED, Source.INTERPOLATED]].tolist() == [1, 1]
