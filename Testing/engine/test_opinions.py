"""Tests of the generalized teacher's part: where it is asked, with which box, and what its answers are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from uncol.datasets import SliceAddress, SlicePool, SliceStack
from uncol.opinions import GeneralizedOpinions, largest_component
from uncol.prompts import mask_of_box
from uncol.teachers.embeddings import EmbeddingCache, PromptableStack
from uncol.teachers.generalized import Decoded
from uncol.transforms import SliceFrame, frame_with_longest_side
from uncol.volume import UNKNOWN_LABEL, SliceView

SIDE = 32  # rows and columns of a slice, 1 mm each
TEACHER_SIDE = 64  # the teacher sees two pixels for each of them
AXIAL = SliceView("axial", (0, 1, 2), (False, False, False), (3.0, 1.0, 1.0))
SQUARE = np.s_[8:16, 10:18]
# In the teacher's frame rows 16 ... 32 and columns 20 ... 36; with the margin of one pixel a pixel more on every side.
SQUARE_BOX = [15, 19, 33, 37]


class ThresholdTeacher:
    """A generalized teacher that finds whatever is brighter than half of the window inside a box."""

    name = "threshold"
    identity = "threshold-1"

    def __init__(self) -> None:
        self.boxes_asked = 0

    def frame_of(self, rows: int, columns: int, spacing_mm: tuple[float, float]) -> SliceFrame:
        return frame_with_longest_side(rows, columns, spacing_mm, TEACHER_SIDE)

    def encode(self, image: Tensor) -> Tensor:
        return image[None].half()

    def decode(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> Decoded:
        self.boxes_asked += len(boxes)
        inside = [torch.from_numpy(mask_of_box(box, frame.rows, frame.columns)) for box in boxes.numpy()]
        return Decoded((torch.stack(inside) & (embedding > 0.5)).float(), torch.ones(len(boxes)))


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

    def answer(addresses: Sequence[SliceAddress]) -> Tensor:
        return probabilities.expand(len(addresses), *probabilities.shape)

    return answer


class Scene:
    """Stacks of label maps and images (S, H, W) with everything that is built on them."""

    def __init__(self, *cases: tuple[Sequence[np.ndarray], Sequence[np.ndarray]], class_count: int = 3) -> None:
        self.teacher = ThresholdTeacher()
        stacks, prompted = [], []
        for labels, images in cases:
            native = np.stack(labels)
            grey = np.stack(images).astype(np.float32)
            stacks.append(SliceStack(AXIAL, torch.from_numpy(grey), torch.from_numpy(native), native))
            prompted.append(PromptableStack(grey, (1.0, 1.0), (0.0, 1.0), self.teacher, EmbeddingCache(None)))
        self.pool = SlicePool(stacks, class_count, 1, 16)
        self.opinions = GeneralizedOpinions(self.pool, stacks, prompted, margin_pixels=1.0)
        self.watched = 0

    def watch(self) -> None:
        self.watched += 1

    def prompt(self, specialized: Callable[..., Tensor] | None = None) -> np.ndarray:
        """Prompt and return the boxes (S, C - 1, 4) of the first case."""
        self.opinions.prompt(specialized, self.watch)
        return self.opinions.prompts[0].boxes


def one_case(*labels: np.ndarray, image: np.ndarray = BRIGHT, class_count: int = 3) -> Scene:
    return Scene((labels, [image] * len(labels)), class_count=class_count)


class TestBoxesFromContours:
    def test_an_unannotated_slice_is_asked_with_the_interpolated_contours_box(self) -> None:
        boxes = one_case(ANNOTATED, UNKNOWN, ANNOTATED).prompt()

        # twice the pixels 8 ... 16 and 10 ... 18, and a margin of 1
        assert boxes[1, 0].tolist() == SQUARE_BOX

    def test_annotated_slices_are_not_asked(self) -> None:
        scene = one_case(ANNOTATED, UNKNOWN, ANNOTATED)
        scene.prompt()

        assert scene.opinions.prompts[0].asked.tolist() == [[False, False], [True, False], [False, False]]

    def test_a_structure_that_was_not_annotated_is_not_asked_about(self) -> None:
        boxes = one_case(ANNOTATED, UNKNOWN, ANNOTATED).prompt()

        assert np.isnan(boxes[1, 1]).all()

    def test_beyond_the_annotated_slices_nothing_is_asked(self) -> None:
        boxes = one_case(UNKNOWN, ANNOTATED, UNKNOWN, ANNOTATED, UNKNOWN).prompt()

        assert np.isnan(boxes[[0, 4]]).all()

    def test_a_box_stops_at_the_edge_of_the_slice(self) -> None:
        corner = slice_with((np.s_[0:8, 24:32], 1))

        boxes = one_case(corner, UNKNOWN, corner).prompt()

        # rows 0 ... 16 and columns 48 ... 64; above and on the right there is no room for the margin
        assert boxes[1, 0].tolist() == [0, 47, 17, 64]

    @pytest.mark.parametrize(
        ("size", "asked"),
        [
            pytest.param(np.s_[8:10, 10:14], True, id="eight pixels"),
            pytest.param(np.s_[8:15, 10:11], False, id="seven pixels"),
        ],
    )
    def test_a_tiny_contour_prompts_nothing(self, size: tuple[slice, slice], *, asked: bool) -> None:
        small = slice_with((size, 1))

        scene = one_case(small, UNKNOWN, small)
        scene.prompt()

        assert scene.opinions.prompts[0].asked[1, 0] == asked

    def test_a_slice_annotated_in_part_is_asked(self) -> None:
        partly = ANNOTATED.copy()
        partly[0, 0] = UNKNOWN_LABEL

        boxes = one_case(ANNOTATED, partly, ANNOTATED).prompt()

        assert boxes[1, 0].tolist() == SQUARE_BOX

    def test_every_structure_gets_its_own_box(self) -> None:
        both = slice_with((SQUARE, 1), (np.s_[20:30, 2:6], 2))

        boxes = one_case(both, UNKNOWN, both).prompt()

        assert boxes[1].tolist() == [SQUARE_BOX, [39, 3, 61, 13]]


class TestBoxesFromTheSpecializedTeacher:
    # Its own idea of structure 1: rows 20 ... 28, columns 4 ... 14, in the teacher's frame twice as much, plus margin.
    ELSEWHERE = slice_with((np.s_[20:28, 4:14], 1))
    ELSEWHERE_BOX = [39, 7, 57, 29]  # noqa: RUF012  # read only

    @staticmethod
    def well_interpolated() -> Scene:
        """Slice 2 lies where slices 0 and 4 say: interpolation reaches Dice 1 there."""
        return one_case(ANNOTATED, UNKNOWN, ANNOTATED, UNKNOWN, ANNOTATED)

    @staticmethod
    def badly_interpolated() -> Scene:
        """Slice 2 lies elsewhere than slices 0 and 4: interpolation reaches Dice 0 there."""
        moved = slice_with((np.s_[22:30, 20:28], 1))
        return one_case(ANNOTATED, UNKNOWN, moved, UNKNOWN, ANNOTATED)

    def test_a_sure_specialist_overrules_contours_that_interpolate_badly(self) -> None:
        boxes = self.badly_interpolated().prompt(specialist_seeing(self.ELSEWHERE))

        assert boxes[1, 0].tolist() == self.ELSEWHERE_BOX

    def test_contours_that_interpolate_well_are_kept(self) -> None:
        boxes = self.well_interpolated().prompt(specialist_seeing(self.ELSEWHERE))

        assert boxes[1, 0].tolist() == SQUARE_BOX

    def test_it_counts_how_sure_the_specialist_is_where_it_sees_the_structure(self) -> None:
        # Dice of the interpolation: slice 2 is the left half of what slices 0 and 4 say, 2 * 32 / (32 + 64) = 2/3.
        half = slice_with((np.s_[8:16, 10:14], 1))
        scene = one_case(ANNOTATED, UNKNOWN, half, UNKNOWN, ANNOTATED)
        contour = scene.prompt()[1, 0].copy()
        # Certainty 1 - H/ln 3 of (0.9, 0.05, 0.05): H = 0.9 * 0.105361 + 0.1 * 2.995732 = 0.394398, 0.641: below 2/3
        doubtful = scene.prompt(specialist_seeing(self.ELSEWHERE, 0.9))[1, 0].copy()
        # ... and of (0.96, 0.02, 0.02): H = 0.96 * 0.040822 + 0.04 * 3.912023 = 0.195670, 0.822: above
        sure = scene.prompt(specialist_seeing(self.ELSEWHERE, 0.96))[1, 0]

        assert doubtful.tolist() == contour.tolist()
        assert sure.tolist() == self.ELSEWHERE_BOX

    def test_only_its_largest_part_is_prompted(self) -> None:
        in_parts = slice_with((np.s_[20:28, 4:14], 1), (np.s_[2:5, 25:30], 1))

        boxes = self.badly_interpolated().prompt(specialist_seeing(in_parts))

        assert boxes[1, 0].tolist() == self.ELSEWHERE_BOX

    def test_it_finds_the_structure_beyond_the_annotated_slices(self) -> None:
        scene = one_case(ANNOTATED, ANNOTATED, UNKNOWN)

        assert scene.prompt(specialist_seeing(self.ELSEWHERE))[2, 0].tolist() == self.ELSEWHERE_BOX

    def test_where_it_sees_nothing_the_contour_is_kept(self) -> None:
        boxes = one_case(ANNOTATED, UNKNOWN, ANNOTATED).prompt(specialist_seeing(EMPTY))

        assert boxes[1, 0].tolist() == SQUARE_BOX

    def test_a_few_stray_pixels_do_not_shut_out_the_contour(self) -> None:
        # Only two annotated slices: how well interpolation does cannot be measured. Four pixels prompt nothing.
        stray = slice_with((np.s_[2:4, 2:4], 1))

        boxes = one_case(ANNOTATED, UNKNOWN, ANNOTATED).prompt(specialist_seeing(stray))

        assert boxes[1, 0].tolist() == SQUARE_BOX

    def test_a_second_round_replaces_the_first(self) -> None:
        scene = self.badly_interpolated()
        scene.prompt(specialist_seeing(slice_with((np.s_[2:12, 2:12], 1))))

        assert scene.prompt(specialist_seeing(self.ELSEWHERE))[1, 0].tolist() == self.ELSEWHERE_BOX


class TestAnswers:
    ADDRESS = SliceAddress(0, 1)

    def test_an_answer_becomes_class_probabilities_with_background(self) -> None:
        scene = one_case(ANNOTATED, UNKNOWN, ANNOTATED)
        scene.prompt()

        probabilities, asked = scene.opinions.about([self.ADDRESS])

        assert probabilities.shape == (1, 3, SIDE, SIDE)
        assert asked.tolist() == [[True, False]]
        # the teacher sees exactly the bright square
        np.testing.assert_array_equal(probabilities[0].argmax(0), ANNOTATED)
        torch.testing.assert_close(probabilities.sum(1), torch.ones(1, SIDE, SIDE))

    def test_inside_it_is_certain_and_far_outside_it_is_certain_background(self) -> None:
        scene = one_case(ANNOTATED, UNKNOWN, ANNOTATED)
        scene.prompt()

        probabilities, _ = scene.opinions.about([self.ADDRESS])

        assert probabilities[0, :, 12, 14].tolist() == [0, 1, 0]
        assert probabilities[0, :, 25, 25].tolist() == [1, 0, 0]

    def test_what_lies_outside_the_box_is_not_found(self) -> None:
        everything_bright = np.ones((SIDE, SIDE), dtype=np.float32)
        scene = one_case(ANNOTATED, UNKNOWN, ANNOTATED, image=everything_bright)
        scene.prompt()

        probabilities, _ = scene.opinions.about([self.ADDRESS])

        # the box reaches one teacher's pixel, half a pixel of the slice, beyond the square
        found = probabilities[0, 1] > 0.5
        assert found[SQUARE].all()
        assert not found[:7].any()
        assert not found[17:].any()

    def test_a_slice_that_was_not_asked_about_is_background_and_says_so(self) -> None:
        scene = one_case(ANNOTATED, UNKNOWN)
        scene.prompt()

        probabilities, asked = scene.opinions.about([self.ADDRESS])

        assert not asked.any()
        assert (probabilities[0, 0] == 1).all()
        assert not probabilities[0, 1:].any()

    def test_two_structures_that_claim_one_voxel_share_it(self) -> None:
        both = slice_with((SQUARE, 1), (np.s_[16:24, 10:18], 2))
        inside = np.ones((SIDE, SIDE), dtype=np.float32)
        scene = one_case(both, UNKNOWN, both, image=inside)
        scene.prompt()

        probabilities, _ = scene.opinions.about([self.ADDRESS])

        # both boxes reach half a pixel over their common border between rows 15 and 16
        border = probabilities[0, :, 15:17, 14]
        assert (border[1] > 0).all()
        assert (border[2] > 0).all()
        torch.testing.assert_close(border.sum(0), torch.ones(2))

    def test_a_batch_is_answered_in_the_order_of_its_addresses(self) -> None:
        dark = np.zeros((SIDE, SIDE), dtype=np.float32)
        scene = Scene(([ANNOTATED, UNKNOWN, UNKNOWN, ANNOTATED], [BRIGHT, BRIGHT, dark, BRIGHT]))
        scene.prompt()

        batch, _ = scene.opinions.about([SliceAddress(0, 2), SliceAddress(0, 1), SliceAddress(0, 2)])

        assert (batch[:, 1] > 0.5).sum((1, 2)).tolist() == [0, 64, 0]

    def test_cases_keep_apart_and_smaller_ones_are_padded_with_background(self) -> None:
        small, unknown = slice_with((np.s_[2:10, 2:10], 1), rows=16, columns=16), UNKNOWN[:16, :16]
        small_bright = small.astype(np.float32)
        scene = Scene(
            ([ANNOTATED, UNKNOWN, ANNOTATED], [BRIGHT] * 3),
            ([small, unknown, small], [small_bright] * 3),
        )
        scene.prompt()

        probabilities, _ = scene.opinions.about([SliceAddress(1, 1), SliceAddress(0, 1)])

        expected = np.zeros((SIDE, SIDE))
        expected[2:10, 2:10] = 1
        np.testing.assert_array_equal(probabilities[0].argmax(0), expected)
        np.testing.assert_array_equal(probabilities[1].argmax(0), ANNOTATED)

    def test_kept_boxes_bring_back_the_same_answers(self) -> None:
        first, resumed = (one_case(ANNOTATED, UNKNOWN, ANNOTATED) for _ in range(2))
        first.prompt()

        resumed.opinions.ask(first.opinions.prompts, resumed.watch)

        before, after = (each.opinions.about([self.ADDRESS]) for each in (first, resumed))
        assert torch.equal(before[0], after[0])
        assert torch.equal(before[1], after[1])

    def test_the_teacher_is_asked_once_for_each_box(self) -> None:
        scene = one_case(ANNOTATED, UNKNOWN, UNKNOWN, ANNOTATED)
        scene.prompt()

        assert scene.teacher.boxes_asked == 2


class TestReliability:
    def test_a_class_is_worth_the_dice_that_the_teacher_reaches_on_its_annotated_slices(self) -> None:
        # bright are the left 6 of the square's 8 columns: 2 * 48 / (48 + 64) = 0.857143
        image = (slice_with((np.s_[8:16, 10:16], 1)) == 1).astype(np.float32)
        scene = one_case(ANNOTATED, UNKNOWN, ANNOTATED, image=image, class_count=2)

        scene.opinions.measure_reliability(scene.watch)

        assert scene.opinions.reliability.tolist() == pytest.approx([1, 0.857143], abs=1e-6)

    def test_it_is_the_mean_over_slices(self) -> None:
        half = (slice_with((np.s_[8:16, 10:14], 1)) == 1).astype(np.float32)
        scene = Scene(([ANNOTATED, ANNOTATED], [BRIGHT, half]), class_count=2)

        scene.opinions.measure_reliability(scene.watch)

        # 1 and 2 * 32 / (32 + 64) = 2/3
        assert scene.opinions.reliability[1].item() == pytest.approx(5 / 6, abs=1e-6)

    def test_every_class_is_scored_on_its_own(self) -> None:
        # structure 2 is dark: the teacher finds nothing of it
        both = slice_with((SQUARE, 1), (np.s_[20:30, 2:6], 2))
        scene = one_case(both, UNKNOWN, both)

        scene.opinions.measure_reliability(scene.watch)

        assert scene.opinions.reliability.tolist() == [1, 1, 0]

    def test_a_class_below_one_half_gets_no_vote_and_is_not_asked_about(self) -> None:
        # bright are 2 of 8 columns: 2 * 16 / (16 + 64) = 0.4
        image = (slice_with((np.s_[8:16, 10:12], 1)) == 1).astype(np.float32)
        scene = one_case(ANNOTATED, UNKNOWN, ANNOTATED, image=image, class_count=2)
        scene.opinions.measure_reliability(scene.watch)

        boxes = scene.prompt()

        assert scene.opinions.reliability[1] == 0
        assert np.isnan(boxes).all()

    def test_a_class_that_could_not_be_tried_is_believed(self) -> None:
        tiny = slice_with((np.s_[8:9, 10:13], 1))
        scene = one_case(tiny, UNKNOWN, class_count=2)

        scene.opinions.measure_reliability(scene.watch)

        assert scene.opinions.reliability.tolist() == [1, 1]
        assert scene.teacher.boxes_asked == 0

    def test_background_is_always_believed(self) -> None:
        scene = one_case(ANNOTATED, UNKNOWN, image=np.zeros((SIDE, SIDE), dtype=np.float32))

        scene.opinions.measure_reliability(scene.watch)

        assert scene.opinions.reliability[0] == 1


class TestWatching:
    def test_every_slice_is_announced_before_the_teacher_is_asked(self) -> None:
        scene = one_case(ANNOTATED, UNKNOWN, UNKNOWN, ANNOTATED)

        scene.opinions.measure_reliability(scene.watch)
        measured = scene.watched
        scene.prompt()

        assert measured == 2
        assert scene.watched - measured >= 2

    def test_the_work_can_be_stopped_between_slices(self) -> None:
        scene = one_case(ANNOTATED, *[UNKNOWN] * 8, ANNOTATED)
        calls = 0

        def stop_at_the_tenth() -> None:
            nonlocal calls
            calls += 1
            if calls == 10:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            scene.opinions.prompt(None, stop_at_the_tenth)

        # eight slices get their boxes first; the tenth call stands before the second question
        assert scene.teacher.boxes_asked == 1


class TestLargestComponent:
    def test_of_several_parts_the_largest_stays(self) -> None:
        mask = np.array([[1, 0, 0, 1, 1], [0, 0, 0, 1, 0], [1, 1, 0, 0, 0]], dtype=bool)

        assert largest_component(mask).astype(int).tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]

    def test_corners_do_not_connect(self) -> None:
        mask = np.array([[1, 1, 0], [0, 0, 1]], dtype=bool)

        assert largest_component(mask).astype(int).tolist() == [[1, 1, 0], [0, 0, 0]]

    @pytest.mark.parametrize("value", [False, True])
    def test_one_part_or_none_is_left_alone(self, *, value: bool) -> None:
        mask = np.full((2, 3), value)

        np.testing.assert_array_equal(largest_component(mask), mask)
