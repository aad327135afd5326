"""Segment one image, from file to files: with a model, or from boxes or annotated slices."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from uncol.core.jobs import AnnotatedSlices, DicomChoice, SegmentJob, VolumeSource
from uncol.core.progress import Progress
from uncol.core.records import to_document
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.data.annotations import annotated_slices, annotated_structures, annotation_plane, keep_annotated
from uncol.data.cases import LabeledCase
from uncol.data.io import (
    path_of,
    read_image,
    read_labels,
)
from uncol.foundation.embeddings import EmbeddingCache
from uncol.inference.few_slices import FewSlices
from uncol.inference.prompted import segment_from_boxes
from uncol.inference.result import Segmentation
from uncol.inference.student import segment_with_model
from uncol.models.devices import select_device
from uncol.pipelines.context import Context
from uncol.pipelines.history import made_with, slices_used
from uncol.pipelines.results import Document, Segmented, check_result_folder, reported, writing_s

if TYPE_CHECKING:  # loading it takes a while, and most results are no DICOM
    from uncol.formats.dicom_source import Source

_ALL_ANNOTATED = (
    "Every slice of the label map counts as annotated, so that nothing was left to segment. Say which ones count with "
    "--annotated-slices, or write 255 into the others."
)
_NOT_INSTALLED = (
    "The foundation model is not installed; structures were followed from the annotated slices by registration alone."
)


def run_segment(job: SegmentJob, context: Context, *, as_dicom: bool = False) -> Document:
    """Segment an image and write labels, uncertainty and a report; return the report.

    Args:
        job: What is wanted.
        context: Where models and embeddings are, and who is told.
        as_dicom: Whether labels and uncertainty are written as DICOM, too; then the image must be DICOM.

    Raises:
        UncolError: If an input cannot be used or the output cannot be written.
    """
    segmented = segment(job, context, as_dicom=as_dicom)
    context.monitor.report(Progress("Writing the results", 1.0))
    segmented.write(job.out, context.command)
    return {**segmented.report, "out": str(job.out)}


def segment(job: SegmentJob, context: Context, *, as_dicom: bool = False) -> Segmented:
    """Segment an image, without writing anything.

    Raises:
        UncolError: If an input cannot be used or results could not be written to the job's folder later.
    """
    started = time.monotonic()
    monitor = context.monitor.cancelling_with("Segmentation was cancelled; nothing was written.")
    device = select_device(job.device)
    check_result_folder(job.out)
    context.monitor.report(Progress("Reading the image", 0.0))
    image, dicom = _read(job, as_dicom=as_dicom)
    monitor = monitor.followed_by(writing_s(image))
    annotated: Sequence[AnnotatedSlices] = ()
    if job.model is not None:
        model = context.load_model(job.model)
        result = segment_with_model(image, model, device, monitor, job.maps)
        source = made_with(model, job.model)
    elif job.labels is not None:
        case = read_case(job.image, job.labels, job.annotated_slices, job.dicom, image)
        annotated = annotated_slices(case.labels)
        result, source = _segment_from_slices(job, case, device, replace(context, monitor=monitor))
    else:
        teacher = context.load_teacher(device, context.foundation)
        cache = EmbeddingCache(context.cache)
        result = segment_from_boxes(image, job.boxes, teacher, cache, monitor=monitor)
        cache.trim()
        source = {**_made_by(context, teacher.name), "boxes": [to_document(each) for each in job.boxes]}
    return replace(reported(image, result, source, device, time.monotonic() - started, annotated), dicom=dicom)


def _read(job: SegmentJob, *, as_dicom: bool) -> tuple[Volume, Source | None]:
    if not as_dicom:
        return read_image(job.image, job.dicom), None
    from uncol.data.dicom_images import read_dicom_image

    return read_dicom_image(job.image, job.dicom)


def _segment_from_slices(
    job: SegmentJob, case: LabeledCase, device: torch.device, context: Context
) -> tuple[Segmentation, Document]:
    """Follow structures by registration, show that, and only then load and ask the foundation model, if it is there."""
    started, monitor = time.monotonic(), context.monitor
    cache = EmbeddingCache(context.cache)
    structures = annotated_structures([case.labels], job.structures)
    plane = annotation_plane([case], job.annotated_slices)
    used = slices_used(case.labels, plane)
    notes = () if (case.labels.voxels == UNKNOWN_LABEL).any() else (_ALL_ANNOTATED,)
    slices = FewSlices(case.image, case.labels, structures, cache, plane=plane, maps=job.maps)
    has_model = context.foundation.is_installed
    result = slices.by_registration(
        context.show, monitor.part(0.0, 0.1 if has_model else 1.0), calibrates=not has_model
    )
    if not has_model:
        cache.trim()
        return replace(result, notes=(_NOT_INSTALLED, *notes, *result.notes)), {"foundation_model": None, **used}
    context.show(result.labels, result.uncertainty)
    seconds = max(1, round(time.monotonic() - started))
    context.say(f"A first result stands after {seconds} s, by registration alone; the foundation model refines it.")
    teacher = context.load_teacher(device, context.foundation)
    result = slices.with_foundation_model(teacher, monitor=monitor.part(0.1, 1.0))
    cache.trim()
    return replace(result, notes=(*notes, *result.notes)), {**_made_by(context, teacher.name), **used}


def _made_by(context: Context, name: str) -> Document:
    return {"foundation_model": {"name": name, "license": context.foundation.license}}


def read_case(
    image_source: VolumeSource,
    source: VolumeSource,
    annotated: Sequence[AnnotatedSlices],
    choice: DicomChoice,
    image: Volume | None = None,
) -> LabeledCase:
    """Return an image with its label map, of which only the annotated slices are known."""
    image = image or read_image(image_source, choice)
    labels = read_labels(source, image, path_of(image_source).name, choice)
    return LabeledCase(image, keep_annotated(labels, annotated, path_of(source).name))
