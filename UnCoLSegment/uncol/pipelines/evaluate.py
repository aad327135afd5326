"""Compare a segmentation with a reference, from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uncol.core.jobs import AnnotatedSlices, DicomChoice, Structure
from uncol.data.io import (
    read_map,
    read_prediction,
    read_reference,
)
from uncol.evaluation.evaluate import evaluate
from uncol.pipelines.results import Document


def run_evaluate(
    prediction: Path,
    reference: Path,
    *,
    uncertainty: Path | None,
    structures: Sequence[Structure],
    excluded: Sequence[AnnotatedSlices],
    only: Sequence[AnnotatedSlices],
    dicom: DicomChoice,
) -> Document:
    """Compare a segmentation with a reference; return the evaluation.

    Raises:
        UncolError: If a file cannot be used or nothing is left to compare.
    """
    truth = read_reference(reference, dicom)
    predicted = read_prediction(prediction, truth, reference.name, dicom)
    uncertainty_map = read_map(uncertainty, truth, reference.name) if uncertainty else None
    return evaluate(
        predicted, truth, structures=structures, excluded=excluded, only=only, uncertainty=uncertainty_map
    ).as_document()
