"""The demo's results as the story that the report tells, and as a JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from uncol.core.jobs import Box, Structure
from uncol.core.volume import SliceView, Volume
from uncol.demo.case import Annotation, DemoCase
from uncol.demo.scores import Scores
from uncol.demo.suggestion import NextSlice
from uncol.inference.result import Segmentation
from uncol.models.checkpoints import Model
from uncol.report.story import METHOD_NAMES, LearningCurve, Provenance, StackBox, Story, Suggestion

_NO_REFERENCE = (
    "This image has no reference, so no accuracy is given. The simulated annotator copied the foundation model's first "
    'pass; where the pictures say "reference", they show that first pass, which may be wrong.'
)


@dataclass(frozen=True)
class DemoResults:
    """Everything that the demo made of one volume.

    Attributes:
        case: The volume.
        view: How its slices are counted.
        window: Grey values that both networks were shown.
        foundation_model: Name of the foundation model.
        annotation: What the simulated annotator drew.
        first_pass: What the foundation model made of the boxes.
        interpolation: What filling between the annotated slices gives.
        model: The fine-tuned model.
        result: Its segmentation.
        suggestion: The slice to annotate next, if there is one.
    """

    case: DemoCase
    view: SliceView
    window: tuple[float, float]
    foundation_model: str
    annotation: Annotation
    first_pass: Segmentation
    interpolation: Volume
    model: Model
    result: Segmentation
    suggestion: NextSlice | None

    @property
    def slice_count(self) -> int:
        """Slices of the volume."""
        return len(self.view.stack_from(self.case.image.voxels))

    def notes(self) -> list[str]:
        """Return every sentence that the user should read."""
        return [
            *self.annotation.notes,
            *(f"First pass: {note}" for note in self.first_pass.notes),
            *self.model.card.training["notes"],
            *self.result.notes,
        ]


def tell_story(results: DemoResults, scores: Scores, every: int) -> Story:
    """Return what the report tells."""
    case, view, count = results.case, results.view, results.slice_count
    first_pass = view.stack_from(results.first_pass.labels.voxels)
    suggestion = results.suggestion
    return Story(
        title="UnCoL demo: from a few annotated slices to a whole volume",
        summary=_summary(results, scores, every),
        plane=view.plane,
        image=view.stack_from(case.image.voxels),
        spacing_mm=view.spacing_mm,
        window=results.window,
        structures=results.annotation.structures,
        reference=view.stack_from(case.reference.voxels),
        result=view.stack_from(results.result.labels.voxels),
        uncertainty=view.stack_from(results.result.uncertainty.voxels),
        annotated_slices=tuple(sorted(view.stack_index(each, count) for each in results.annotation.slices.indices)),
        first_pass=first_pass,
        boxes=tuple(
            _stack_box(structure, box, results)
            for structure, box in zip(case.structures, case.boxes, strict=True)
            if structure in results.annotation.structures
        ),
        comparisons=scores.comparisons(),
        slice_scores=scores.slices,
        scores_note=_scores_note(results, scores),
        curve=_curve(results.model),
        uncertainty_note=_uncertainty_note(scores),
        suggestion=Suggestion(suggestion.stack_index, suggestion.reason) if suggestion else None,
        provenance=_provenance(results),
        slice_numbers=tuple(view.file_index(index, count) for index in range(count)),
    )


def result_document(results: DemoResults, scores: Scores, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return the results as a JSON object; without a reference the scores are empty."""
    annotation, training, suggestion = results.annotation, results.model.card.training, results.suggestion
    return {
        "image": results.case.source,
        "annotated_slices": {"axis": annotation.slices.axis, "indices": list(annotation.slices.indices)},
        "slice_count": results.slice_count,
        "structures": [
            {
                "name": each.structure.name,
                "value": each.structure.value,
                **{method: asdict(value) for method, value in each.scores.items()},
            }
            for each in scores.comparisons()
        ]
        or [asdict(each) for each in annotation.structures],
        "mean_dice": scores.mean_dice(),
        "uncertainty": asdict(scores.uncertainty) if scores.uncertainty else None,
        "suggestion": asdict(suggestion) if suggestion else None,
        "training": {key: training[key] for key in ("steps", "seconds", "device")},
        "seconds": {part: round(value, 1) for part, value in seconds.items()},
        "notes": [*results.notes(), *filter(None, [scores.verdict()])],
    }


def _summary(results: DemoResults, scores: Scores, every: int) -> str:
    drawn, training = len(results.annotation.slices.indices), results.model.card.training
    told = (
        f"The image is {results.case.source}. A simulated annotator drew one slice in {every}: {drawn} of "
        f"{results.slice_count}. From these, and from the {results.slice_count - drawn} slices that nobody annotated, "
        f"UnCoL learned for {training['seconds']:.0f} s. "
    )
    if not scores.evaluations:
        return told + _NO_REFERENCE
    means = scores.mean_dice()
    others = ", ".join(
        f"{METHOD_NAMES[each].lower()} {means[each]:.3f}" for each in METHOD_NAMES if each != "fine_tuned"
    )
    verdict = scores.verdict()
    return (
        f"{told}On the slices that nobody annotated its mean Dice is {means['fine_tuned']:.3f} ({others}). "
        + (f"{verdict} " if verdict else "")
        + "The reference was used to draw the boxes, to annotate those slices and to score the others, "
        "and for nothing else."
    )


def _scores_note(results: DemoResults, scores: Scores) -> str:
    if not scores.evaluations:
        return _NO_REFERENCE
    numbers = sorted(results.annotation.slices.indices)
    note = f"Scored on the {results.slice_count - len(numbers)} slices that nobody annotated."
    outside = numbers[0] + results.slice_count - 1 - numbers[-1]
    if outside:
        note += (
            f" Before slice {numbers[0]} and after slice {numbers[-1]}, in {outside} of them, "
            "interpolation has only one side to go by and finds nothing."
        )
    return note


def _uncertainty_note(scores: Scores) -> str:
    doubt = scores.uncertainty
    if doubt is None:
        return "Without a reference nobody can say how well the uncertainty finds errors in this image."
    if doubt.error_detection_auroc is None:
        return f"Within {doubt.band_mm:g} mm of a boundary there were not both right and wrong voxels to tell apart."
    share = doubt.band_errors / doubt.band_voxels
    return (
        f"Within {doubt.band_mm:g} mm of a boundary {share:.1%} of the voxels are wrong; there a wrong voxel is more "
        f"uncertain than a right one in {100 * doubt.error_detection_auroc:.0f} of 100 cases (50 would be chance). "
        f"Confidence and accuracy differ there by {doubt.expected_calibration_error:.3f} on average."
    )


def _curve(model: Model) -> LearningCurve:
    points = model.card.training["curve"]
    names = {
        "supervised": "annotated slices",
        "pseudo_label": "slices that nobody annotated",
        "distillation": "the foundation model's features",
    }
    losses = {
        title: [(point["step"], point[name]) for point in points if name in point] for name, title in names.items()
    }
    first_stage = [point["step"] for point in points if point["stage"] == 1]
    has_second = len(first_stage) < len(points)
    return LearningCurve(
        {title: pairs for title, pairs in losses.items() if pairs},
        stage2_step=max(first_stage, default=0) if has_second else None,
    )


def _provenance(results: DemoResults) -> Provenance:
    training = results.model.card.training
    taught = training["generalized_teacher"] is not None
    role = "made the first pass and was a teacher" if taught else "made the first pass"
    return Provenance(
        data_source=results.case.source,
        reference=results.case.reference_kind,
        seed=training["seed"],
        steps=training["steps"],
        seconds=training["seconds"],
        device=training["device"].upper(),
        versions={"Foundation model": f"{results.foundation_model}; it {role}", **training["versions"]},
    )


def _stack_box(structure: Structure, box: Box, results: DemoResults) -> StackBox:
    view, shape = results.view, results.case.image.shape_kji
    lower_kji, upper_kji = box.lower_ijk[::-1], box.upper_ijk[::-1]

    def ends(axis: int, is_flipped: bool) -> tuple[int, int]:
        start, stop = lower_kji[axis], upper_kji[axis]
        return (shape[axis] - 1 - stop, shape[axis] - 1 - start) if is_flipped else (start, stop)

    slices, rows, columns = (ends(axis, is_flipped) for axis, is_flipped in zip(view.order, view.flips, strict=True))
    return StackBox(structure, (slices[0], rows[0], columns[0]), (slices[1], rows[1], columns[1]))
