"""The files of one run: what is written for the engine into its job folder, in threads, and removed when it is over."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from uncol.core.errors import DataError
from uncol.core.jobs import Structure
from uncol.core.round_scores import ComparedSlices, SliceStack
from uncol.core.volume_files import VolumeFile
from UnCoLSegmentLib.Engine.Run import InThread
from UnCoLSegmentLib.Scene.RunData import RunInputs

IMAGE_FILE, LABELS_FILE = "image.npy", "labels.npy"
_MOST_WRITES = 5
"""So often an image is written that is changed each time meanwhile."""


@dataclass(frozen=True)
class RunFiles:
    """What was written for the engine."""

    image: VolumeFile
    labels: VolumeFile | None = None
    structures: tuple[Structure, ...] = ()


def makeFolders(folders: Sequence[Path]) -> None:
    """Make folders, each after the one that it lies in: the engine's own must be there."""
    for each in folders:
        each.mkdir(mode=0o700, exist_ok=True)


def writeInputs(folder: Path, inputs: RunInputs) -> Generator[InThread, Any, RunFiles]:
    """Write what the engine needs; an image that was changed meanwhile is written again.

    Raises:
        DataError: If it changes all the time, as the volume of a sequence that is played does.
    """
    for _attempt in range(_MOST_WRITES):
        before = inputs.imageTime()
        files = yield InThread(partial(_write, folder, inputs))
        if inputs.imageTime() == before:
            return files
    raise DataError(_("The volume changes all the time. Stop what changes it, such as a sequence, and try again."))


def _write(folder: Path, inputs: RunInputs) -> RunFiles:
    folder.mkdir(mode=0o700, exist_ok=True)
    image = VolumeFile.write(folder / IMAGE_FILE, inputs.image)
    labels = VolumeFile.write(folder / LABELS_FILE, inputs.labels.volume()) if inputs.labels is not None else None
    return RunFiles(image, labels, inputs.structures)


def writeStacks(folder: Path, stacks: Sequence[ComparedSlices]) -> tuple[SliceStack, ...]:
    """Write what is compared."""
    folder.mkdir(mode=0o700, exist_ok=True)
    written = []
    for number, stack in enumerate(stacks):
        named = {name: volume for name, volume in stack._asdict().items() if volume is not None}
        files = {name: VolumeFile.write(folder / f"{name}-{number}.npy", each) for name, each in named.items()}
        written.append(SliceStack(**files))
    return tuple(written)


def removeFolder(folder: Path) -> None:
    """Remove a run's files; one that is still being written goes on the second try."""
    for wait_s in (0.0, 1.0):
        time.sleep(wait_s)
        shutil.rmtree(folder, ignore_errors=True)
