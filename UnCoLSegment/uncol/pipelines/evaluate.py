"""Compare a segmentation with a reference, from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uncol.core.between_volumes import expect_of_next
from uncol.core.errors import ConfigError, DataError
from uncol.core.files import read_limited, resolved, sha256_of
from uncol.core.findings import findings_in
from uncol.core.jobs import AnnotatedSlices, DicomChoice, Structure
from uncol.core.promise import PromiseCheck, check_promise, promises_in
from uncol.core.records import to_document
from uncol.core.strict_json import read_json
from uncol.data.io import (
    REPORT_FILE,
    read_map,
    read_prediction,
    read_reference,
)
from uncol.evaluation.evaluate import Evaluation, evaluate
from uncol.pipelines.results import Document

_JSON_LIMIT_BYTES = 16 << 20
_BY_REPORT = (
    f"Compared is what the {REPORT_FILE} beside the segmentation names; other values of the reference are left out. "
    "Choose others with --structure."
)


def run_evaluate(
    prediction: Path,
    reference: Path,
    *,
    uncertainty: Path | None,
    structures: Sequence[Structure],
    excluded: Sequence[AnnotatedSlices],
    only: Sequence[AnnotatedSlices],
    dicom: DicomChoice,
    earlier: Sequence[Path] = (),
) -> Document:
    """Compare a segmentation with a reference; return the evaluation.

    Args:
        prediction: The segmentation.
        reference: The label map.
        uncertainty: Its uncertainty map, if it is to be measured, too.
        structures: What is compared; none compares what a report beside the segmentation names, or else all values.
        excluded: Slices that do not count.
        only: Slices that alone count.
        dicom: What to take of DICOM folders.
        earlier: Evaluations of other patients, as `uncol evaluate --json` wrote them, one for each.

    Raises:
        UncolError: If a file cannot be used, the uncertainty is of another segmentation, or nothing is left to compare.
    """
    before = _dice_of_patients(earlier)
    if uncertainty is not None:
        check_one_run(prediction, uncertainty)
    truth = read_reference(reference, dicom)
    predicted = read_prediction(prediction, truth, reference.name, dicom)
    uncertainty_map = read_map(uncertainty, truth, reference.name) if uncertainty else None
    report = _report_beside(prediction)
    segmented = structures or _segmented(report, prediction)
    found = evaluate(predicted, truth, structures=segmented, excluded=excluded, only=only, uncertainty=uncertainty_map)
    checks = _checked_promises(report, found, only)
    told = found.as_document() | {"promises": [to_document(each) | {"sentence": each.sentence} for each in checks]}
    told["notes"] = [_BY_REPORT] if segmented and not structures else []
    if not before:
        return told
    patients = [*before, {each.structure.name: each.scores.dice for each in found.structures}]
    expected = expect_of_next(patients)
    return told | {"next_patient": [to_document(each) | {"sentence": each.sentence} for each in expected]}


def _segmented(report: Document, prediction: Path) -> tuple[Structure, ...]:
    """Return the structures that a report names of the segmentation it was written with; none where it does not."""
    sums = report.get("files")
    if not isinstance(sums, dict) or prediction.is_dir() or sums.get(prediction.name) != sha256_of(prediction):
        return ()
    try:
        return tuple(Structure(each.value, each.name) for each in findings_in(report).structures)
    except ConfigError:
        return ()


def _dice_of_patients(paths: Sequence[Path]) -> list[dict[str, float]]:
    """Return the Dice by structure of each patient; nobody may count twice."""
    files = {resolved(path) for path in paths}
    if len(files) < len(paths):
        message = "An evaluation is given twice with --earlier. Give one file for each patient."
        raise DataError(message)
    return [_dice_in(path) for path in paths]


def _dice_in(path: Path) -> dict[str, float]:
    """Return the Dice of each structure in an evaluation of another patient."""
    try:
        listed = read_json(read_limited(path, _JSON_LIMIT_BYTES).decode("utf-8"))["structures"]
        dice = {str(each["name"]): float(each["dice"]) for each in listed}
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f'"{path.name}" is no evaluation. Give what `uncol evaluate --json` wrote, one file for each patient.'
        raise DataError(message) from error
    if not all(0 <= each <= 1 for each in dice.values()):
        message = f'"{path.name}" holds a Dice that is not in 0 to 1. Evaluate that patient again.'
        raise DataError(message)
    return dice


def _checked_promises(report: Document, found: Evaluation, only: Sequence[AnnotatedSlices]) -> tuple[PromiseCheck, ...]:
    """Compare the promises of a report with what was found in slices that were asked for along their axis."""
    suggested = report.get("next_slices")
    axis = suggested.get("axis") if isinstance(suggested, dict) else None
    if not only or any(each.axis != axis for each in only):
        return ()
    dice = {each.structure.name: each.scores.dice for each in found.structures}
    return check_promise(promises_in(report), dice, {index for each in only for index in each.indices})


def check_one_run(segmentation: Path, uncertainty: Path) -> None:
    """Refuse a segmentation and an uncertainty of which reports beside them say that they do not belong together.

    Raises:
        DataError: If one is not what its report was written with, or they were made from different images.
    """
    reports = [(path, _report_beside(path)) for path in (segmentation, uncertainty)]
    for path, report in reports:
        sums = report.get("files")
        known = sums.get(path.name) if isinstance(sums, dict) else None
        if known is not None and path.is_file() and known != sha256_of(path):
            message = (
                f'"{path.name}" is not the file that the {REPORT_FILE} beside it was written with: it was changed, or '
                "is of another run. Segment the image again, or keep files that you change in another folder."
            )
            raise DataError(message)
    images = [report.get("image") for _, report in reports]
    first, second = (each.get("sha256") if isinstance(each, dict) else None for each in images)
    if first and second and first != second:
        message = (
            f'"{segmentation.name}" and "{uncertainty.name}" were made from different images, as the {REPORT_FILE} '
            "beside each of them says. Choose two files of one run."
        )
        raise DataError(message)


def _report_beside(path: Path) -> Document:
    """Return the report beside a file; empty where there is none, or one of another program."""
    try:
        report = read_json(read_limited(path.parent / REPORT_FILE, _JSON_LIMIT_BYTES))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    except OSError as error:
        reason = error.strerror or error
        message = f'The {REPORT_FILE} beside "{path.name}" cannot be read ({reason}). Take it away, or segment again.'
        raise DataError(message) from error
    return report if isinstance(report, dict) else {}
