"""The table of equations in docs/method.md names functions that exist, and tests that name these functions."""

from __future__ import annotations

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).resolve().parents[2]


def equation_rows() -> list[tuple[str, str]]:
    """Return the functions and the tests of each equation, as they are written."""
    page = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    _, _, *rows = page.split("## Equations")[1].strip().split("\n\n")[0].splitlines()
    cells = [row.strip("| ").split(" | ") for row in rows]
    return [(functions, tests) for _, functions, tests in cells]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize(("functions", "tests"), equation_rows())
def test_an_equation_has_functions_that_exist_and_tests_that_name_them(functions: str, tests: str) -> None:
    texts = [(ROOT / "Testing" / "engine" / path).read_text(encoding="utf-8") for path in quoted(tests)]

    assert quoted(functions)
    for name in quoted(functions):
        assert resolve_name(f"uncol.{name}") is not None
        assert any(re.search(rf"\b{name.split('.')[-1]}\b", text) for text in texts), f"No test of {name} in {tests}."
