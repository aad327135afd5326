"""The volumes of a scene that the user annotates, each in a segmentation of its own. No Qt.

Which segmentation is a volume's is noted on the volume as soon as a slice of it is listed there. Slices are noted as
planes, so that those of one patient may lie on the grid of another one: another volume never gets a segmentation by
itself that is noted as that of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import slicer.util
from slicer.i18n import tr as _

from uncol.core.errors import DataError, GeometryError
from UnCoLSegmentLib.Scene import Results
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedSlice, readTable
from UnCoLSegmentLib.Scene.Bridge import UNCERTAINTY_ATTRIBUTE

ROLE = "UnCoL.Annotations"
"""Node reference of a volume to the segmentation in which it is annotated."""
_HAS_OWNER = "UnCoL.HasVolume"
"""On a segmentation: a volume is annotated in it, and may be gone by now."""
_LEFT_OUT = "UnCoL.LeftOut"
"""On a volume: the user does not want it to be learned from beside others."""
_VOLUME = "vtkMRMLScalarVolumeNode"


@dataclass(frozen=True)
class Case:
    """A volume that is annotated.

    Attributes:
        volume: Its node.
        segmentation: The node in which it is annotated.
        done: Its finished slices.
        isChosen: Whether it is the volume of the panel.
        isLearnedFrom: Whether the next fine-tuning learns from it; from the panel's volume it does always.
    """

    volume: Any
    segmentation: Any
    done: tuple[AnnotatedSlice, ...]
    isChosen: bool
    isLearnedFrom: bool


class OfCase:
    """The panel's choices, but for another volume: what a run about that reads and writes.

    Args:
        parameters: The panel's parameter node, or anything with its attributes.
        case: The other volume.
    """

    def __init__(self, parameters: Any, case: Case) -> None:
        self._parameters = parameters
        self.inputVolume, self.segmentation = case.volume, case.segmentation
        self.proposal = Results.proposalAbout(case.volume)
        self.uncertaintyVolume = Results.mapAbout(case.volume)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parameters, name)


def annotationsOf(volumeNode: Any) -> Any:
    """Return the segmentation in which a volume is annotated; None if there is none."""
    return volumeNode.GetNodeReference(ROLE)


def note(volumeNode: Any, segmentation: Any) -> None:
    """Note that a volume is annotated in a segmentation, whichever it was before."""
    if annotationsOf(volumeNode) is not segmentation:
        volumeNode.SetNodeReferenceID(ROLE, segmentation.GetID())
    segmentation.SetAttribute(_HAS_OWNER, "1")


def takeAnnotations(parameters: Any) -> None:
    """After another volume was chosen, choose its segmentation, or none where the chosen one is that of others only."""
    volume, before = parameters.inputVolume, parameters.segmentation
    own = annotationsOf(volume)
    if own is None and before is not None and not before.GetAttribute(_HAS_OWNER):
        return
    if own is before:
        return
    for node in (before, own):
        if node is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(node is own)
    parameters.segmentation = own


def casesIn(parameters: Any) -> list[Case]:
    """Return the annotated volumes that show a structure in a finished slice, the panel's first, then as in the scene.

    Of volumes that share a segmentation, as a cropped one does with the whole, one counts, so that no slice is learned
    from twice; the panel's, if it is one of them.
    """
    chosen = parameters.inputVolume
    pairs = [(each, annotationsOf(each)) for each in images() if each is not chosen]
    if chosen is not None and parameters.segmentation is not None:
        pairs = [(chosen, parameters.segmentation), *pairs]
    cases: dict[str, Case] = {}
    for volume, segmentation in pairs:
        if segmentation is None or segmentation.GetID() in cases:
            continue
        done = _finished(segmentation, volume)
        if any(row.hasStructure for row in done):
            isLearnedFrom = volume is chosen or not volume.GetAttribute(_LEFT_OUT)
            cases[segmentation.GetID()] = Case(volume, segmentation, done, volume is chosen, isLearnedFrom)
    return list(cases.values())


def othersToLearnFrom(parameters: Any) -> list[OfCase]:
    """Return what a fine-tuning learns from beside the panel's volume."""
    wanted = [each for each in casesIn(parameters) if each.isLearnedFrom and not each.isChosen]
    return [OfCase(parameters, each) for each in wanted]


def learnFrom(volumeNode: Any, isOn: bool) -> None:
    """Let the next fine-tuning learn from a volume beside the panel's, or leave it out."""
    volumeNode.SetAttribute(_LEFT_OUT, None if isOn else "1")


def namesOf(volumeNodes: Sequence[Any]) -> list[str]:
    """Return what to call volumes; those of one name, as two series may have it, are numbered in the scene's order."""
    names, order = [each.GetName() or "" for each in images()], [each.GetID() for each in images()]
    called = []
    for each in volumeNodes:
        name, number = each.GetName() or "", order.index(each.GetID()) if each.GetID() in order else -1
        isShared = number >= 0 and names.count(name) > 1
        called.append(f"{name} ({names[: number + 1].count(name)})" if isShared else name)
    return called


def nextVolume(parameters: Any) -> Any:
    """Return the volume after the panel's, in the order of the scene and from its start again, that has no result yet.

    Raises:
        DataError: If there is no other volume without a result.
    """
    volumes = images()
    start = volumes.index(parameters.inputVolume) + 1 if parameters.inputVolume in volumes else 0
    for each in (*volumes[start:], *volumes[:start]):
        if each is not parameters.inputVolume and Results.proposalAbout(each) is None:
            return each
    raise DataError(_("Every other volume of the scene has a proposal already. Load the next patient first."))


def images() -> list[Any]:
    """Return the volumes of the scene that a user can segment, in its order: no maps, no label maps."""
    return [
        node
        for node in slicer.util.getNodesByClass(_VOLUME)
        if node.GetClassName() == _VOLUME  # a label map is a scalar volume, too
        and not node.GetHideFromEditors()
        and node.GetImageData() is not None
        and node.GetAttribute(UNCERTAINTY_ATTRIBUTE) is None
    ]


def _finished(segmentation: Any, volumeNode: Any) -> tuple[AnnotatedSlice, ...]:
    """Return the finished slices; none where a bend lies between the nodes."""
    try:
        return tuple(readTable(segmentation, volumeNode).complete)
    except GeometryError:
        return ()
