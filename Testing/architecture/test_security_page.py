"""The page on security names a test for every promise, the review of faults one for every finding: all are there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line][1:]
PROMISES = re.findall(r"^- \*\*(.+?)\.\*\*", PAGE, flags=re.MULTILINE)


def test_every_promise_has_its_row() -> None:
    assert len(PROMISES) > 9
    assert sorted(PROMISES) == sorted(first for first, *_ in ROWS)


@pytest.mark.parametrize(("promise", "tests"), ROWS, ids=[first for first, *_ in ROWS])
def test_the_tests_of_a_promise_exist(promise: str, tests: str, is_test: Callable[[str], bool]) -> None:
    named = [each for each in re.findall(r"`([^`]+)`", tests) if not each.startswith("make ")]

    assert named, promise
    assert [each for each in named if not is_test(each)] == []


REVIEW = (ROOT / "docs" / "fault-review.md").read_text(encoding="utf-8")
FINDINGS = [line.strip("| ").split(" | ") for line in REVIEW.splitlines() if re.match(r"\| F\d+ ", line)]


def test_the_review_tells_of_every_finding() -> None:
    assert [number for number, *_ in FINDINGS] == [f"F{number}" for number in range(1, 26)]


@pytest.mark.parametrize("row", FINDINGS, ids=[number for number, *_ in FINDINGS])
def test_the_tests_of_a_finding_exist(row: list[str], is_test: Callable[[str], bool]) -> None:
    *_, tests = row
    named = re.findall(r"`([^`]+)`", tests)

    assert named
    assert [each for each in named if not is_test(each)] == []


@pytest.mark.parametrize(
    ("named", "is_there"),
    [
        ("test_core.py", True),
        ("test_core.py::TestCards", True),
        ("test_core.py::TestMutated::test_cards", True),
        ("Testing/architecture/test_size.py", True),
        ("test_nowhere.py", False),
        ("given.py", False),  # no tests
        ("test_core.py::test_cards", False),  # of a class
        ("test_core.py::TestCards::test_cards", False),  # of another one
        ("test_core.py::refused", False),  # no test
        ("test_cli.py::TestCards", False),  # of another file
    ],
)
def test_a_test_is_looked_for_in_its_file_and_class_alone(
    named: str, is_there: bool, is_test: Callable[[str], bool]
) -> None:
    assert is_test(named) is is_there
