"""Which of the user's segments a structure is: known by its segment's ID, whatever that is called by now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from uncol.core.jobs import Structure
from UnCoLSegmentLib.Scene import Labelmaps
from UnCoLSegmentLib.Scene.Acceptance import SOURCE_ROLE
from UnCoLSegmentLib.Scene.Rounds import Round

IDENTITY_ATTRIBUTE = "UnCoL.Identity"
"""On a segmentation: tells it apart, so that its segments' IDs mean something in other scenes, too."""


class SegmentNames:
    """The segments of the user's segmentation by the names that they have when a run begins.

    Args:
        segmentationNode: The segmentation; None for none.
    """

    def __init__(self, segmentationNode: Any) -> None:
        self._node = segmentationNode
        segments = Labelmaps.segmentsOf(segmentationNode) if segmentationNode is not None else {}
        self.ids = {segment.GetName(): segmentId for segmentId, segment in segments.items()}
        """Segment IDs by name."""

    @property
    def segmentation(self) -> str:
        """What tells the segmentation apart; it gets that at the first call. "" for none."""
        if self._node is None:
            return ""
        if not self._node.GetAttribute(IDENTITY_ATTRIBUTE):
            self._node.SetAttribute(IDENTITY_ATTRIBUTE, uuid4().hex)
        return str(self._node.GetAttribute(IDENTITY_ATTRIBUTE))

    def asNow(self, structures: Iterable[Structure], segmentationNow: Any, learned: Round | None) -> list[Structure]:
        """Return structures by the names that their segments have now.

        Args:
            structures: By their names of then.
            segmentationNow: The segmentation that is chosen now; another one knows nothing of these segments.
            learned: The round in which their model learned these names; None where it is the run's own.
        """
        if segmentationNow is None or segmentationNow is not self._node or segmentationNow.GetScene() is None:
            return list(structures)
        isOwn = learned is not None and learned.segmentation == self.segmentation
        ids = {**self.ids, **learned.segments} if learned is not None and isOwn else self.ids
        segments = Labelmaps.segmentsOf(segmentationNow)
        found = [(each, segments.get(ids.get(each.name, ""))) for each in structures]
        return [replace(each, name=segment.GetName()) if segment is not None else each for each, segment in found]


def proposedAsNow(proposal: Any, structures: Sequence[Structure], segmentationNow: Any) -> tuple[Structure, ...]:
    """Return a proposal's structures, one for each segment, by the names of the user's segments with the same IDs."""
    isSource = segmentationNow is not None and proposal.GetNodeReference(SOURCE_ROLE) is segmentationNow
    own = Labelmaps.segmentsOf(segmentationNow) if isSource else {}
    values: dict[str, int] = {}
    for isKnown in (False, True):  # what is known by its ID has the better right to a name
        for segmentId, structure in zip(Labelmaps.segmentsOf(proposal), structures, strict=True):
            if (segmentId in own) is isKnown:
                values[own[segmentId].GetName() if isKnown else structure.name] = structure.value
    return tuple(Structure(value, name) for name, value in values.items())
