"""What a run takes out of the scene, and what it brings back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from uncol.core.dicom_export import origin_in
from uncol.core.findings import Findings
from uncol.core.jobs import Box, SegmentResult, Structure
from uncol.core.slice_scores import SliceScore
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Bridge, Grids
from UnCoLSegmentLib.Scene.Grids import Region


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
        uncertainty: Normalized entropy in [0, 1].
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
            result.uncertainty.read(),
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
