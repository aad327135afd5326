"""What a job gives: a segmentation with a report about it, and how both are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch

from uncol import __version__
from uncol.core.dicom_export import DICOM_FILES, ExportedStructure, origin_in
from uncol.core.errors import OutputError
from uncol.core.files import sha256_of
from uncol.core.jobs import AnnotatedSlices
from uncol.core.model_folder import DISCLAIMER, has_model
from uncol.core.records import to_document
from uncol.core.uncertainty_maps import MapName
from uncol.core.volume import SliceView, Volume, plane_of_axis, view_slices
from uncol.data.io import (
    check_writable,
    content_hash,
    write_results,
)
from uncol.inference.prompted import acquisition_plane
from uncol.inference.result import Segmentation
from uncol.models.card import Model
from uncol.pipelines.findings import findings_of
from uncol.pipelines.history import summary, versions
from uncol.report.outcome import Outcome
from uncol.report.picture import Picture
from uncol.report.places import WhereToLook, where_to_look
from uncol.report.report import write_run
from uncol.report.viewer import Scene

if TYPE_CHECKING:  # loading it takes a while, and most results are no DICOM
    from uncol.formats.dicom_source import Source

MAP_FILE = "uncertainty-{}.nii.gz"

SEGMENTATION_FILE, UNCERTAINTY_FILE, PAGE_FILE = "segmentation.nii.gz", "uncertainty.nii.gz", "report.html"
_WRITING_S, _WRITING_S_PER_MILLION = 1.0, 0.3
"""What it takes to write a result, and what a million voxels add to it, in s."""
_MOST_IN_TITLE = 6
Document = dict[str, Any]
"""A JSON object."""


def check_result_folder(folder: Path) -> None:
    """Make sure that a result can be written into a folder, which is not made yet, and that no model lies there.

    Raises:
        OutputError: If it cannot.
    """
    if has_model(folder):
        message = (
            f'"{folder}" holds a model. Models are passed on, and what is found in an image is not to go with them: '
            "choose another folder for the result; nothing was changed."
        )
        raise OutputError(message)
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    check_writable(folder)
    for made in missing:
        with suppress(OSError):  # somebody has put something there
            made.rmdir()


@dataclass(frozen=True)
class Segmented:
    """A segmentation of an image, and what there is to tell of it.

    Attributes:
        image: The image.
        segmentation: Labels and uncertainty.
        report: A JSON object about both.
        look: Where to look.
        dicom: The DICOM images that it is of, if the result is to become DICOM, too.
    """

    image: Volume
    segmentation: Segmentation
    report: Document
    look: WhereToLook
    dicom: Source | None = field(default=None, repr=False)

    def write(self, out: Path, command: str = "") -> None:
        """Write labels, uncertainty, further maps and reports into a folder, all of them or nothing.

        Args:
            out: The folder.
            command: The command line without names of files, for the report; "" for none.

        Raises:
            OutputError: If that is not possible.
            DataError: If the headers of the images do not allow DICOM.
        """
        found = self.segmentation
        write_results(
            out,
            {
                SEGMENTATION_FILE: found.labels,
                UNCERTAINTY_FILE: found.uncertainty,
                **{MAP_FILE.format(name): each for name, each in found.maps.items()},
            },
            {PAGE_FILE: partial(self._write_page, command), **self._as_dicom()},
            self.report,
            never_beside=(*DICOM_FILES, *map(MAP_FILE.format, get_args(MapName))),
        )

    def _write_page(self, command: str, path: Path) -> None:
        outcome = Outcome.of_segmentation({**self.report, "files": sums_beside(path)})
        title = title_of(outcome)
        view = view_of(self.image, outcome.annotated)
        scene = Scene(
            title=title,
            outcome=outcome,
            picture=Picture.of(self.image, self.segmentation.labels, view),
            labels=self.segmentation.labels,
            uncertainty=self.segmentation.uncertainty,
            view=view,
            look=self.look,
        )
        path.write_text(write_run(title, outcome, scene, command), encoding="utf-8")

    def _as_dicom(self) -> dict[str, Callable[[Path], object]]:
        if self.dicom is None:
            return {}
        from uncol.pipelines.dicom_export import as_dicom

        found, origin = self.segmentation, origin_in(self.report)
        structures = [ExportedStructure(each.value, each.name, origin=origin) for each in found.structures]
        return as_dicom(self.dicom, [found.labels.voxels], found.uncertainty.voxels, structures)


def writing_s(image: Volume) -> float:
    """Return about how long it takes to write a result of an image with its page, in s, on two cores."""
    return _WRITING_S + _WRITING_S_PER_MILLION * image.voxels.size / 1e6


def sums_beside(page: Path) -> dict[str, str]:
    """Return the SHA-256 of the volumes that lie where a page is written, by name."""
    return {each.name: sha256_of(each) for each in sorted(page.parent.glob("*.nii.gz"))}


def title_of(outcome: Outcome) -> str:
    """Return what a result is called: its structures, for a file's name is often the patient's."""
    known = [each.name for each in outcome.findings]
    more = f" and {len(known) - _MOST_IN_TITLE} more" if len(known) > _MOST_IN_TITLE else ""
    names = ", ".join(known[:_MOST_IN_TITLE]) + more
    return names[:1].upper() + names[1:]


def view_of(image: Volume, annotated: Sequence[AnnotatedSlices]) -> SliceView:
    """Return how the slices of a result are counted: as they were annotated, else across the largest spacing."""
    if annotated:
        most = max(annotated, key=lambda each: len(each.indices))
        return view_slices(image, plane_of_axis(image, most.axis))
    return view_slices(image, acquisition_plane(image))


def training_page(model: Model, name: str, command: str = "") -> str:
    """Return the report of a model that was trained: numbers and words, and nothing of any image."""
    told = {**summary(model), "curve": model.card.training.get("curve", [])}
    outcome = Outcome.of_training(told, name)
    return write_run(f"Model {name}: {title_of(outcome)}", outcome, None, command)


def reported(
    image: Volume,
    result: Segmentation,
    source: Document,
    device: torch.device,
    seconds: float,
    annotated: Sequence[AnnotatedSlices] = (),
) -> Segmented:
    """Return a segmentation with its report: size, findings, sources, and `source`, who made it."""
    look = where_to_look(result.labels, result.uncertainty, result.structures)
    found = findings_of(result, look, view_of(image, annotated).slice_axis, annotated)
    report = {
        "uncol": __version__,
        "versions": versions(),
        "intended_use": DISCLAIMER,
        "image": {
            "sha256": content_hash(image),
            "size_ijk": list(reversed(image.shape_kji)),
            "spacing_mm": [round(each, 6) for each in image.spacing_mm],
        },
        **source,
        **({"annotated_slices": [to_document(each) for each in annotated]} if annotated else {}),
        **to_document(found),
        **_expectations(result),
        **({"sources": {name: dict(each) for name, each in result.sources.items()}} if result.sources else {}),
        "device": device.type,
        "seconds": round(seconds, 2),
        "notes": list(result.notes),
    }
    return Segmented(image, result, report, look)


def _expectations(result: Segmentation) -> Document:
    """Return what the confidence rests on, and what is promised slice by slice, where that is known."""
    if not result.calibration:
        return {}
    return {"calibration": to_document(result.calibration), "promises": to_document(result.promises)}
