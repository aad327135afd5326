"""Results as DICOM of small series: what is written of them, and what a validator says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.config import disable_value_validation
from written_dicom import clinical, grid_lps, save_slices

from uncol.core.jobs import DicomChoice, Structure
from uncol.core.volume import Volume
from uncol.formats.dicom import Stack, read_stack
from uncol.formats.dicom_results import Maker, Segment, dicom_results, source_of, write_dicom

SHA256 = "0123456789abcdef" * 4
MAKER = Maker("0.2.0", SHA256, "Research use only. UnCoL, model 0123456789ab", {"model_sha256": SHA256, "steps": "7"})
STRUCTURES = (Structure(2, "left kidney"), Structure(7, "Läsion \\ 肝"), Structure(9, "never found"))
SEGMENTS = [Segment(each, MAKER) for each in STRUCTURES]
OBLIQUE = grid_lps(turn=(10, 20, 30))
GRIDS = {
    "axial": grid_lps(),
    "oblique": OBLIQUE,
    "tipped": grid_lps(turn=(-37, 0, 0)),
    "sagittal": grid_lps(turn=(90, 0, 90)),
}
Edit = Callable[[int, Dataset], Any]


def saved(folder: Path, grid: np.ndarray = OBLIQUE, *, edit: Edit = lambda _n, _h: None, **settings: Any) -> Path:
    """A clinical series whose files are named against their places; what is edited need not be valid."""

    def edited(number: int, header: Dataset) -> Any:
        clinical(header)
        return edit(number, header)

    with disable_value_validation():
        return save_slices(folder, grid=grid, edit=edited, **settings)


def stack_in(path: Path) -> Stack:
    return read_stack(path, 'Image "ct"', DicomChoice())


def found_in(stack: Stack) -> tuple[Volume, Volume]:
    """Labels 0, 2 and 7 and an uncertainty, no two slices alike."""
    draw = np.random.default_rng(5)
    shape = stack.volume.shape_kji
    labels = draw.choice(np.array([0, 2, 7], dtype=np.uint8), shape)
    labels[2] = 0  # a slice without a structure has no frame
    return stack.volume.with_voxels(labels), stack.volume.with_voxels(draw.random(shape, dtype=np.float32))


def written(stack: Stack, folder: Path, found: tuple[Volume, Volume] | None = None) -> tuple[Path, Path]:
    labels, uncertainty = found or found_in(stack)
    source = source_of(stack.frames, 'Image "ct"')
    made = dicom_results(source, [labels.voxels], uncertainty.voxels, SEGMENTS, MAKER)
    paths = folder / "segmentation.dcm", folder / "uncertainty.dcm"
    folder.mkdir()
    for dataset, path in zip(made, paths, strict=True):
        write_dicom(dataset, path)
    return paths


def check_with_dciodvfy(paths: tuple[Path, ...]) -> None:
    """A validator of DICOM finds no error in the files; where it is missing, the test is skipped."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("no dciodvfy: on Debian and Ubuntu, install dicom3tools")
    for path in paths:
        said = subprocess.run([program, "-new", str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in said.stdout + said.stderr, said.stderr
        assert said.returncode == 0


def converted(program: str, path: Path, folder: Path, *options: str) -> Path:
    """What dcmqi makes of a DICOM file, which is what 3D Slicer shows."""
    command = Path(sys.executable).parent / program
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [str(command), "--inputDICOM", str(path), "--outputDirectory", str(folder), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder
