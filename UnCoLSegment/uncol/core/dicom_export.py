"""What is asked for to get a proposal as DICOM, and what of a report says who made it.

Needs nothing but numpy: the panel keeps origins with its proposals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uncol.core.errors import ConfigError
from uncol.core.jobs import Structure
from uncol.core.volume_files import VolumeFile

DICOM_FILES = ("segmentation.dcm", "uncertainty.dcm")
"""Labels as DICOM SEG, uncertainty as DICOM Parametric Map."""

TOLD_OF_TRAINING = (
    "generalized_teacher",
    "generalized_teacher_license",
    "base_sha256",
    "held_out_dice",
    "annotated_slices",
)
"""What DICOM results repeat of the record of a training."""
_ORIGIN = (
    "uncol",
    "versions",
    "model",
    "model_sha256",
    "by_both_teachers",
    "foundation_model",
    "annotated_slices",
    "boxes",
)


def origin_in(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the report of a result says of who made it: a JSON object, small enough to be kept with a segment."""
    training = {name: report["training"][name] for name in TOLD_OF_TRAINING if name in report.get("training", {})}
    return {
        **{name: report[name] for name in _ORIGIN if name in report},
        **({"training": training} if training else {}),
    }


@dataclass(frozen=True)
class Concept:
    """A term of a coding scheme, such as SCT, 10200004, Liver."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class CodedTerm:
    """What a structure is: its category, its type, and what modifies the type, such as a side of the body."""

    category: Concept
    kind: Concept
    modifier: Concept | None = None


@dataclass(frozen=True)
class ExportedStructure(Structure):
    """A structure with its look and its origin.

    Attributes:
        color: Red, green, blue, 0 to 255; None takes one by the label value.
        term: What it is; None looks for its name.
        origin: Who made it, as `origin_in` returns it; empty where that is not known.
    """

    color: tuple[int, int, int] | None = None
    term: CodedTerm | None = None
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.color is not None and not all(0 <= each <= 255 for each in self.color):
            message = f'Structure "{self.name}" has the color {self.color}; use 0 to 255 for red, green and blue.'
            raise ConfigError(message)


@dataclass(frozen=True)
class ExportJob:
    """Write labels and their uncertainty as DICOM beside the DICOM images that they are about.

    Attributes:
        out: A folder in the worker's job folder, from which labels and uncertainty must come.
        images: The files of one series, in any order, wherever they are.
        labels: Label maps, uint8 with 0 as background, on one grid; structures that overlap are in different ones.
        uncertainty: Normalized entropy, float32 in [0, 1], on the same grid.
        structures: What the values mean; each is in one label map.
    """

    out: Path
    images: tuple[Path, ...]
    labels: tuple[VolumeFile, ...]
    uncertainty: VolumeFile
    structures: tuple[ExportedStructure, ...]

    def __post_init__(self) -> None:
        if not (self.images and self.labels and self.structures):
            message = "There is nothing to export: give DICOM images, labels and at least one structure."
            raise ConfigError(message)
        values = [each.value for each in self.structures]
        if len({*values}) < len(values):
            message = "Two structures have the same label value. Give each its own."
            raise ConfigError(message)


@dataclass(frozen=True)
class ExportResult:
    """Where the DICOM files are: a SEG and a Parametric Map."""

    segmentation: Path
    uncertainty: Path
