"""Results of a run on nine small slices, of which the first and the last are annotated; all scores are given."""

from __future__ import annotations

from typing import Any

import numpy as np

from uncol.core.findings import Finding
from uncol.core.jobs import AnnotatedSlices, Box, Structure
from uncol.core.volume import Volume, view_slices
from uncol.evaluation.evaluate import Evaluation, StructureScores, UncertaintyScores
from uncol.evaluation.metrics import MaskScores
from uncol.report.outcome import Outcome
from uncol.report.picture import Picture
from uncol.report.results import Method, Results, SliceScore, Suggestion
from uncol.report.viewer import Scene

LIVER, SPLEEN = Structure(1, "liver"), Structure(7, "spleen")
SHAPE_KJI = (9, 20, 24)
UPRIGHT = np.array([[-3.0, 0, 0, 5], [0, -2, 0, 6], [0, 0, 5, 7], [0, 0, 0, 1]])
"""I to the left, J to posterior, K up, as the axial stack runs."""
TURNED = np.array([[3.0, 0, 0, 5], [0, -2, 0, 6], [0, 0, -5, 7], [0, 0, 0, 1]])
"""I to the right and K down: the axial stack counts slices and columns the other way."""

GOOD_UNCERTAINTY = UncertaintyScores(0.87, 0.9, 0.1234, 5.0, 1000, 25, 3)

Scores = dict[Method, tuple[tuple[float, float | None], ...]]
"""Dice and HD95 of each structure, by method."""

SCORES: Scores = {
    "interpolation": ((0.8127, 12.34), (0.92, 3.0)),
    "first_pass": ((0.702, 20.0), (0.0, None)),
    "fine_tuned": ((0.9349, 4.56), (0.91, 3.5)),
}


def evaluations_of(
    scores: Scores,
    structures: tuple[Structure, ...] = (LIVER, SPLEEN),
    uncertainty: UncertaintyScores | None = GOOD_UNCERTAINTY,
) -> dict[Method, Evaluation]:
    """Give scores the form in which they are measured; only the fine-tuned model has an uncertainty."""

    def evaluation(method: Method) -> Evaluation:
        measured = tuple(
            StructureScores(structure, MaskScores(dice, hd95_mm, None, 1, 1))
            for structure, (dice, hd95_mm) in zip(structures, scores[method], strict=True)
        )
        return Evaluation(measured, "K", 7, 9, 1000, uncertainty if method == "fine_tuned" else None)

    return {method: evaluation(method) for method in scores}


def small_results(matrix: Any = UPRIGHT) -> Results:
    """Return the results on a grid that lies like this in the patient."""
    generator = np.random.default_rng(0)
    voxels = np.zeros(SHAPE_KJI, np.uint8)
    voxels[:, 5:15, 3:12] = 1
    voxels[:, 8:14, 15:21] = 7
    reference = Volume(voxels, matrix)
    found = reference.with_voxels(np.roll(voxels, 1, axis=2))
    return Results(
        title="UnCoL demo",
        source="a generated phantom",
        image=reference.with_voxels(generator.normal(40, 20, SHAPE_KJI)),
        view=view_slices(reference, "axial"),
        window=(-100.0, 200.0),
        structures=(LIVER, SPLEEN),
        boxes=(Box("liver", (2, 4, 0), (12, 15, 8)), Box("spleen", (15, 8, 0), (20, 13, 8))),
        annotator="A test drew the first and the last slice",
        annotated=AnnotatedSlices("K", (0, 8)),
        annotation=reference,
        labels={"interpolation": found, "first_pass": reference, "fine_tuned": found},
        uncertainty=reference.with_voxels(generator.uniform(0, 0.4, SHAPE_KJI)),
        reference=reference,
        reference_source="made up for a test",
        reference_use="The reference was used for nothing else.",
        evaluations=evaluations_of(SCORES),
        slices=tuple(
            SliceScore(number, min(number, 8 - number), {"interpolation": 0.8, "first_pass": 0.7, "fine_tuned": dice})
            for number, dice in enumerate((0.99, 0.95, 0.93, 0.61, 0.90, 0.92, 0.94, 0.96, 0.99))
        ),
        suggestion=Suggestion(4, 4, 0.3, "The border of the spleen is unsure."),
        training={
            "steps": 400,
            "seconds": 272.4,
            "device": "cpu",
            "seed": 17,
            "generalized_teacher": "LiteMedSAM",
            "versions": {"torch": "2.9.1"},
            "curve": [
                {"step": 2, "seconds": 1.0, "stage": 1, "supervised": 2.0},
                {"step": 10, "seconds": 2.0, "stage": 1, "supervised": 1.5},
                {"step": 20, "seconds": 3.0, "stage": 2, "supervised": 1.2, "pseudo_label": 0.8},
            ],
        },
        foundation_model="LiteMedSAM",
        notes=("A note of the training.",),
    )


def small_outcome(results: Results, **changed: Any) -> Outcome:
    """Return what the same run says in numbers and words."""
    findings = tuple(Finding(each.name, each.value, 900, 27.0, 0.2) for each in results.structures)
    facts: dict[str, Any] = {
        "training": dict(results.training), "model": "model", "annotated": (results.annotated,), "device": "cpu",
        "seconds": 3.0, "size_ijk": (24, 20, 9), "spacing_mm": (3.0, 2.0, 5.0), "image_sha256": "ab" * 32,
        "notes": results.notes, "version": "0.2.0", "files": {"segmentation.nii.gz": "cd" * 32},
    }  # fmt: skip
    return Outcome(findings, **{**facts, **changed})


def small_scene(results: Results, **changed: Any) -> Scene:
    """Return the same run to look through."""
    labels = results.labels["fine_tuned"]
    return Scene(
        title=", ".join(each.name for each in results.structures),
        outcome=small_outcome(results, **changed),
        picture=Picture.of(results.image, labels, results.view),
        labels=labels,
        uncertainty=results.uncertainty,
        view=results.view,
        compared={"First pass": results.labels["first_pass"]},
        reference=results.reference,
        slice_dice=[each.dice["fine_tuned"] for each in results.slices],
    )
