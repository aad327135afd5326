"""How the lists of the extension are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

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


def _values(path: Path, name: str) -> list[str]:
    text = re.sub(r"^\s*#.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = re.search(rf"set\({name}\s+([^)]*)\)", text)
    assert found is not None, f"{path.name} does not set {name}"
    return [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|(\S+)', found.group(1))]
