"""Which slices count as annotated: those that the user painted, and those that they say are complete.

What an accepted proposal put into the segmentation is not painting: `Painting` remembers it and compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from uncol.core.volume import Axis
from UnCoLSegmentLib.Scene.Painting import AXES, Painting


@dataclass(frozen=True)
class AnnotatedSlice:
    """One row of the table.

    Attributes:
        axis: The volume's voxel index that counts the slices.
        index: The slice's number along it, from 0.
        complete: Whether everything in the slice counts as annotated, background too.
        hasStructure: Whether a segment has a voxel in it.
        byUser: Whether the user set or took away the check mark, which then stays as it is.
    """

    axis: Axis
    index: int
    complete: bool
    hasStructure: bool
    byUser: bool = False


@dataclass(frozen=True)
class AnnotatedTable:
    """The annotated slices of one volume, sorted by axis (K, J, I) and number; one row for each slice."""

    rows: tuple[AnnotatedSlice, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[AnnotatedSlice]) -> AnnotatedTable:
        """Sort rows; of several about one slice the last one counts."""
        bySlice = {(AXES.index(row.axis), row.index): row for row in rows}
        return cls(tuple(bySlice[key] for key in sorted(bySlice)))

    @classmethod
    def fromText(cls, text: str) -> AnnotatedTable:
        """Read what `toText` wrote; text that is none of ours counts as an empty table."""
        try:
            return cls.of(_readRow(fields) for fields in json.loads(text or "[]"))
        except (ValueError, TypeError, KeyError):
            return cls()

    def toText(self) -> str:
        """Return the table as JSON, for the parameter node."""
        return json.dumps([asdict(row) for row in self.rows])

    def find(self, axis: Axis, index: int) -> AnnotatedSlice | None:
        """Return the row of a slice, if it has one."""
        return next((row for row in self.rows if (row.axis, row.index) == (axis, index)), None)


def _readRow(fields: dict[str, Any]) -> AnnotatedSlice:
    if fields["axis"] not in AXES or not isinstance(fields["index"], int) or fields["index"] < 0:
        message = f"not a slice: {fields}"
        raise ValueError(message)
    flags = {name: bool(fields.get(name)) for name in ("complete", "hasStructure", "byUser")}
    return AnnotatedSlice(fields["axis"], fields["index"], **flags)


def markComplete(table: AnnotatedTable, axis: Axis, index: int, on: bool) -> AnnotatedTable:
    """Say that a slice is annotated completely, even if it holds nothing, or that it is not; that stays so."""
    row = table.find(axis, index) or AnnotatedSlice(axis, index, on, hasStructure=False)
    return AnnotatedTable.of([*table.rows, replace(row, complete=on, byUser=True)])


def detectAnnotated(segmentation: Any, proposal: Any, volumeNode: Any, table: AnnotatedTable) -> AnnotatedTable:
    """Return the table as it should be now: with the slices that the user painted, in whatever orientation.

    Rows that the user set stay. All others are found anew: the fewest slices that together hold everything that was
    painted, along one axis, or along several if that takes fewer. A new one that shows exactly what the proposal shows
    there was copied from it by other means than ours; that is not painting.

    Args:
        segmentation: The user's segmentation.
        proposal: The proposal that stands; None for none.
        volumeNode: The volume whose slices are counted.
        table: The table so far.

    Raises:
        GeometryError: If a non-linear transform lies between the nodes.
    """
    painting = Painting(segmentation, proposal, volumeNode)
    painted = [each for each in painting.slices() if table.find(*each) or not painting.isCopied(*each)]
    found = [AnnotatedSlice(*each, complete=True, hasStructure=painting.hasStructure(*each)) for each in painted]
    kept = [replace(row, hasStructure=painting.hasStructure(row.axis, row.index)) for row in table.rows if row.byUser]
    return AnnotatedTable.of([*found, *kept])
