"""Tests of the card of a model: JSON out and in, and one sentence for what is no card."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_models import files_of, write_model

from uncol import __version__
from uncol.core.config import Config, DataConfig, StudentConfig
from uncol.core.errors import CheckpointError, ConfigError
from uncol.core.grey_values import GreyValues
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.core.model_folder import MODEL_FILE, WEIGHTS_FILE
from uncol.models.build import build_student
from uncol.models.card import Model
from uncol.models.checkpoints import load_model, save_model

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
        pytest.param({"grey_values": "HU"}, 'field "grey_values": one of hounsfield, arbitrary is needed', id="units"),
        pytest.param({"window": [1.0]}, 'field "window": a list of two numbers is needed', id="window"),
        pytest.param({"structures": [{"value": 0, "name": "x"}]}, "use 1 to 254", id="background as a structure"),
        pytest.param({"config": {"seed": "one"}}, 'field "config.seed": a whole number is needed', id="configuration"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_with_its_field(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        ModelCard.from_document(CARD.as_document() | change)


@pytest.mark.parametrize(
    ("window", "grey_values"),
    [([-160.0, 240.0], "hounsfield"), ([-985.0, 653.0], "hounsfield"), ([7.0, 109.0], "arbitrary")],
)
def test_a_card_of_before_tells_by_its_window_whether_it_is_of_ct(window: list[float], grey_values: str) -> None:
    document = CARD.as_document() | {"window": window}
    del document["grey_values"]

    assert ModelCard.from_document(document).grey_values == grey_values


@pytest.mark.parametrize(
    ("grey_values", "named", "is_fixed"),
    [("hounsfield", None, True), ("arbitrary", None, False), ("arbitrary", (0.0, 1.0), True)],
)
def test_a_window_is_fixed_in_hounsfield_units_and_where_it_was_named(
    grey_values: GreyValues, named: tuple[float, float] | None, is_fixed: bool
) -> None:
    config = replace(CARD.config, data=DataConfig(window=named))

    assert replace(CARD, grey_values=grey_values, config=config).has_fixed_window == is_fixed


def test_a_card_without_a_field_is_refused() -> None:
    document = CARD.as_document()
    del document["pixel_mm"]

    with pytest.raises(ConfigError, match=r'^The card lacks the field "pixel_mm"\.$'):
        ModelCard.from_document(document)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Return a function that writes a model whose card says what a test wants; its checksums are right."""
    save_model(Model(CARD, build_student(CARD)), tmp_path / "model")
    document = json.loads((tmp_path / "model" / MODEL_FILE).read_text(encoding="utf-8"))
    weights = (tmp_path / "model" / WEIGHTS_FILE).read_bytes()

    def write_changed(change: dict[str, Any]) -> Path:
        write_model(tmp_path / "changed", files_of(document | change, weights))
        return tmp_path / "changed"

    return write_changed


NEWER = [
    pytest.param({"format": 2}, id="format"),
    pytest.param({"config": {"student": {"attention": True}}}, id="a setting more"),
    pytest.param({"config": {"calibration": {"temperature": 1.5}}}, id="a section more"),
    pytest.param({"config": {"student": {"kind": "mamba"}}}, id="another kind of student"),
    pytest.param({"plane": "oblique"}, id="another choice"),
]


@pytest.mark.parametrize("change", NEWER)
def test_a_newer_model_says_so_and_what_to_do(write: Callable[..., Path], change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError) as told:
        load_model(write({**change, "uncol": "7.1.0"}))

    assert f"was made by UnCoL 7.1.0, this is {__version__}: update UnCoL to use it (" in str(told.value)
    assert "fine-tune it anew" not in str(told.value)


@pytest.mark.parametrize("change", NEWER)
def test_a_model_of_a_newer_build_of_the_same_version_speaks_of_an_update(
    write: Callable[..., Path], change: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointError, match=r"[Uu]pdate"):
        load_model(write(change))


def test_a_newer_model_that_is_understood_works(write: Callable[..., Path]) -> None:
    training = CARD.training | {"calibration": 0.9}

    assert load_model(write({"uncol": "7.1.0", "modality": "CT", "training": training})).card.training == training
