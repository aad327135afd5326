"""The panel opens before torch is installed, so every module of the core must load with numpy alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENGINE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"
CORE = sorted(path.stem for path in (ENGINE_FOLDER / "uncol" / "core").glob("*.py"))


@pytest.mark.parametrize("module", ["uncol", *(f"uncol.core.{name}" for name in CORE if name != "__init__")])
def test_the_core_loads_no_other_package_than_numpy(module: str) -> None:
    program = f"import sys, numpy; before = set(sys.modules); import {module}; print(*set(sys.modules) - before)"

    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ENGINE_FOLDER)},
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = {name.partition(".")[0] for name in ended.stdout.split()}
    assert "uncol" in loaded
    assert loaded - {"uncol", "numpy"} <= set(sys.stdlib_module_names)
