"""Tests of the configuration: defaults that hold together, JSON in and out, and a message for every rule."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from uncol.core.config import (
    BudgetConfig,
    Config,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    StudentConfig,
    TeacherConfig,
    read_config,
)
from uncol.core.errors import ConfigError

OTHER_CONFIG = Config(
    seed=7,
    data=DataConfig(max_side_vox=128, neighbor_count=5, window=(-160.0, 240.0), mirror=True),
    student=StudentConfig(channels=(8, 16, 24, 32, 40), dropout=0.2),
    teachers=TeacherConfig(generalized=False, ema_decay=0.9, threshold_start=0.5, threshold_end=0.5, prompt_rounds=1),
    losses=LossConfig(pseudo_label_weight=0.0, class_weight_cap=1.0, copy_paste_side=0.5),
    optimizer=OptimizerConfig(learning_rate=1e-4, batch_size=1),
    budget=BudgetConfig(minutes=None, steps=20, stage1_part=1.0),
)


@pytest.mark.parametrize("config", [pytest.param(Config(), id="defaults"), pytest.param(OTHER_CONFIG, id="other")])
def test_document_survives_json_and_builds_the_same_configuration(config: Config) -> None:
    document = json.loads(json.dumps(config.as_document()))

    assert document == config.as_document()
    assert Config.from_document(document) == config


def test_document_names_every_field_of_every_part() -> None:
    document = Config().as_document()

    assert document["seed"] == 0
    assert document["teachers"]["ema_decay"] == 0.99
    assert document["student"]["channels"] == [16, 32, 64, 96, 128]
    assert document["budget"] == {"minutes": 5.0, "steps": None, "stage1_part": 0.5, "checkpoint_s": 30.0}


def test_fields_left_out_keep_their_defaults() -> None:
    config = Config.from_document({"seed": 3, "teachers": {"ema_decay": 0.5}})

    assert config == Config(seed=3, teachers=TeacherConfig(ema_decay=0.5))


def test_configuration_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(OTHER_CONFIG.as_document()), encoding="utf-8")

    assert read_config(path) == OTHER_CONFIG


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="no file"),
        pytest.param(b"seed: 1", id="no JSON"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
    ],
)
def test_unreadable_file_is_refused_with_its_path(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "run.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(
        ConfigError, match=rf'^Configuration "{re.escape(str(path))}" could not be read \(.*JSON file\.$'
    ):
        read_config(path)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param(
            {"sed": 1},
            'Configuration has no field "sed". '
            "Known fields: seed, method, ablations, data, student, teachers, losses, optimizer, budget.",
            id="at the top",
        ),
        pytest.param(
            {"student": {"channels": [1, 2, 3, 4, 5], "depth": 4}},
            'Configuration, field "student" has no field "depth". Known fields: dims, kind, channels, dropout.',
            id="in a part",
        ),
    ],
)
def test_unknown_key_is_refused_with_the_known_ones(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Config.from_document(document)


def test_a_field_that_models_of_earlier_versions_still_hold_is_passed_over() -> None:
    assert Config.from_document({"teachers": {"relative_reliability": True, "prompt_rounds": 2}}) == Config(
        teachers=TeacherConfig(prompt_rounds=2)
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param([], r"^Configuration must be a JSON object, got \[\]\.$", id="list at the top"),
        pytest.param(
            {"data": 5}, r'^Configuration, field "data" must be a JSON object, got 5\.$', id="number for a part"
        ),
        pytest.param(
            {"seed": 2**63}, r"^seed must be at least 0 and less than 2\^63, got 9223372036854775808\.$", id="seed"
        ),
        pytest.param({"seed": -1}, r"^seed must be at least 0 and less than 2\^63, got -1\.$", id="negative seed"),
        pytest.param(
            {"data": {"max_side_vox": "large"}},
            r'^Configuration, field "data.max_side_vox": a whole number is needed, got "large"\.$',
            id="word for a number",
        ),
        pytest.param(
            {"student": {"channels": 5}},
            r'^Configuration, field "student.channels": a list is needed, got 5\.$',
            id="number for a list",
        ),
    ],
)
def test_value_of_the_wrong_type_is_refused_with_its_place(document: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.from_document(document)


OUT_OF_RANGE = [
    ("data", {"max_side_vox": 31}, "data.max_side_vox must be at least 32, got 31."),
    ("data", {"neighbor_count": 0}, "data.neighbor_count must be odd, got 0."),
    ("data", {"neighbor_count": 4}, "data.neighbor_count must be odd, got 4."),
    ("data", {"neighbor_count": -1}, "data.neighbor_count must be odd, got -1."),
    ("data", {"window": [240, -160]}, "data.window must be LOW HIGH with LOW < HIGH, got (240.0, -160.0)."),
    ("data", {"window": [40, 40]}, "data.window must be LOW HIGH with LOW < HIGH, got (40.0, 40.0)."),
    ("student", {"channels": [16, 32]}, "student.channels needs five positive numbers, got (16, 32)."),
    ("student", {"channels": [8, 8, 8, 8, 0]}, "student.channels needs five positive numbers, got (8, 8, 8, 8, 0)."),
    ("student", {"dropout": 1.0}, "student.dropout must be in [0, 1), got 1.0."),
    ("student", {"dropout": -0.1}, "student.dropout must be in [0, 1), got -0.1."),
    ("teachers", {"ema_decay": 1.5}, "teachers.ema_decay must be in [0, 1), got 1.5."),
    ("teachers", {"ema_decay": 1.0}, "teachers.ema_decay must be in [0, 1), got 1.0."),
    ("teachers", {"ema_decay": -0.5}, "teachers.ema_decay must be in [0, 1), got -0.5."),
    (
        "teachers",
        {"threshold_start": 0.0},
        "teachers.threshold_start must be in (0, threshold_end], threshold_end in (0, 1], got (0.0, 1.0).",
    ),
    (
        "teachers",
        {"threshold_start": 0.9, "threshold_end": 0.8},
        "teachers.threshold_start must be in (0, threshold_end], threshold_end in (0, 1], got (0.9, 0.8).",
    ),
    (
        "teachers",
        {"threshold_end": 1.1},
        "teachers.threshold_start must be in (0, threshold_end], threshold_end in (0, 1], got (0.75, 1.1).",
    ),
    ("teachers", {"prompt_rounds": 0}, "teachers.prompt_rounds must be at least 1, got 0."),
    ("losses", {"pseudo_label_weight": -0.5}, "losses.pseudo_label_weight must not be negative, got -0.5."),
    ("losses", {"class_weight_cap": 0.5}, "losses.class_weight_cap must be at least 1, got 0.5."),
    ("losses", {"copy_paste_side": 0.0}, "losses.copy_paste_side must be in (0, 1), got 0.0."),
    ("losses", {"copy_paste_side": 1.0}, "losses.copy_paste_side must be in (0, 1), got 1.0."),
    ("optimizer", {"learning_rate": 0.0}, "optimizer.learning_rate must be above 0, got 0.0."),
    ("optimizer", {"batch_size": 0}, "optimizer.batch_size must be at least 1, got 0."),
    ("budget", {"minutes": None}, "Give either --minutes or --steps, got (None, None)."),
    ("budget", {"minutes": 5.0, "steps": 20}, "Give either --minutes or --steps, got (5.0, 20)."),
    ("budget", {"minutes": 0}, "--minutes must be above 0, got 0.0."),
    ("budget", {"minutes": None, "steps": -20}, "--steps must be above 0, got -20."),
    (
        "data",
        {"patch_vox": [48, 60, 48]},
        "data.patch_vox needs three multiples of 16, at least one of them above 16, got (48, 60, 48).",
    ),
    (
        "data",
        {"patch_vox": [16, 16, 16]},
        "data.patch_vox needs three multiples of 16, at least one of them above 16, got (16, 16, 16).",
    ),
    ("data", {"voxel_mm": 0.0}, "data.voxel_mm must be above 0, got 0.0."),
    ("student", {"dims": 4}, "student.dims must be 2 or 3, got 4."),
    ("student", {"kind": "vit"}, "student.kind must be one of unet, paper, paper-small, got vit."),
    ("teachers", {"most_slices_asked": 0}, "teachers.most_slices_asked must be at least 1, got 0."),
    ("losses", {"consistency_weight": -1.0}, "losses.consistency_weight must not be negative, got -1.0."),
    ("budget", {"stage1_part": -0.5}, "budget.stage1_part must be in [0, 1], got -0.5."),
    ("budget", {"stage1_part": 1.5}, "budget.stage1_part must be in [0, 1], got 1.5."),
]


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [pytest.param(*row, id=f"{row[0]} {json.dumps(row[1])}") for row in OUT_OF_RANGE],
)
def test_value_out_of_its_range_is_refused_with_rule_and_value(part: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Config.from_document({part: fields})


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        pytest.param("data", {"max_side_vox": 32, "neighbor_count": 1}, id="smallest input"),
        pytest.param("student", {"dropout": 0.0}, id="no dropout"),
        pytest.param("teachers", {"ema_decay": 0.0}, id="specialized teacher copies the student"),
        pytest.param("teachers", {"threshold_start": 1.0, "threshold_end": 1.0}, id="gate always open"),
        pytest.param("losses", {"pseudo_label_weight": 0.0, "class_weight_cap": 1.0}, id="no pseudo-labels"),
        pytest.param("budget", {"stage1_part": 1.0}, id="stage 1 only"),
    ],
)
def test_ends_of_the_ranges_are_taken(part: str, fields: dict[str, Any]) -> None:
    document = Config.from_document({part: fields}).as_document()

    assert fields.items() <= document[part].items()
