"""What is known of the slices of each segment, kept in a tag of the segment itself.

So it goes wherever the segment goes: Slicer's own undo and redo restore it with the voxels, and it is saved, loaded,
imported, renamed and cloned with them. A slice is noted as a plane in the segmentation's own coordinates, so that
another grid over the same patient, as after cropping, finds it again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np

from uncol.core.volume import Axis
from UnCoLSegmentLib.Scene import Grids, Labelmaps
from UnCoLSegmentLib.Scene.Grids import Matrix
from UnCoLSegmentLib.Scene.Painting import Slice

_TAG = "UnCoL.Slices"
_ROWS: tuple[Axis, ...] = ("I", "J", "K")
_LEAST_COSINE = 1 - 1e-4
"""Normals that differ by more than half a degree belong to different planes."""


class Kind(enum.Enum):
    """How a segment came to be known, or not, in a slice; the letters are saved with the segment."""

    PAINTED = "p"
    """It was painted there, or another one was while it could have been; the slice counts as complete."""
    BEGUN = "b"
    """It looks only begun there."""
    MANY = "m"
    """It was changed there together with many other slices, as by a tool that works in 3D."""
    ERASED = "e"
    """Voxels went, and none came."""
    COMPLETE = "c"
    """The user says that the slice is complete."""
    OPEN = "o"
    """The user says that it is not."""


COMPLETE_KINDS = (Kind.PAINTED, Kind.COMPLETE)
USERS_KINDS = (Kind.COMPLETE, Kind.OPEN)


@dataclass(frozen=True)
class Mark:
    """What is known of a segment in one slice.

    Attributes:
        kind: How it came to be known.
        voxels: How many voxels the segment had there when it was looked at last.
    """

    kind: Kind
    voxels: int


Marks = dict[Slice, dict[str, Mark]]
"""Marks of the slices of a volume, by segment ID."""


def readMarks(segmentation: Any, volumeNode: Any) -> Marks:
    """Return what is known of the slices of a volume; slices of other volumes that do not lie on its grid are passed.

    Raises:
        GeometryError: If a non-linear transform lies between the nodes.
    """
    grid, marks = _Grid(segmentation, volumeNode), Marks()
    for segmentId, segment in Labelmaps.segmentsOf(segmentation).items():
        for entry in _entriesOf(segment):
            place = grid.find(entry)
            if place is not None:
                marks.setdefault(place, {})[segmentId] = _markIn(entry)
    return marks


def writeMarks(segmentation: Any, volumeNode: Any, marks: Marks) -> None:
    """Note what is known of the slices of a volume; what is noted of slices that it does not have stays.

    Raises:
        GeometryError: If a non-linear transform lies between the nodes.
    """
    grid = _Grid(segmentation, volumeNode)
    for segmentId, segment in Labelmaps.segmentsOf(segmentation).items():
        before = _entriesOf(segment)
        own = {place: each[segmentId] for place, each in marks.items() if segmentId in each}
        kept = [entry for entry in before if grid.find(entry) is None]
        if {place: _markIn(entry) for entry in before if (place := grid.find(entry))} != own:
            entries = [*kept, *(grid.entryOf(place, mark) for place, mark in sorted(own.items()))]
            Labelmaps.setTag(segment, _TAG, ";".join(entries))


class _Grid:
    """The planes of a volume's slices in the coordinates of a segmentation: normals, and where along them slice 0 is.

    An entry is the unit normal (R, A, S), the plane's place along it in mm, and the mark: its letter and the voxels.
    """

    def __init__(self, segmentation: Any, volumeNode: Any) -> None:
        self._matrix: Matrix = np.linalg.inv(Grids.rasToIJK(segmentation, volumeNode))
        self._counts = volumeNode.GetImageData().GetDimensions()
        # The rows of the inverse are normal to the planes of constant I, J and K.
        rows = np.linalg.inv(self._matrix)[:3, :3]
        normals = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        leading = np.take_along_axis(normals, np.abs(normals).argmax(axis=1)[:, None], axis=1)
        self._normals = normals * np.sign(leading)

    def find(self, entry: str) -> Slice | None:
        """Return the slice of the volume in which the plane of an entry lies."""
        *normal, place = map(float, entry.split()[:4])
        cosines = np.abs(self._normals @ normal)
        row = int(cosines.argmax())
        if cosines[row] < _LEAST_COSINE:
            return None
        along = np.array(normal)
        index = round((place - along @ self._matrix[:3, 3]) / (along @ self._matrix[:3, row]))
        return (_ROWS[row], index) if 0 <= index < self._counts[row] else None

    def entryOf(self, place: Slice, mark: Mark) -> str:
        """Return the entry of a slice."""
        axis, index = place
        row = _ROWS.index(axis)
        normal, point = self._normals[row], self._matrix[:3, 3] + index * self._matrix[:3, row]
        numbers = [*(f"{each:.6f}" for each in normal), f"{normal @ point:.4f}"]
        return " ".join([*numbers, f"{mark.kind.value}{mark.voxels}"])


def _entriesOf(segment: Any) -> list[str]:
    """Return the entries of a segment; text that is none of ours counts as none."""
    return [entry for entry in Labelmaps.tagOf(segment, _TAG).split(";") if _isEntry(entry)]


def _isEntry(entry: str) -> bool:
    parts = entry.split()
    try:
        numbers = [float(each) for each in parts[:4]]
    except ValueError:
        return False
    isMark = len(parts) == 5 and parts[4][1:].isdigit() and any(each.value == parts[4][0] for each in Kind)
    return isMark and bool(np.isfinite(numbers).all())


def _markIn(entry: str) -> Mark:
    mark = entry.split()[4]
    return Mark(Kind(mark[0]), int(mark[1:]))
