"""The page on security names a test for every promise, and each of these is there."""

from __future__ import annotations

import re
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
def test_the_tests_of_a_promise_exist(promise: str, tests: str) -> None:
    text = ""
    for named in re.findall(r"`([^`]+)`", tests):
        if named.endswith(".py"):
            path = ROOT / named if named.startswith("Testing/") else ROOT / "Testing" / "engine" / named
            text = path.read_text(encoding="utf-8")
        elif not named.startswith("make "):
            assert re.search(rf"^\s*(class|def) {named}\b", text, flags=re.MULTILINE), (promise, named)
    assert text, promise
