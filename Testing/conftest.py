"""What all tests share: seeds, volumes with awkward geometry, real images, a real scene, the real command line."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uncol.core.volume import Volume

ROOT = Path(__file__).resolve().parents[1]
ENGINE_FOLDER = ROOT / "UnCoLSegment"
THREADS = min(2, torch.get_num_threads())

# For each geometry: direction of the voxel indices I, J and K in RAS (one column each) and spacing along them in mm.
GEOMETRIES: dict[str, tuple[list[list[float]], tuple[float, float, float]]] = {
    # I to the left, J to the back, K up: what most CT files look like.
    "anisotropic": ([[-1, 0, 0], [0, -1, 0], [0, 0, 1]], (0.7, 0.9, 2.5)),
    # The same turned by 36.9 degrees about K (cosine 0.8, sine 0.6): every voxel index changes R and A.
    "oblique": ([[-0.8, 0.6, 0], [-0.6, -0.8, 0], [0, 0, 1]], (0.7, 0.9, 2.5)),
    # I to the right instead of the left.
    "left-handed": ([[1, 0, 0], [0, -1, 0], [0, 0, 1]], (0.7, 0.9, 2.5)),
    # I to the right and the stack tipped by 36.9 degrees about I.
    "oblique left-handed": ([[1, 0, 0], [0, -0.8, 0.6], [0, 0.6, 0.8]], (0.9, 0.7, 3.1)),
    # Slices count from right to left, rows run down, columns to the back.
    "sagittal": ([[0, 0, -1], [-1, 0, 0], [0, -1, 0]], (0.5, 0.8, 4.0)),
    # Slices count from front to back, rows run down, columns to the left.
    "coronal": ([[-1, 0, 0], [0, 0, -1], [0, -1, 0]], (0.6, 0.8, 3.0)),
}
ORIGIN_RAS = (12.5, -34.0, 101.25)


@dataclass(frozen=True)
class Finished:
    """How a command ended and what it wrote."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def json_lines(self) -> list[dict[str, Any]]:
        """One object for each line of stdout; a line that is no JSON fails the test."""
        return [json.loads(line) for line in self.stdout.splitlines()]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none, visibly."""
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA or Apple GPU, and torch finds none")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start every test from the same random numbers, on as many threads as this process began with, two at most."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  # libraries under test still draw from the legacy generator
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real images, which are not part of the repository."""
    folder = Path(os.environ.get("UNCOL_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f'no real images: "{folder}" is not a folder; set UNCOL_TEST_DATA')
    return folder


@pytest.fixture
def make_volume() -> Callable[..., Volume]:
    """Return `_make_volume`: a small volume whose sides, spacings and directions all differ."""
    return _make_volume


@pytest.fixture
def nasty_volumes() -> dict[str, Volume]:
    """One small volume for each awkward geometry, by name."""
    return {geometry: _make_volume(geometry=geometry) for geometry in GEOMETRIES}


@pytest.fixture(params=sorted(GEOMETRIES))
def nasty_volume(request: pytest.FixtureRequest) -> Volume:
    """Each of the awkward geometries in turn."""
    return _make_volume(geometry=request.param)


@pytest.fixture(scope="session")
def wait_until_gone() -> Callable[..., None]:
    """Return a function that waits until the process with a number has ended, and fails if it lives on."""

    def wait(pid: int, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while _is_alive(pid):
            assert time.monotonic() < deadline, f"process {pid} lives on"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def font_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where matplotlib keeps its list of fonts; making it anew takes seconds."""
    return tmp_path_factory.mktemp("matplotlib")


@pytest.fixture
def run_uncol(tmp_path: Path, font_cache: Path) -> Callable[..., Finished]:
    """Return a function that runs `uncol` with the given arguments in a process and a home of its own."""
    home = tmp_path / "home"
    home.mkdir()
    patience_s = float(os.environ.get("UNCOL_PATIENCE_S", "300"))

    def run(*arguments: object, timeout_s: float = patience_s, cwd: Path | None = None, **variables: str) -> Finished:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "UNCOL_"))}
        environment = inherited | {
            "HOME": str(home),
            "USERPROFILE": str(home),
            "MPLCONFIGDIR": str(font_cache),
            "OMP_WAIT_POLICY": "passive",
            "PYTHONPATH": str(ENGINE_FOLDER),
            "PYTHONUTF8": "1",
            **variables,
        }
        command = [sys.executable, "-m", "uncol", *map(str, arguments)]
        ended = subprocess.run(
            command,
            cwd=cwd or tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=timeout_s,
            check=False,
        )
        return Finished(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture
def host() -> Iterator[Any]:
    """An empty scene with the logics of Slicer; a test in which MRML reports an error fails."""
    from host import Host  # not above: most tests need neither scene nor Qt

    with Host() as opened:
        yield opened
        assert not opened.errors


@pytest.fixture
def scene(host: Any) -> Any:
    """The scene of `host`."""
    return host.scene


def _is_alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended and that its parent has not asked about yet does not."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text() if sys.platform == "linux" else ""
    except (ProcessLookupError, FileNotFoundError):  # both may come from reading, if it ends in between
        return False
    return not stat.rpartition(")")[2].lstrip().startswith("Z")


def _make_volume(
    voxels: np.ndarray | None = None,
    *,
    geometry: str = "oblique left-handed",
    shape_kji: tuple[int, int, int] = (2, 3, 4),
    dtype: Any = np.float32,
) -> Volume:
    """Put voxels (K, J, I), or else 0, 1, 2, ... in the file's order, on a grid of `GEOMETRIES`."""
    if voxels is None:
        voxels = np.arange(np.prod(shape_kji), dtype=dtype).reshape(shape_kji)
    directions, spacing_mm = GEOMETRIES[geometry]
    ijk_to_ras = np.eye(4)
    ijk_to_ras[:3, :3] = np.array(directions) @ np.diag(spacing_mm)
    ijk_to_ras[:3, 3] = ORIGIN_RAS
    return Volume(voxels, ijk_to_ras)
