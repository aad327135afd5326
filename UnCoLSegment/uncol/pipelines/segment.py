"""Segment one image, from file to files: with a model, or from boxes or annotated slices."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from uncol.core.jobs import AnnotatedSlices, DicomChoice, SegmentJob, VolumeSource
from uncol.core.progress import Monitor, Progress
from uncol.core.volume import Volume
from uncol.data.annotations import annotated_structures, annotation_plane, keep_annotated
from uncol.data.cases import LabeledCase
from uncol.data.io import (
    check_writable,
    path_of,
    read_image,
    read_labels,
)
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import PromptableModel
from uncol.inference.few_slices import segment_from_labels
from uncol.inference.prompted import segment_from_boxes
from uncol.inference.result import Segmentation
from uncol.inference.student import segment_with_model
from uncol.models.devices import select_device
from uncol.pipelines.context import Context
from uncol.pipelines.results import Document, Segmented, reported, summary


def run_segment(job: SegmentJob, context: Context) -> Document:
    """Segment an image and write labels, uncertainty and a report; return the report.

    Raises:
        UncolError: If an input cannot be used or the output cannot be written.
    """
    segmented = segment(job, context)
    context.monitor.report(Progress("Writing the results", 1.0))
    segmented.write(job.out)
    return {**segmented.report, "out": str(job.out)}


def segment(job: SegmentJob, context: Context) -> Segmented:
    """Segment an image, without writing anything.

    Raises:
        UncolError: If an input cannot be used or results could not be written to the job's folder later.
    """
    started = time.monotonic()
    monitor = context.monitor.cancelling_with("Segmentation was cancelled; nothing was written.")
    device = select_device(job.device)
    check_writable(job.out)
    context.monitor.report(Progress("Reading the image", 0.0))
    image = read_image(job.image, job.dicom)
    if job.model is not None:
        model = context.load_model(job.model)
        result = segment_with_model(image, model, device, monitor)
        source: Document = {"model": job.model.name, "training": summary(model)}
    else:
        teacher = context.load_teacher(device, context.foundation)
        result = _segment_without_model(job, image, teacher, context.cache, monitor)
        source = {"foundation_model": {"name": teacher.name, "license": context.foundation.license}}
    return reported(image, result, source, device, time.monotonic() - started)


def _segment_without_model(
    job: SegmentJob, image: Volume, teacher: PromptableModel, cache_folder: Path | None, monitor: Monitor
) -> Segmentation:
    cache = EmbeddingCache(cache_folder)
    if job.labels is None:
        result = segment_from_boxes(image, job.boxes, teacher, cache, monitor=monitor)
    else:
        case = read_case(job.image, job.labels, job.annotated_slices, job.dicom, image)
        structures = annotated_structures([case.labels], job.structures)
        result = segment_from_labels(
            image,
            case.labels,
            structures,
            teacher,
            cache,
            plane=annotation_plane([case], job.annotated_slices),
            monitor=monitor,
        )
    cache.trim()
    return result


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
