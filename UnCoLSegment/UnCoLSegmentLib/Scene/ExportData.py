"""What an export to DICOM takes out of the scene: the proposal as it is now, its map, and where the images are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from slicer.i18n import tr as _

from uncol.core.dicom_export import ExportedStructure
from uncol.core.errors import DataError
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Bridge, DicomSource, Grids, Labelmaps, Origins, Results, Terminology
from UnCoLSegmentLib.Scene.Grids import Region
from UnCoLSegmentLib.Scene.Maker import MODEL_ATTRIBUTE, Maker

_BYTE = 255


@dataclass(frozen=True)
class ExportData:
    """What an export takes out of the scene before it starts.

    Attributes:
        images: The DICOM files of the volume.
        image: The volume, for its grid.
        parts: Blocks of the volume with labels in them; structures that overlap are in different ones.
        uncertainty: The map that came with the proposal.
        structures: What the labels mean.
        notes: What the user should know.
    """

    images: tuple[Path, ...]
    image: Volume
    parts: tuple[tuple[Region, NDArray[np.uint8]], ...]
    uncertainty: Volume
    structures: tuple[ExportedStructure, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def take(cls, parameters: Any) -> Self:
        """Take them out of a panel's scene; a parent transform that all three share does not matter.

        Raises:
            DataError: If there is no proposal with its map, if the images are not known, or if the three do not lie on
                each other.
        """
        volumeNode = parameters.inputVolume
        proposal = Results.proposalAbout(volumeNode, parameters.proposal)
        mapNode = Results.mapAbout(volumeNode, parameters.uncertaintyVolume)
        areThere = proposal is not None and mapNode is not None
        if not areThere or proposal.GetAttribute(MODEL_ATTRIBUTE) != mapNode.GetAttribute(MODEL_ATTRIBUTE):
            message = _("There is no proposal with the map that came with it. Segment the volume again.")
            raise DataError(message)
        images, image = DicomSource.filesOf(volumeNode), Bridge.snapshotVolume(volumeNode)
        if {each.GetTransformNodeID() for each in (proposal, mapNode)} != {volumeNode.GetTransformNodeID()}:
            message = _(
                'The proposal or its map is not under the same transform as "{name}". Put all three under the same '
                "one, or under none, then export again."
            )
            raise DataError(message.format(name=volumeNode.GetName()))
        segments = Labelmaps.segmentsOf(proposal)
        if not 1 <= len(segments) <= Bridge.MOST_STRUCTURES:
            message = _("The proposal has {count} segments; 1 to {most} can be exported.")
            raise DataError(message.format(count=len(segments), most=Bridge.MOST_STRUCTURES))
        values = {segmentId: value for value, segmentId in enumerate(segments, start=1)}
        layers = Labelmaps.LayersOnGrid(proposal, Grids.rasToIJK(proposal, volumeNode), values, np.uint8)
        parts = tuple(layers.read(Grids.wholeRegion(image.shape_kji)))
        structures = _structures(segments, Maker.of(proposal))
        return cls(images, image, parts, Bridge.snapshotVolume(mapNode), structures, _notes(structures))

    def labels(self) -> list[Volume]:
        """Return as few label maps as hold all parts without one covering another; in a thread, no node is asked."""
        maps = [np.zeros(self.image.shape_kji, np.uint8)]
        for region, codes in self.parts:
            free = next((each for each in maps if not ((each[region] > 0) & (codes > 0)).any()), None)
            if free is None:
                free = np.zeros(self.image.shape_kji, np.uint8)
                maps.append(free)
            np.maximum(free[region], codes, out=free[region])
        return [self.image.with_voxels(each) for each in maps]


def _structures(segments: dict[str, Any], maker: Maker) -> tuple[ExportedStructure, ...]:
    known = {} if maker.byBoth or not maker.model else {"model": maker.model}  # of several makers, whose is not noted
    return tuple(
        ExportedStructure(
            value,
            segment.GetName(),
            tuple(round(_BYTE * each) for each in segment.GetColor()),
            Terminology.termOf(segment),
            Origins.originOf(segment) or known,
        )
        for value, segment in enumerate(segments.values(), start=1)
    )


def _notes(structures: Sequence[ExportedStructure]) -> tuple[str, ...]:
    unknown = [each.name for each in structures if "uncol" not in each.origin]
    if not unknown:
        return ()
    text = _(
        "What made {names} is not noted in full, as of a preview or by an earlier version. Segment again before you "
        "export if the files are to name model and versions."
    )
    return (text.format(names=", ".join(f'"{each}"' for each in unknown)),)
