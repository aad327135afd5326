"""A result as a page to look through, from the files that a run left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from uncol.core.errors import DataError
from uncol.core.files import read_limited, sha256_of
from uncol.core.jobs import DicomChoice, Structure
from uncol.core.printable import printable_document
from uncol.core.strict_json import read_json
from uncol.core.volume import Axis, Volume
from uncol.data.io import REPORT_FILE, content_hash, read_beside, read_map, read_segmented_image, write_results
from uncol.data.label_values import as_labels
from uncol.evaluation.evaluate import dice_per_slice, evaluate
from uncol.formats.read import read_volume
from uncol.pipelines.results import PAGE_FILE, SEGMENTATION_FILE, UNCERTAINTY_FILE, title_of, view_of
from uncol.report.outcome import Outcome
from uncol.report.picture import PAGE_VOXELS, Picture, picture_in
from uncol.report.viewer import Scene, view_page

VIEW_FILE, VERDICT_FILE = "view.html", "verdict.json"
_IMAGE_FILE, _REFERENCE_FILE = "image.nii.gz", "reference.nii.gz"
_OTHER_FILES = {"First pass": "first-pass.nii.gz"}
_REPORT_LIMIT_BYTES, _PAGE_LIMIT_BYTES = 16 << 20, 256 << 20


@dataclass(frozen=True)
class ViewJob:
    """Look through a result.

    Attributes:
        folder: Folder that `segment`, `fine-tune --proposal` or `demo` wrote.
        image: The image that was segmented; None takes what lies in the folder.
        reference: Label map that counts as right; None takes the one that a demo wrote, if there is one.
        compared: Other segmentations of the image by name.
        dicom: What to take of DICOM folders.
    """

    folder: Path
    image: Path | None = None
    reference: Path | None = None
    compared: Mapping[str, Path] = field(default_factory=dict)
    dicom: DicomChoice = field(default_factory=DicomChoice)


def write_view(job: ViewJob, out: Path | None = None) -> Path:
    """Write the page into the result's folder, or another one; return where it is.

    Raises:
        UncolError: If there is no result, a file cannot be used, or the page cannot be written.
    """
    folder = out or job.folder
    write_results(folder, {}, {VIEW_FILE: view_page(scene_of(job))})
    return folder / VIEW_FILE


def scene_of(job: ViewJob, most_voxels: int | None = PAGE_VOXELS) -> Scene:
    """Read a result and what is looked at beside it.

    Args:
        job: What to look at.
        most_voxels: How many voxels of the image are shown at most; None shows all.

    Raises:
        UncolError: If there is no result, or a file cannot be used.
    """
    report = _report_in(job.folder)
    outcome = Outcome.of_segmentation(report)
    for name, known in outcome.files.items():
        if name in (SEGMENTATION_FILE, UNCERTAINTY_FILE) and _sum_of(job.folder / name) != known:
            message = (
                f'"{name}" in "{job.folder}" is not the file that the {REPORT_FILE} beside it was written with: it was '
                "changed, or is missing. Segment the image again, or keep files that you change in another folder."
            )
            raise DataError(message)
    labels = _labels_of(job.folder / SEGMENTATION_FILE)
    uncertainty = read_map(job.folder / UNCERTAINTY_FILE, labels, SEGMENTATION_FILE)
    view = view_of(labels, outcome.annotated)
    reference = _reference_of(job, labels)
    others = {name: path for name, file in _OTHER_FILES.items() if (path := job.folder / file).is_file()}
    scored = {} if reference is None else _scored(labels, reference, outcome, view.slice_axis)
    return Scene(
        title=title_of(outcome),
        outcome=outcome,
        picture=_picture_of(job, labels, outcome, most_voxels),
        labels=labels,
        uncertainty=uncertainty,
        view=view,
        compared={
            name: read_beside(path, "Segmentation", labels, SEGMENTATION_FILE, job.dicom)
            for name, path in {**others, **job.compared}.items()
        },
        reference=reference,
        **scored,
    )


def _report_in(folder: Path) -> dict[str, Any]:
    try:
        report = printable_document(read_json(read_limited(folder / REPORT_FILE, _REPORT_LIMIT_BYTES).decode("utf-8")))
    except (FileNotFoundError, NotADirectoryError) as error:
        message = (
            f'"{folder}" holds no result: there is no {REPORT_FILE}. Give the folder that segment, demo or '
            "fine-tune --proposal wrote."
        )
        raise DataError(message) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f'The {REPORT_FILE} in "{folder}" cannot be read ({reason}). Segment the image again.'
        raise DataError(message) from error
    if not isinstance(report, dict):
        message = f'The {REPORT_FILE} in "{folder}" is none of ours. Segment the image again.'
        raise DataError(message)
    return report


def _sum_of(path: Path) -> str:
    return sha256_of(path) if path.is_file() else ""


def _labels_of(path: Path) -> Volume:
    """Read a segmentation, which may be empty."""
    subject = f'Segmentation "{path.name}"'
    volume = read_volume(path, subject, DicomChoice())
    return volume.with_voxels(as_labels(volume.voxels, subject))


def _reference_of(job: ViewJob, labels: Volume) -> Volume | None:
    path = job.reference or job.folder / _REFERENCE_FILE
    if job.reference is None and not path.is_file():
        return None
    return read_beside(path, "Reference", labels, SEGMENTATION_FILE, job.dicom)


def _picture_of(job: ViewJob, labels: Volume, outcome: Outcome, most_voxels: int | None) -> Picture:
    path = job.image or job.folder / _IMAGE_FILE
    view = view_of(labels, outcome.annotated)
    if job.image is not None or path.is_file():
        image = read_segmented_image(path, labels, SEGMENTATION_FILE, job.dicom)
        if outcome.image_sha256 and content_hash(image) != outcome.image_sha256:
            message = (
                f'Image "{path.name}" is not the one that was segmented: its voxels or its place differ. '
                "Give the image that the result was made from."
            )
            raise DataError(message)
        return Picture.of(image, labels, view, most_voxels)
    try:
        page = read_limited(job.folder / PAGE_FILE, _PAGE_LIMIT_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        message = f'There is no picture of the image in "{job.folder}". Give the image with --image.'
        raise DataError(message) from error
    return picture_in(page, labels)


def _scored(labels: Volume, reference: Volume, outcome: Outcome, axis: Axis) -> dict[str, Any]:
    structures = [Structure(each.value, each.name) for each in outcome.findings]
    annotated = [each for each in outcome.annotated if each.axis == axis]
    by_structure = [dice_per_slice(labels, reference, each.value, axis) for each in structures]
    defined = [[each for each in slice_dice if each is not None] for slice_dice in zip(*by_structure, strict=True)]
    found = evaluate(labels, reference, structures=structures, excluded=annotated)
    where = "on slices that nobody annotated" if annotated else "against the reference"
    return {
        "slice_dice": [fmean(each) if each else None for each in defined],
        "scores": {each.structure.value: f"Dice {each.scores.dice:.3f} {where}" for each in found.structures},
    }
