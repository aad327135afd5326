"""Tests of the time that prompting still takes, on slices whose looks and prompts take what a clock by hand says."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import ThresholdTeacher

from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.prompting import SlicePredictor
from uncol.foundation.prompting_time import PromptingTime

SIDE = 32
BOX = np.array([[4, 4, 20, 20]], dtype=np.float32)


@pytest.fixture
def predictor() -> SlicePredictor:
    stack = np.random.default_rng(0).random((6, SIDE, SIDE)).astype(np.float32)
    return SlicePredictor(stack, (1.0, 1.0), (0.0, 1.0), ThresholdTeacher(SIDE), EmbeddingCache(None))


def test_a_slice_is_looked_at_for_the_first_time_once_and_every_prompt_counts(predictor: SlicePredictor) -> None:
    for index in (2, 2, 3):
        predictor.predict(index, BOX)

    assert set(predictor.first_looks_s) == {2, 3}
    assert min(predictor.first_looks_s.values()) > 0
    assert predictor.prompts == 3


def test_first_looks_and_prompts_are_told_apart(predictor: SlicePredictor) -> None:
    now = 0.0
    left = PromptingTime([predictor], lambda: now)
    left.expect(4, 20)
    assert left.seconds_left() is None

    predictor.first_looks_s[0], predictor.prompts, now = 3.0, 2, 3.0 + 2 * 0.5
    assert left.seconds_left() == pytest.approx(3 * 3.0 + 18 * 0.5)

    predictor.prompts, now = 12, now + 10 * 0.5
    assert left.seconds_left() == pytest.approx(3 * 3.0 + 8 * 0.5)
    assert left.prompt_s == pytest.approx(0.5)


def test_more_than_was_expected_is_not_told_as_less_than_nothing(predictor: SlicePredictor) -> None:
    left = PromptingTime([predictor])
    left.expect(0, 1)
    for index in range(3):
        predictor.predict(index, BOX)

    assert left.seconds_left() == 0.0
    left.expect(0, 3)
    assert left.seconds_left() == pytest.approx(3 * left.prompt_s)
