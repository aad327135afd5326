"""The steps of an export to DICOM: the engine writes, then both files go to the user's folder, or none."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

from slicer.i18n import tr as _

from uncol.core.dicom_export import ExportJob
from uncol.core.errors import CancelledError
from uncol.core.files import place_together
from uncol.core.volume_files import VolumeFile
from UnCoLSegmentLib.Engine.Run import EngineRequest, InThread, RunResult, Steps
from UnCoLSegmentLib.Scene.ExportData import ExportData


def exportSteps(jobFolder: Path, data: ExportData, folder: Path) -> Steps:
    """Write a proposal and its map as DICOM into a folder; names that are taken there get a number.

    Args:
        jobFolder: Where the engine finds and puts files.
        data: What was taken out of the scene.
        folder: The user's folder.
    """
    began = time.monotonic()
    job = yield InThread(partial(_write, jobFolder, data))
    result = yield EngineRequest(job)
    wasCancelled = threading.Event()
    try:
        files = (result.segmentation, result.uncertainty)
        placed = yield InThread(partial(place_together, files, folder, wasCancelled.is_set))
    except CancelledError:
        wasCancelled.set()
        raise
    names = _(" and ").join(f'"{each.name}"' for each in placed)
    return RunResult(
        kind="export",
        message=_('{names} are in "{folder}". Research use only.').format(names=names, folder=folder),
        notes=data.notes,
        seconds=time.monotonic() - began,
    )


def _write(folder: Path, data: ExportData) -> ExportJob:
    folder.mkdir(mode=0o700, exist_ok=True)
    labels = [VolumeFile.write(folder / f"labels-{number}.npy", each) for number, each in enumerate(data.labels())]
    uncertainty = VolumeFile.write(folder / "exported-uncertainty.npy", data.uncertainty)
    return ExportJob(folder, data.images, tuple(labels), uncertainty, data.structures)
