"""What a piece of work is asked for and what it gives; the command line, the worker and the panel all use it.

The worker's messages are these dataclasses (`core/protocol.py`): a field has the same name on both sides of the pipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from uncol.core.config import BudgetConfig
from uncol.core.errors import ConfigError, DataError
from uncol.core.files import resolved
from uncol.core.findings import Findings
from uncol.core.methods import find_method
from uncol.core.slice_scores import SliceScore
from uncol.core.uncertainty_maps import MapName, check_maps
from uncol.core.volume import ARRAY_AXIS, Axis
from uncol.core.volume_files import VolumeFile

Device = Literal["auto", "cpu", "cuda", "mps"]
StudentChoice = Literal["2d", "3d", "auto"]
"""Slices with neighbors, patches of volumes, or what suits the annotation."""
VolumeSource = Path | VolumeFile
"""A file of any known format, or a volume from the panel."""
_LONGEST_NAME = 1000


@dataclass(frozen=True)
class DicomChoice:
    """What to take of a folder with DICOM files; other images do not need it.

    Attributes:
        series: Number of the series, from 1, in the order of the message that lists them; None where there is one.
        allow_incomplete: Whether a series is read although some of its files are empty, damaged or do not fit.
    """

    series: int | None = None
    allow_incomplete: bool = False


@dataclass(frozen=True)
class Structure:
    """One structure to segment: its label value in files and its name on screen."""

    value: int
    name: str

    def __post_init__(self) -> None:
        if not 1 <= self.value <= 254:
            message = (
                f'Structure "{self.name}" has label value {self.value}; use 1 to 254 (0 is background, 255 unknown).'
            )
            raise ConfigError(message)
        if len(self.name) > _LONGEST_NAME:
            message = f'Structure "{self.name[:40]}..." has a name of {len(self.name)} letters; shorten it.'
            raise ConfigError(message)


@dataclass(frozen=True)
class Box:
    """A 3D box round one structure, in voxel indices of the input image, both ends inclusive."""

    structure: str
    lower_ijk: tuple[int, int, int]
    upper_ijk: tuple[int, int, int]

    def __post_init__(self) -> None:
        if any(start > stop for start, stop in zip(self.lower_ijk, self.upper_ijk, strict=True)):
            message = (
                f'Box of "{self.structure}" is empty: each first index must be at most the second '
                f"(I0 <= I1, J0 <= J1, K0 <= K1), got {self.lower_ijk} and {self.upper_ijk}."
            )
            raise ConfigError(message)


@dataclass(frozen=True)
class AnnotatedSlices:
    """Which slices of a label map count as annotated, along one voxel index of the file.

    Attributes:
        axis: The voxel index (I, J or K) that counts the slices.
        indices: Slice numbers, from 0.
        case: Number of the case that this is about, from 1; None for every case.
    """

    axis: Axis
    indices: tuple[int, ...]
    case: int | None = None

    def __str__(self) -> str:
        case = "" if self.case is None else f"{self.case}@"
        return f"{case}{self.axis}:{','.join(map(str, self.indices))}"


def voxels_in(selection: Sequence[AnnotatedSlices], shape_kji: tuple[int, ...], subject: str) -> NDArray[np.bool_]:
    """Return the voxels (K, J, I) of a volume that lie in any of some slices; their `case` is not looked at.

    Raises:
        DataError: If a slice does not exist; it names the subject.
    """
    chosen = np.zeros(shape_kji, dtype=np.bool_)
    for each in selection:
        slices = np.moveaxis(chosen, ARRAY_AXIS[each.axis], 0)
        missing = [index for index in each.indices if not 0 <= index < len(slices)]
        if missing:
            message = (
                f"Slice {each.axis}:{missing[0]} does not exist in {subject}, which has slices 0 to {len(slices) - 1} "
                f"along {each.axis}. Give existing slice numbers."
            )
            raise DataError(message)
        slices[list(each.indices)] = True
    return chosen


@dataclass(frozen=True)
class SegmentJob:
    """Segment one image, with a model or, without one, from boxes or annotated slices.

    Attributes:
        image: The image's file, or a DICOM folder.
        out: Folder for the results; for a worker one in its job folder, from which image and labels must come.
        model: Folder of the model; for a worker also its name.
        boxes: Boxes round structures.
        labels: Label map with a few annotated slices, 255 elsewhere.
        annotated_slices: Which slices of it count as annotated; none leaves that to the 255.
        structures: Names of its values.
        maps: Which maps are wanted beside the entropy.
        device: Where to compute.
        dicom: What to take of DICOM folders.
    """

    image: VolumeSource
    out: Path
    model: Path | None = None
    boxes: tuple[Box, ...] = ()
    labels: VolumeSource | None = None
    annotated_slices: tuple[AnnotatedSlices, ...] = ()
    structures: tuple[Structure, ...] = ()
    maps: tuple[MapName, ...] = ()
    device: Device = "auto"
    dicom: DicomChoice = DicomChoice()

    def __post_init__(self) -> None:
        check_maps(self.maps, has_sources=self.labels is not None, has_model=self.model is not None)
        if sum([self.model is not None, bool(self.boxes), self.labels is not None]) != 1:
            message = "Say what to segment with: exactly one of a model (--model), boxes (--box) or slices (--labels)."
            raise ConfigError(message)


@dataclass(frozen=True)
class SegmentResult:
    """What was found in an image.

    Attributes:
        segmentation: Labels, uint8.
        uncertainty: Normalized entropy, float32 in [0, 1].
        report: A JSON object about both.
        slices: By voxel index (I, J, K), the slices in which something was found or is near.
        maps: Further maps that were wanted, by name, float32 in [0, 1].
        findings: Structures in numbers, where to look, and what to annotate next, as the report has them.
        places: Numbers of the places to look at, uint8, 0 elsewhere; None where none was looked for.
    """

    segmentation: VolumeFile
    uncertainty: VolumeFile
    report: dict[str, Any]
    slices: dict[str, tuple[SliceScore, ...]] = field(default_factory=dict)
    maps: dict[str, VolumeFile] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    places: VolumeFile | None = None


@dataclass(frozen=True)
class Case:
    """One image with the label map that holds its annotated slices."""

    image: VolumeSource
    labels: VolumeSource


@dataclass(frozen=True)
class FineTuneJob:
    """Train a model from annotated slices and everything that nobody annotated.

    Attributes:
        cases: Images with their label maps.
        out: Folder for the model; for a worker also its name.
        unlabeled: Further images.
        annotated_slices: Which slices of the label maps count as annotated; none leaves that to the 255.
        structures: Names of their values.
        minutes: Time for everything; at most one of minutes and steps.
        steps: Number of steps.
        seed: Seed of all randomness.
        base: Model to start from: its folder; for a worker also its name.
        compare_with: Model that the new one is compared with; None compares with the base. For a worker also a name.
        method: Name of the method.
        student: Kind of network.
        resume: Whether to go on with the unfinished run in `out`.
        proposal: Folder for what is proposed for the first image; None proposes nothing. A worker needs one in its job
            folder, from which images and labels must come.
        further_proposals: The same for the cases after the first one, a folder for each; none proposes nothing.
        maps: Which maps of the proposal are wanted beside the entropy.
        preview_s: Least time between two previews of a worker, in s; None for no previews.
        device: Where to compute.
        dicom: What to take of DICOM folders.

    What is None of minutes, steps, seed, method and student is that of the configuration.
    """

    cases: tuple[Case, ...]
    out: Path
    unlabeled: tuple[VolumeSource, ...] = ()
    annotated_slices: tuple[AnnotatedSlices, ...] = ()
    structures: tuple[Structure, ...] = ()
    minutes: float | None = None
    steps: int | None = None
    seed: int | None = None
    base: Path | None = None
    compare_with: Path | None = None
    method: str | None = None
    student: StudentChoice | None = None
    resume: bool = False
    proposal: Path | None = None
    further_proposals: tuple[Path, ...] = ()
    maps: tuple[MapName, ...] = ()
    preview_s: float | None = None
    device: Device = "auto"
    dicom: DicomChoice = DicomChoice()

    def __post_init__(self) -> None:
        if self.method is not None:
            find_method(self.method)
        if self.minutes is not None or self.steps is not None:
            BudgetConfig(minutes=self.minutes, steps=self.steps)  # it refuses what no run can have
        if not self.cases:
            message = "There is nothing to learn from: give at least one image with annotated slices."
            raise ConfigError(message)
        if self.seed is not None and not 0 <= self.seed < 2**63:
            message = f"seed must be a whole number from 0 to 2^63 - 1, got {self.seed}."
            raise ConfigError(message)
        if self.preview_s is not None and self.preview_s <= 0:
            message = f"preview_s must be above 0, got {self.preview_s:g}. Leave it out for no previews."
            raise ConfigError(message)
        self._check_proposal()
        for each in self.annotated_slices:
            if each.case is not None and each.case > len(self.cases):
                message = (
                    f'Slices "{each}" are of case {each.case}, but the last one is case {len(self.cases)}. '
                    "Cases are counted from 1, in the order of --case: correct the number."
                )
                raise ConfigError(message)

    def _check_proposal(self) -> None:
        check_maps(self.maps, has_sources=True, has_model=False)
        if self.maps and self.proposal is None:
            message = f"There is {self.maps[0]} of a proposal only. Add --proposal, or leave out --maps."
            raise ConfigError(message)
        further = len(self.cases) - 1 if self.proposal is not None else 0
        if len(self.further_proposals) not in (0, further):
            message = (
                f"There are {len(self.further_proposals)} folders for what is proposed after the first case, where "
                f"{further} can be filled. Give one for each further case, or none."
            )
            raise ConfigError(message)
        for proposal in filter(None, (self.proposal, *self.further_proposals)):
            self._check_beside_model(proposal)

    def _check_beside_model(self, proposal: Path) -> None:
        if resolved(proposal).is_relative_to(resolved(self.out)):
            message = (
                f'"{proposal}" lies in the model\'s folder. Models are passed on, and what was found in an image '
                "is not to go with them: choose another folder for --proposal."
            )
            raise ConfigError(message)


@dataclass(frozen=True)
class FineTuneResult:
    """The model that was trained, and what is proposed for its images.

    Attributes:
        out: Its folder.
        structures: What it segments.
        training: The record of its training: steps, curve, notes, scores and reliabilities.
        proposal: Labels, uncertainty and report on the first image, with `by_both_teachers`.
        further_proposals: The same on the images after it, if it was wanted.
    """

    out: Path
    structures: tuple[Structure, ...]
    training: dict[str, Any]
    proposal: SegmentResult
    further_proposals: tuple[SegmentResult, ...] = ()
