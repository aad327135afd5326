"""What a run takes out of the scene, and what it brings back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from uncol.core.dicom_export import origin_in
from uncol.core.error_detection import bounding_box, within_distance
from uncol.core.findings import Findings
from uncol.core.jobs import Box, SegmentResult, Structure
from uncol.core.slice_scores import SliceScore
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Bridge, Grids
from UnCoLSegmentLib.Scene.Grids import Region

NEAR_MM = 15.0
"""Doubt is shown this near to a structure, as places are looked for."""
_BLOCK_MM = 3.0
"""How far it is to a structure is found out on blocks of this size: fast, and no structure is too thin to be seen."""


@dataclass(frozen=True)
class RunInputs:
    """What a run takes out of the scene before it starts.

    Attributes:
        image: The volume, as a view on the scene's memory, which the user may change meanwhile.
        imageTime: Tells another number after each such change.
        device: "auto", "cpu", "cuda" or "mps".
        labels: Annotated slices; None where the run needs none.
        structures: What the labels mean.
        boxes: Boxes round structures.
        model: Name of the model to segment with; "" for none.
        annotated: The annotated slices, as "K:12".
        notes: What the user should know about the snapshot, such as overlapping segments.
    """

    image: Volume
    device: str
    labels: Bridge.SlicesOfLabels | None = None
    structures: tuple[Structure, ...] = ()
    boxes: tuple[Box, ...] = ()
    model: str = ""
    annotated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    imageTime: Callable[[], int] = lambda: 0


@dataclass(frozen=True)
class SegmentationResult:
    """A result on its way into the scene.

    Attributes:
        labels: Proposed labels.
        uncertainty: Normalized entropy in [0, 1], near the structures; see `nearStructures`.
        structures: What the labels mean.
        model: Name of the model that made it, "" for the foundation model.
        known: Annotated slices that its maker has seen, as "K:12".
        filled: The region that holds all labels; None where it is not known, or there are none.
        byBothTeachers: Whether the foundation model had a say beside the model.
        joins: Whether other structures that were proposed before stay.
        findings: Structures in numbers, where to look and what to annotate next.
        places: Numbers of the places to look at; None where none was looked for.
        slices: By voxel index (I, J, K), how unsure the slices are in which something was found.
        origin: Who made it, as its report says; empty where that is not known.
    """

    labels: Volume
    uncertainty: Volume
    structures: tuple[Structure, ...]
    model: str = ""
    known: tuple[str, ...] = ()
    filled: Region | None = None
    byBothTeachers: bool = False
    joins: bool = False
    findings: Findings = field(default_factory=Findings)
    places: Volume | None = None
    slices: Mapping[str, tuple[SliceScore, ...]] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, result: SegmentResult, inputs: RunInputs, known: tuple[str, ...]) -> Self:
        """Read what the engine found; `known` are the annotated slices that its maker has seen."""
        labels = result.segmentation.read()
        return cls(
            labels,
            nearStructures(labels, result.uncertainty.read()),
            tuple(Structure(each["value"], each["name"]) for each in result.report["structures"]),
            inputs.model,
            known,
            Grids.nonzeroRegion(labels.voxels),
            byBothTeachers=bool(result.report.get("by_both_teachers")),
            joins=bool(inputs.boxes),
            findings=result.findings,
            places=result.places.read() if result.places is not None else None,
            slices=result.slices,
            origin=origin_in(result.report),
        )


def nearStructures(labels: Volume, uncertainty: Volume) -> Volume:
    """Return a map that is 0 farther than about 15 mm from what was found; the map itself where nothing was found.

    What is unsure far away is not about a structure: a model that has learned little is unsure nearly everywhere.

    Args:
        labels: Proposed labels (K, J, I).
        uncertainty: The map that comes with them, on the same grid.
    """
    spacing_mm, found = np.array(labels.spacing_mm[::-1]), labels.voxels
    steps = np.maximum(1, _BLOCK_MM / spacing_mm).astype(int)
    for axis, step in enumerate(steps):
        found = np.maximum.reduceat(found, np.arange(0, found.shape[axis], step), axis=axis)
    if not found.any():
        return uncertainty
    near = within_distance(found > 0, (steps * spacing_mm).tolist(), NEAR_MM)
    blocks = zip(bounding_box(near, margin=0), steps, labels.shape_kji, strict=True)
    region = tuple(slice(each.start * step, min(each.stop * step, size)) for each, step, size in blocks)
    isNear = near[np.ix_(*(np.arange(each.start, each.stop) // step for each, step in zip(region, steps, strict=True)))]
    voxels = np.zeros(uncertainty.voxels.shape, uncertainty.voxels.dtype)
    voxels[region] = np.where(isNear, uncertainty.voxels[region], 0)
    return uncertainty.with_voxels(voxels)
