"""No file is longer than a reader can keep in mind."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("folder", "most_lines"), [("UnCoLSegment", 350), ("Testing", 450)])
def test_no_python_file_is_longer_than_its_kind_may_be(folder: str, most_lines: int) -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py")}

    assert {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > most_lines} == {}
    assert lines
