"""Tests of what stage 1 does not learn from: whole cases, or single slices."""

from __future__ import annotations

import numpy as np
import torch

from uncol.core.volume import UNKNOWN_LABEL, SliceView
from uncol.data.cases import FramedCase, SliceIndex
from uncol.data.holdout import held_out_cases, held_out_slices
from uncol.data.slice_dataset import SliceDataset

AXIAL = SliceView("axial", (0, 1, 2), (False, False, False), (3.0, 1.0, 1.0))
U = UNKNOWN_LABEL


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def stack_of(*values: int) -> FramedCase:
    """A stack with one label value for each slice."""
    labels = np.broadcast_to(np.array(values, dtype=np.uint8)[:, None, None], (len(values), 2, 2)).copy()
    return FramedCase(AXIAL, torch.zeros(labels.shape), torch.from_numpy(labels), labels)


def at(case: int, *indices: int) -> list[SliceIndex]:
    return [SliceIndex(case, index) for index in indices]


def test_of_cases_annotated_as_a_whole_one_in_eight_is_held_out_with_the_slices_that_hold_a_structure() -> None:
    stacks = [*[stack_of(0, 1, 1, 0)] * 10, stack_of(U, U)]

    assert held_out_cases(stacks) == [1, 9]
    assert held_out_slices(stacks) == [*at(1, 1, 2), *at(9, 1, 2)]


def test_of_two_whole_cases_none_is_held_out_but_some_of_their_inner_slices() -> None:
    stacks = [stack_of(0, 1, 1, 1, 1, 1, 0)] * 2 + [stack_of(U, U)]

    assert held_out_cases(stacks) == []
    # Inner slices that hold the structure are 1 to 5 of both cases; of these ten the second and the tenth.
    assert held_out_slices(stacks) == [*at(0, 2), *at(1, 5)]


def test_beside_a_case_with_few_annotated_slices_single_slices_are_held_out() -> None:
    stacks = [*[stack_of(1, 1, 1)] * 8, stack_of(U, 1, U)]

    assert held_out_slices(stacks) == at(1, 1)


def test_the_only_case_that_shows_a_structure_is_not_held_out() -> None:
    assert held_out_cases([stack_of(1), stack_of(1, 2), stack_of(1)]) == []
    assert held_out_cases([stack_of(1), stack_of(1, 2), stack_of(2)]) == [1]


def test_the_only_slice_that_shows_a_structure_is_not_held_out() -> None:
    # Inner slices: 1 to 10; the second and the tenth are candidates, the second alone shows structure 2.
    assert held_out_slices([stack_of(1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, U)]) == at(0, 10)


def test_of_two_candidates_that_alone_show_a_structure_one_is_held_out() -> None:
    # Inner slices: 1 to 10; the second and the tenth show structure 2, nothing else does.
    assert held_out_slices([stack_of(1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 2, 1, U)]) == at(0, 2)


def test_too_few_inner_slices_are_all_learned_from() -> None:
    assert held_out_slices([stack_of(1, 1, 1, 1, 1, 1, 1, 1, 1, U)]) == []  # seven between the first and the last
    assert held_out_slices([stack_of(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, U)]) == at(0, 2)


def test_the_slice_pool_draws_no_structure_of_a_held_out_case_until_it_is_released() -> None:
    pool = SliceDataset([*[stack_of(0, 1)] * 3, stack_of(U, U)], 2, 1, 1)

    assert set(pool.draw_labeled(100, seeded())) == {*at(0, 0, 1), *at(1, 0), *at(2, 0, 1)}
    pool.release_held_out()
    assert set(pool.draw_labeled(100, seeded())) == {*at(0, 0, 1), *at(1, 0, 1), *at(2, 0, 1)}


def test_what_a_model_before_has_seen_is_not_held_out_and_as_many_others_are() -> None:
    stack = [stack_of(*[1] * 18, U)]
    assert held_out_slices(stack) == at(0, 2, 10)  # inner slices: 1 to 16

    # New ones are 5, 9, 12 and 15: the second, and the last one of those that follow as far apart as they allow.
    assert held_out_slices(stack, {*at(0, 0, 1, 2, 3, 4, 6, 7, 8, 10, 11, 13, 14, 16, 17)}) == at(0, 9, 15)
    assert held_out_slices(stack, {*at(0, *range(15), 16, 17)}) == at(0, 15)
    assert held_out_slices(stack, {*at(0, *range(18))}) == []


def test_new_slices_are_spared_only_where_there_are_enough_slices_at_all() -> None:
    assert held_out_slices([stack_of(*[1] * 9, U)], {*at(0, 0, 1, 2)}) == []
    assert held_out_slices([stack_of(*[1] * 10, U)], {*at(0, 0, 1, 2)}) == at(0, 4)


def test_a_case_of_which_a_model_before_has_seen_a_slice_is_not_held_out() -> None:
    stacks = [stack_of(0, 1, 1, 0)] * 4 + [stack_of(U, U)]

    assert held_out_cases(stacks, {*at(1, 2)}) == [2]
    assert held_out_cases(stacks, {*at(0, 0), *at(1, 0), *at(2, 0), *at(3, 3)}) == []
