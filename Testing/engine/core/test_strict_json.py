"""JSON that a program can go on with, and one short reason for what it cannot."""

from __future__ import annotations

import json

import pytest

from uncol.core.strict_json import read_json


@pytest.mark.parametrize("value", [None, True, 2**63 - 1, -0.5, 1e308, "über", [[], {}], {"a": {"b": [1, "c"]}}])
def test_what_is_plain_comes_back(value: object) -> None:
    assert read_json(json.dumps(value)) == value
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", r"the number NaN, which cannot be used"),
        ("[-Infinity]", r"the number -Infinity"),
        ("1e400", r"the number 1e400"),
        ("-1e400", r"the number -1e400"),
        ("9" * 21, r"the number 99999999999999999999, "),
        ('{"a": ' + "9" * 5000 + "}", r"the number 9{20}, "),
        ("[" * 41 + "]" * 41, r"nested more than 40 levels deep"),
        ("[" * 100_000 + "]" * 100_000, r"nested more than 40 levels deep"),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, r"nested more than 40 levels deep"),
        ('["\\ud800"]', r"surrogates not allowed"),
        ('{"\\udfff": 1}', r"surrogates not allowed"),
        ("", r"Expecting value"),
        (b"\xff\xfe\xff", r"codec can't decode"),
    ],
)
def test_what_is_not_is_a_short_value_error(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as told:
        read_json(text)
    assert len(str(told.value)) < 200


def test_forty_levels_are_enough() -> None:
    assert read_json("[" * 40 + "]" * 40)
