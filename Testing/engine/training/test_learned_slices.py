"""Which slices count as learned from: recognized in whatever order and type their voxels come, base models included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from given import BALL, a_ball, a_setup, annotated_in

from uncol.core.learned_slices import read_hashes
from uncol.core.model_card import ModelCard
from uncol.core.volume import Volume
from uncol.data.cases import LabeledCase
from uncol.models.build import build_student
from uncol.models.card import Model
from uncol.training.learned_slices import record_learned, seen_slices
from uncol.training.setup import card_for, frame_cases
from uncol.training.state import FineTuneSetup


def framed(setup: FineTuneSetup) -> list[Any]:
    return frame_cases(setup, card_for(setup))[0]


def model_that_learned(record: str) -> Model:
    setup = a_setup([annotated_in(a_ball())])
    card: ModelCard = replace(card_for(setup), learned_slices=record)
    return Model(card, build_student(card))


def learned(*slices: int, **choices: Any) -> str:
    setup = a_setup([annotated_in(a_ball(), slices)], **choices)
    return record_learned(setup, framed(setup))


def seen(case: LabeledCase, **models: Model) -> set[int]:
    setup = replace(a_setup([case]), **models)
    found = seen_slices(setup, framed(setup))
    assert {each.case for each in found} <= {0}
    return {each.index for each in found}


def test_slices_that_the_base_or_the_earlier_model_learned_from_are_recognized() -> None:
    now = annotated_in(a_ball(), (0, 3, 4, 6, 9))

    assert seen(now) == set()
    assert seen(now, earlier=model_that_learned(learned(3, 5, 6))) == {3, 6}
    assert seen(now, base=model_that_learned(learned(4)), earlier=model_that_learned(learned(3))) == {3, 4}
    assert seen(now, earlier=model_that_learned("")) == set()
    assert seen(annotated_in(a_ball(seed=1), (0, 3)), earlier=model_that_learned(learned(0, 3))) == set()


@pytest.mark.parametrize("dims", [2, 3])
def test_a_slice_is_the_same_in_another_orientation_and_type_and_partly_annotated(dims: int) -> None:
    case = annotated_in(a_ball(), (2, 5))
    flipped = np.diag([1.0, 1.0, -2.0, 1.0])
    flipped[:3, 3] = (-31, -23, 22)  # the last voxel's place of the first grid
    image = Volume(case.image.voxels[::-1, ::-1, ::-1].astype(np.float32), flipped)
    labels = np.full(image.shape_kji, 255, dtype=np.uint8)
    labels[11 - 5, 3:6] = 0
    labels[11 - 7, 12, 15] = 3
    setup = a_setup([LabeledCase(image, Volume(labels, flipped))], dims=dims)

    record = record_learned(setup, framed(setup))

    assert read_hashes(record) is not None
    assert len(read_hashes(record) & read_hashes(learned(2, 5))) == 1
    assert seen(case, earlier=model_that_learned(record)) == {5}


def test_what_the_base_learned_from_is_in_the_record_and_what_it_does_not_say_leaves_none() -> None:
    both = learned(3, base=model_that_learned(learned(8)))

    assert read_hashes(both) == read_hashes(learned(3, 8))
    assert learned(3, base=model_that_learned("")) == ""


def test_unlabeled_images_are_not_learned_from_and_the_structures_do_not_matter() -> None:
    setup = a_setup([annotated_in(a_ball(), (4,))], unlabeled=[a_ball(seed=3).image])

    assert record_learned(setup, framed(setup)) == learned(4, structures=(replace(BALL, name="x"),))
    assert seen_slices(setup, framed(setup)) == set()
