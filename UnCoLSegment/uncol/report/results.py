"""What one run gave: the one model from which its report is written, whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from uncol.core.jobs import AnnotatedSlices, Box, Structure
from uncol.core.volume import Plane, SliceView, Volume

if TYPE_CHECKING:  # scoring loads torch, MONAI and, through it, matplotlib; who only reads results needs none of them
    from uncol.evaluation.evaluate import Evaluation
    from uncol.evaluation.metrics import MaskScores

Method = Literal["interpolation", "first_pass", "fine_tuned"]

METHOD_NAMES: dict[Method, str] = {
    "interpolation": "Shape interpolation",
    "first_pass": "First pass",
    "fine_tuned": "Fine-tuned model",
}
"""The three results that are compared, in this order everywhere."""
BASELINES: tuple[Method, ...] = ("interpolation", "first_pass")
"""What is free: a fine-tuned model has to be better than the better one."""

_CROSS_PLANE: dict[Plane, Plane] = {"axial": "coronal", "coronal": "axial", "sagittal": "axial"}
_SMALLEST_UNCERTAINTY_SCALE = 0.2


@dataclass(frozen=True)
class SliceScore:
    """The scores of one slice.

    Attributes:
        number: Its number in the file.
        distance: Number of slices to the nearest annotated slice; 0 for an annotated slice.
        dice: Mean Dice by method, in [0, 1], over the structures that the method or the reference shows there;
            methods without any are missing.
    """

    number: int
    distance: int
    dice: Mapping[Method, float]


@dataclass(frozen=True)
class Suggestion:
    """Which slice to annotate next: its number in the file and in the stack, how unsure it is in [0, 1), and why."""

    file_index: int
    stack_index: int
    score: float
    reason: str


@dataclass(frozen=True)
class Cut:
    """One plane of everything, as it is shown: arrays (rows, columns), `spacing_mm` between rows and columns."""

    spacing_mm: tuple[float, float]
    plane: Plane
    image: NDArray[Any]
    reference: NDArray[Any]
    result: NDArray[Any]
    uncertainty: NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Results:
    """One run from the first box to the last score; all volumes lie on the image's grid.

    Attributes:
        title: Headline.
        source: What the image is, in words.
        image: Grey values.
        view: How its slices are counted.
        window: Grey values shown as black and white.
        structures: What was segmented.
        boxes: What prompted the first pass, a box for each structure.
        annotator: Who drew which slices, as the start of a sentence.
        annotated: The annotated slices, by their number in the file.
        annotation: Labels in these slices, 255 in all others.
        labels: What each method made of the image.
        uncertainty: That of the fine-tuned model, in [0, 1].
        reference: Labels that count as right.
        reference_source: Where they come from, in words.
        reference_use: What they were used for, in a sentence.
        evaluations: Scores of each method in the slices that nobody annotated.
        slices: Scores of every slice, in the order of the file.
        suggestion: Which slice to annotate next; None if there is none.
        training: What the model's card says about its training.
        foundation_model: Name of the foundation model.
        notes: Sentences that the user should read.
    """

    title: str
    source: str
    image: Volume
    view: SliceView
    window: tuple[float, float]
    structures: tuple[Structure, ...]
    boxes: tuple[Box, ...]
    annotator: str
    annotated: AnnotatedSlices
    annotation: Volume
    labels: Mapping[Method, Volume]
    uncertainty: Volume
    reference: Volume
    reference_source: str
    reference_use: str
    evaluations: Mapping[Method, Evaluation]
    slices: tuple[SliceScore, ...]
    suggestion: Suggestion | None
    training: Mapping[str, Any]
    foundation_model: str
    notes: tuple[str, ...]

    @cached_property
    def uncertainty_scale(self) -> float:
        """End of the color scale: the highest uncertainty but for a thousandth, rounded up to a tenth."""
        highest = float(np.quantile(self.uncertainty.voxels, 0.999))
        return min(1.0, max(_SMALLEST_UNCERTAINTY_SCALE, float(np.ceil(highest * 10 - 1e-6)) / 10))

    def cut(self, number: int, method: Method = "fine_tuned") -> Cut:
        """Return the file's slice of this number with what a method made of it."""
        index = self.view.stack_index(number, len(self.slices))
        return self._cut(lambda stack: stack[index], self.view.spacing_mm[1:], self.view.plane, method)

    def cross_cut(self, row: int) -> Cut:
        """Return the plane across all slices at one row of the stack, upright as radiologists look at it."""
        plane, (across, _, along) = self.view.plane, self.view.spacing_mm
        if plane == "sagittal":
            return self._cut(lambda stack: stack[:, row].T, (along, across), _CROSS_PLANE[plane])
        return self._cut(lambda stack: stack[::-1, row], (across, along), _CROSS_PLANE[plane])

    def _cut(
        self,
        plane_of: Callable[[NDArray[Any]], NDArray[Any]],
        spacing_mm: tuple[float, float],
        plane: Plane,
        method: Method = "fine_tuned",
    ) -> Cut:
        volumes = (self.image, self.reference, self.labels[method], self.uncertainty)
        return Cut(spacing_mm, plane, *(plane_of(self.view.stack_from(each.voxels)) for each in volumes))

    def scores(self) -> list[tuple[Structure, dict[Method, MaskScores]]]:
        """Return the scores of all methods structure by structure."""
        return [
            (structure, {method: self.evaluations[method].structures[place].scores for method in METHOD_NAMES})
            for place, structure in enumerate(self.structures)
        ]

    def mean_dice(self) -> dict[Method, float]:
        """Return the mean Dice over the structures by method."""
        return {method: self.evaluations[method].mean_dice for method in METHOD_NAMES}

    def warnings(self) -> list[str]:
        """Say what the scores of the fine-tuned model would hide, or the user should not overlook."""
        warnings, means = [], self.mean_dice()
        best = max(means, key=means.__getitem__)
        if means[best] > means["fine_tuned"]:
            warnings.append(
                f"By mean Dice the fine-tuned model is not better than the {METHOD_NAMES[best].lower()} here. "
                "Give it more --minutes, or annotate more slices with a smaller --every."
            )
        pairs = [
            (known_mm(each["fine_tuned"]), min(known_mm(each[it]) for it in BASELINES)) for _, each in self.scores()
        ]
        farther = sum(ours > theirs for ours, theirs in pairs)
        if 2 * farther > len(pairs):  # far-off islands hardly change Dice, but ruin the surface distance
            warnings.append(
                "The fine-tuned model's HD95 is larger than the better one of first pass and shape interpolation for "
                f"{farther} of {len(pairs)} {'structure' if len(pairs) == 1 else 'structures'}: look for false islands "
                "far from the structure."
            )
        return warnings

    def as_document(self) -> dict[str, Any]:
        """Return the numbers and notes as a JSON object."""
        return {
            "image": self.source,
            "annotated_slices": {"axis": self.annotated.axis, "indices": list(self.annotated.indices)},
            "slice_count": len(self.slices),
            "structures": [
                asdict(structure)
                | {method: {"dice": each.dice, "hd95_mm": each.hd95_mm} for method, each in by.items()}
                for structure, by in self.scores()
            ],
            "mean_dice": self.mean_dice(),
            "uncertainty": asdict(found) if (found := self.evaluations["fine_tuned"].uncertainty) else None,
            "suggestion": asdict(self.suggestion) if self.suggestion else None,
            "training": {key: self.training[key] for key in ("steps", "seconds", "device")},
            "notes": [*self.notes, *self.warnings()],
        }


def known_mm(scores: MaskScores) -> float:
    """Return the HD95 in mm; infinite where it is undefined because nothing was found."""
    return inf if scores.hd95_mm is None else scores.hd95_mm
