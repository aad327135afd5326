"""What the report of a run tells, as plain numbers and arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from numpy.typing import NDArray

from uncol.core.jobs import Structure
from uncol.core.volume import Plane

Method = Literal["interpolation", "first_pass", "fine_tuned"]

METHOD_NAMES: dict[Method, str] = {
    "interpolation": "Shape interpolation",
    "first_pass": "First pass",
    "fine_tuned": "Fine-tuned model",
}
"""The three results that are compared, in this order everywhere."""

ReferenceKind = Literal["given", "none", "generated"]
"""Where the reference comes from: the user's own labels, nowhere, or made together with the image."""

_CROSS_PLANE: dict[Plane, Plane] = {"axial": "coronal", "coronal": "axial", "sagittal": "axial"}


@dataclass(frozen=True)
class Score:
    """How well one result agrees with the reference for one structure.

    Attributes:
        dice: Overlap in [0, 1].
        hd95_mm: 95th percentile of the surface distance; None where it is not defined because nothing was found.
    """

    dice: float
    hd95_mm: float | None


@dataclass(frozen=True)
class Comparison:
    """The scores of one structure by method."""

    structure: Structure
    scores: Mapping[Method, Score]


@dataclass(frozen=True)
class SliceScore:
    """The scores of one slice.

    Attributes:
        slice_index: Slice of the stack.
        distance: Number of slices to the nearest annotated slice; 0 for an annotated slice.
        dice: Mean Dice over the slice's structures by method, in [0, 1].
    """

    slice_index: int
    distance: int
    dice: Mapping[Method, float]


@dataclass(frozen=True)
class LearningCurve:
    """How training went.

    Attributes:
        losses: Pairs (step, value) by the loss's name; a loss may start late.
        stage2_step: Step at which the slices that nobody annotated joined; None if they never did.
        held_out_dice: Pairs (step, Dice) on annotated slices that were kept out of training.
    """

    losses: Mapping[str, Sequence[tuple[int, float]]]
    stage2_step: int | None = None
    held_out_dice: Sequence[tuple[int, float]] = ()


@dataclass(frozen=True)
class StackBox:
    """The box that prompted the first pass; (slice, row, column) of the stack, both ends inclusive."""

    structure: Structure
    lower: tuple[int, int, int]
    upper: tuple[int, int, int]


@dataclass(frozen=True)
class Suggestion:
    """Which slice to annotate next, and why."""

    slice_index: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the numbers come from."""

    data_source: str
    reference: ReferenceKind
    seed: int
    steps: int
    seconds: float
    device: str
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """One slice of everything, as it is shown.

    Attributes:
        image: Grey values (rows, columns).
        reference: Reference labels (rows, columns).
        result: Labels of the result (rows, columns).
        uncertainty: In [0, 1], (rows, columns).
        spacing_mm: Distance between rows and between columns.
        plane: The plane that is shown.
    """

    image: NDArray[Any]
    reference: NDArray[Any]
    result: NDArray[Any]
    uncertainty: NDArray[Any]
    spacing_mm: tuple[float, float]
    plane: Plane


@dataclass(frozen=True, kw_only=True)
class Story:
    """One run from the first box to the last score; arrays are (slice, row, column) as in `core.volume.SliceView`.

    Attributes:
        title: Headline.
        summary: One paragraph in plain words.
        plane: Plane of the slices.
        image: Grey values.
        spacing_mm: Distance between slices, rows and columns.
        window: Grey values shown as black and white.
        structures: What was segmented.
        reference: Labels that count as right.
        result: Labels of the fine-tuned model.
        uncertainty: Its uncertainty in [0, 1].
        annotated_slices: Slices of the stack that were annotated.
        first_pass: Labels of the first pass; None if there was none.
        boxes: What prompted the first pass.
        comparisons: Scores on the whole volume.
        slice_scores: Scores of single slices.
        scores_note: What the scores cover, in a sentence.
        curve: How training went.
        uncertainty_note: How far the uncertainty can be trusted, in a sentence with its number.
        suggestion: Which slice to annotate next.
        provenance: Where the numbers come from.
        slice_numbers: The file's number of each slice of the stack; None counts from 0.
    """

    title: str
    summary: str
    plane: Plane
    image: NDArray[Any]
    spacing_mm: tuple[float, float, float]
    window: tuple[float, float]
    structures: tuple[Structure, ...]
    reference: NDArray[Any]
    result: NDArray[Any]
    uncertainty: NDArray[Any]
    annotated_slices: tuple[int, ...]
    provenance: Provenance
    first_pass: NDArray[Any] | None = None
    boxes: tuple[StackBox, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    slice_scores: tuple[SliceScore, ...] = ()
    scores_note: str = ""
    curve: LearningCurve | None = None
    uncertainty_note: str = ""
    suggestion: Suggestion | None = None
    slice_numbers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        arrays = (self.reference, self.result, self.uncertainty, self.first_pass)
        if any(array is not None and array.shape != self.image.shape for array in arrays):
            message = f"Every array of a story must have the image's shape {self.image.shape}."
            raise ValueError(message)

    @property
    def cross_plane(self) -> Plane:
        """The plane of `cross_cut`."""
        return _CROSS_PLANE[self.plane]

    def slice_number(self, slice_index: int) -> int:
        """Return the number under which the user knows a slice of the stack."""
        return slice_index if self.slice_numbers is None else self.slice_numbers[slice_index]

    def cut(self, slice_index: int) -> Cut:
        """Return one slice of the stack."""
        return Cut(
            self.image[slice_index],
            self.reference[slice_index],
            self.result[slice_index],
            self.uncertainty[slice_index],
            self.spacing_mm[1:],
            self.plane,
        )

    def first_pass_cut(self, slice_index: int) -> Cut:
        """Return one slice of the stack with the first pass in the place of the result."""
        cut = self.cut(slice_index)
        return cut if self.first_pass is None else replace(cut, result=self.first_pass[slice_index])

    def cross_cut(self, row: int) -> Cut:
        """Return the plane across all slices at one row, upright as radiologists look at it."""
        sideways = self.plane == "sagittal"

        def turned(stack: NDArray[Any]) -> NDArray[Any]:
            return stack[:, row].T if sideways else stack[::-1, row]

        across, along = self.spacing_mm[0], self.spacing_mm[2]
        return Cut(
            turned(self.image),
            turned(self.reference),
            turned(self.result),
            turned(self.uncertainty),
            (along, across) if sideways else (across, along),
            self.cross_plane,
        )
