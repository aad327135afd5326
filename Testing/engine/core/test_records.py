"""Tests of the reader and the writer of JSON objects: every kind of field, and a sentence for everything wrong."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from uncol.core.errors import ConfigError
from uncol.core.records import from_document, to_document


@dataclass(frozen=True)
class Point:
    index: tuple[int, int, int]
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight < 0:
            message = f"weight must not be negative, got {self.weight}."
            raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class Everything:
    name: str
    note: str = ""
    count: int = 0
    flag: bool = False
    rate: float | None = None
    who: int | str = 0
    side: Literal["left", "right"] = "left"
    version: Literal[1, 2] = 1
    file: Path | None = None
    first: Point = Point((0, 0, 0))
    points: tuple[Point, ...] = ()
    pairs: tuple[tuple[float, float], ...] = ()
    mixed: tuple[str, int] = ("a", 1)
    by_name: dict[str, float] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)


FULL = Everything(
    name="a",
    note="b",
    count=3,
    flag=True,
    rate=0.5,
    who="c",
    side="right",
    version=2,
    file=Path("folder/file.json"),
    first=Point((1, 2, 3), 2.0),
    points=(Point((0, 0, 1)), Point((0, 1, 0))),
    pairs=((1.0, 0.5), (2.0, 0.25)),
    mixed=("z", 9),
    by_name={"dice": 0.75},
    record={"curve": [{"step": 1, "loss": None}]},
)


@pytest.mark.parametrize("record", [pytest.param(Everything(name="a"), id="defaults"), pytest.param(FULL, id="full")])
def test_what_is_written_is_json_and_is_read_as_the_same_record(record: Everything) -> None:
    document = json.loads(json.dumps(to_document(record)))

    assert document == to_document(record)
    assert from_document(Everything, document, "Record") == record


def test_a_document_holds_lists_and_objects_and_paths_as_texts() -> None:
    document = to_document(FULL)

    assert document["points"] == [{"index": [0, 0, 1], "weight": 1.0}, {"index": [0, 1, 0], "weight": 1.0}]
    assert document["file"] == str(Path("folder/file.json"))


def test_a_whole_number_stands_for_a_number_and_becomes_one() -> None:
    record = from_document(Everything, {"name": "a", "rate": 2, "pairs": [[1, 2]], "by_name": {"x": 3}}, "Record")

    assert [type(each) for each in (record.rate, *record.pairs[0], record.by_name["x"])] == [float] * 4


def test_an_empty_text_is_taken_where_it_is_the_default() -> None:
    assert from_document(Everything, {"name": "a", "note": ""}, "Record").note == ""


def test_former_fields_are_passed_over_where_they_stood_and_nowhere_else() -> None:
    document = {"name": "a", "old": 1, "first": {"index": [0, 0, 0], "old": 2}}

    assert from_document(Everything, document, "Record", ["old", "first.old"]) == Everything(name="a")
    with pytest.raises(
        ConfigError, match=r'^Record, field "first" has no field "old"\. Known fields: index, weight\.$'
    ):
        from_document(Everything, document, "Record", ["old"])


WRONG: list[Any] = [
    pytest.param([], "Record must be a JSON object, got [].", id="a list"),
    pytest.param({}, 'Record lacks the field "name".', id="missing"),
    pytest.param({"name": "a", "points": [{}]}, 'Record, field "points" lacks the field "index".', id="missing inside"),
    pytest.param({"name": "a", "first": 5}, 'Record, field "first" must be a JSON object, got 5.', id="no record"),
    pytest.param({"name": ""}, 'Record, field "name": a text is needed, got "".', id="empty text"),
    pytest.param({"name": "a\0"}, 'Record, field "name": a text is needed, got "a\\u0000".', id="a zero in a text"),
    pytest.param({"name": None}, 'Record, field "name": a text is needed, got null.', id="no text"),
    pytest.param({"name": "a", "count": True}, "a whole number is needed, got true.", id="a flag is no whole number"),
    pytest.param({"name": "a", "count": 1.0}, "a whole number is needed, got 1.0.", id="no whole number"),
    pytest.param({"name": "a", "flag": 1}, "true or false is needed, got 1.", id="no flag"),
    pytest.param({"name": "a", "rate": False}, "a number is needed, got false.", id="a flag is no number"),
    pytest.param({"name": "a", "rate": float("nan")}, "a number is needed, got NaN.", id="not finite"),
    pytest.param({"name": "a", "rate": 10**400}, "a number is needed, got 1000", id="too large"),
    pytest.param({"name": "a", "who": []}, 'Record, field "who": a text is needed, got [].', id="none of two kinds"),
    pytest.param({"name": "a", "side": "top"}, 'one of left, right is needed, got "top".', id="no choice"),
    pytest.param({"name": "a", "version": True}, "one of 1, 2 is needed, got true.", id="a flag is no choice"),
    pytest.param({"name": "a", "file": 3}, 'Record, field "file": a text is needed, got 3.', id="no path"),
    pytest.param({"name": "a", "points": {}}, 'Record, field "points": a list is needed, got {}.', id="no list"),
    pytest.param(
        {"name": "a", "points": [{"index": [1, 2]}]},
        'Record, field "points.index": a list of three whole numbers is needed, got [1, 2].',
        id="too short",
    ),
    pytest.param({"name": "a", "pairs": [[1]]}, "a list of two numbers is needed, got [1].", id="too short, inside"),
    pytest.param({"name": "a", "by_name": []}, "a JSON object is needed, got [].", id="no object"),
    pytest.param(
        {"name": "a", "by_name": {"x": "y"}}, 'Record, field "by_name.x": a number is needed', id="a value inside"
    ),
    pytest.param({"name": "a", "first": {"index": [0, 0, 0], "weight": -1}}, "weight must not be negative", id="rule"),
    pytest.param({"name": "x" * 200, "count": "y" * 200}, 'needed, got "' + "y" * 79 + ".", id="long values are cut"),
]


@pytest.mark.parametrize(("document", "sentence"), WRONG)
def test_what_does_not_fit_is_refused_with_its_field_and_value(document: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        from_document(Everything, document, "Record")
