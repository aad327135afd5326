"""Tests of the card of a model: JSON out and in, and one sentence for what is no card."""

from __future__ import annotations

import json
from typing import Any

import pytest

from uncol.core.config import Config, StudentConfig
from uncol.core.errors import ConfigError
from uncol.core.jobs import Structure
from uncol.models.card import ModelCard

CARD = ModelCard(
    structures=(Structure(7, "liver"), Structure(3, "spleen")),
    plane="coronal",
    pixel_mm=0.78125,
    slice_mm=2.5,
    window=(-160.0, 240.0),
    config=Config(seed=5, student=StudentConfig(channels=(2, 2, 2, 2, 2))),
    training={"steps": 20, "curve": [{"step": 10, "supervised": None}]},
    is_connected=(True, False),
)


def test_background_is_a_class() -> None:
    assert CARD.class_count == 3


def test_a_card_survives_json() -> None:
    assert ModelCard.from_document(json.loads(json.dumps(CARD.as_document()))) == CARD


def test_what_other_versions_say_beside_and_what_they_said_about_training_is_passed_over() -> None:
    document = CARD.as_document() | {"added_later": 1}
    document["config"]["teachers"]["relative_reliability"] = True

    assert ModelCard.from_document(document) == CARD


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param({"plane": "oblique"}, 'field "plane": one of axial, coronal, sagittal is needed', id="plane"),
        pytest.param({"window": [1.0]}, 'field "window": a list of two numbers is needed', id="window"),
        pytest.param({"structures": [{"value": 0, "name": "x"}]}, "use 1 to 254", id="background as a structure"),
        pytest.param({"config": {"seed": "one"}}, 'field "config.seed": a whole number is needed', id="configuration"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_with_its_field(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        ModelCard.from_document(CARD.as_document() | change)


def test_a_card_without_a_field_is_refused() -> None:
    document = CARD.as_document()
    del document["pixel_mm"]

    with pytest.raises(ConfigError, match=r'^The card lacks the field "pixel_mm"\.$'):
        ModelCard.from_document(document)
