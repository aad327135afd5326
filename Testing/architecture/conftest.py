"""How the lists of the extension are read."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

TESTING = Path(__file__).resolve().parents[1]
MODULE_LISTS = Path(__file__).resolve().parents[2] / "UnCoLSegment" / "CMakeLists.txt"


@pytest.fixture(scope="session")
def cmake_values() -> Callable[[Path, str], list[str]]:
    """Return a function that reads the values of `set(NAME VALUE...)` in a CMake file, without comments and quotes."""
    return _values


@pytest.fixture(scope="session")
def listed_files() -> list[str]:
    """Every file that CMake installs of the module, relative to its folder."""
    listed = [*_values(MODULE_LISTS, "MODULE_PYTHON_SCRIPTS"), *_values(MODULE_LISTS, "MODULE_PYTHON_RESOURCES")]
    return [each.replace("${MODULE_NAME}", "UnCoLSegment") for each in listed]


@pytest.fixture(scope="session")
def is_test() -> Callable[[str], bool]:
    """Return a function that says whether a test is there: `FILE`, `FILE::test_x`, `FILE::TestX` or `::TestX::test_x`.

    Files lie in `Testing/engine` where nothing else is said.
    """
    return _is_test


def _is_test(named: str) -> bool:
    file, *names = named.split("::")
    path = TESTING.parent / file if file.startswith("Testing/") else TESTING / "engine" / file
    if not path.is_file():
        return False
    inside: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for name in names or [""]:
        found = [each for each in inside if isinstance(each, ast.ClassDef | ast.FunctionDef) and _fits(each, name)]
        if not found:
            return False
        inside = [part for each in found for part in each.body]
    return True


def _fits(definition: ast.ClassDef | ast.FunctionDef, name: str) -> bool:
    """Say whether it is the test or class of tests of that name, or any for no name."""
    kind = "Test" if isinstance(definition, ast.ClassDef) else "test_"
    return definition.name.startswith(kind) and name in ("", definition.name)


def _values(path: Path, name: str) -> list[str]:
    text = re.sub(r"^\s*#.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = re.search(rf"set\({name}\s+([^)]*)\)", text)
    assert found is not None, f"{path.name} does not set {name}"
    return [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|(\S+)', found.group(1))]
