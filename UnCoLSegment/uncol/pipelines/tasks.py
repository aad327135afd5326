"""Whole pieces of work from files to files: what the command line and the worker both carry out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uncol import __version__
from uncol.core.config import Config
from uncol.core.errors import CheckpointError, ConfigError
from uncol.core.jobs import AnnotatedSlices, FineTuneJob, SegmentJob, Structure, VolumeSource
from uncol.core.methods import MODEL_METHODS, find_method
from uncol.core.model_folder import DISCLAIMER, MODEL_FILE
from uncol.core.progress import Monitor, Progress
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.data.annotations import annotated_structures, annotation_plane, keep_annotated
from uncol.data.cases import LabeledCase
from uncol.data.io import (
    check_writable,
    content_hash,
    path_of,
    read_image,
    read_labels,
    read_map,
    read_prediction,
    read_reference,
    write_results,
)
from uncol.evaluation.evaluate import evaluate
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.loading import LITE_MEDSAM, FoundationChoice, load_foundation_model
from uncol.foundation.promptable import PromptableModel
from uncol.inference.prompted import segment_from_boxes, segment_from_labels
from uncol.inference.result import Segmentation, label_statistics
from uncol.inference.student import segment_with_model
from uncol.models.card import Model
from uncol.models.checkpoints import has_checkpoint, load_model
from uncol.models.devices import select_device
from uncol.training.preview import Preview, PreviewOrder
from uncol.training.proposal import propose
from uncol.training.record import finish
from uncol.training.state import FineTuneSetup, TrainingState
from uncol.training.train import train

Document = dict[str, Any]
"""A JSON object."""


@dataclass(frozen=True)
class Context:
    """What a piece of work needs beside its job.

    Attributes:
        monitor: Told about progress, and asked whether to stop.
        cache: Folder for the foundation model's embeddings, or None.
        foundation: Which foundation model, and its weights.
        load_model: Gives the model of a folder; a long-lived process keeps the last one.
        load_teacher: Gives the foundation model for a device and a choice; a long-lived process keeps it.
        preview: What to show while a model is being trained, or None.
    """

    monitor: Monitor
    cache: Path | None
    foundation: FoundationChoice = LITE_MEDSAM
    load_model: Callable[[Path], Model] = field(default=load_model)
    load_teacher: Callable[[torch.device, FoundationChoice], PromptableModel] = field(default=load_foundation_model)
    preview: PreviewOrder | None = None


def run_segment(job: SegmentJob, context: Context) -> Document:
    """Segment an image and write labels, uncertainty and a report; return the report.

    Raises:
        UncolError: If an input cannot be used or the output cannot be written.
    """
    result, document = segment_image(job, context)
    context.monitor.report(Progress("Writing the results", 1.0))
    _write_segmentation(job.out, result, document)
    return {**document, "out": str(job.out)}


def segment_image(job: SegmentJob, context: Context) -> tuple[Segmentation, Document]:
    """Segment an image; return the segmentation and the report about it, without writing anything.

    Raises:
        UncolError: If an input cannot be used or results could not be written to the job's folder later.
    """
    started = time.monotonic()
    monitor = context.monitor.cancelling_with("Segmentation was cancelled; nothing was written.")
    device = select_device(job.device)
    check_writable(job.out)
    context.monitor.report(Progress("Reading the image", 0.0))
    image = read_image(job.image)
    if job.model is not None:
        model = context.load_model(job.model)
        result = segment_with_model(image, model, device, monitor)
        source: Document = {"model": job.model.name, "training": _summary(model)}
    else:
        teacher = context.load_teacher(device, context.foundation)
        result = _segment_without_model(job, image, teacher, context.cache, monitor)
        source = {"foundation_model": {"name": teacher.name, "license": context.foundation.license}}
    return result, _segmentation_report(image, result, source, device, time.monotonic() - started)


def run_fine_tune(job: FineTuneJob, config: Config, context: Context) -> Document:
    """Train a model from files, write it and, if wanted, its proposal; return what there is to tell of both.

    Raises:
        UncolError: If an input cannot be used or the output cannot be written.
    """
    if job.proposal is None:
        return {"out": str(job.out), **_summary(train_model(job, config, context))}
    check_writable(job.proposal)
    model, proposal, report = train_and_propose(job, config, context)
    _write_segmentation(job.proposal, proposal, report)
    told = {"out": str(job.proposal), **{name: report[name] for name in ("by_both_teachers", "structures", "notes")}}
    return {"out": str(job.out), **_summary(model), "proposal": told}


def train_model(job: FineTuneJob, config: Config, context: Context) -> Model:
    """Train a model from files, write it, and return it.

    Raises:
        UncolError: If an input cannot be used or the output cannot be written.
    """
    return finish(_train(job, config, context), job.out, context.monitor)


def train_and_propose(job: FineTuneJob, config: Config, context: Context) -> tuple[Model, Segmentation, Document]:
    """Train a model from files and write it; return it with what is proposed for the first case, and a report on that.

    Raises:
        UncolError: If an input cannot be used or the output cannot be written.
    """
    state = _train(job, config, context)
    started = time.monotonic()
    proposal = propose(state, job.out, context.monitor)
    model = finish(state, job.out, context.monitor)
    source = {
        "model": job.out.name,
        "training": _summary(model),
        "by_both_teachers": proposal.by_both_teachers,
    }
    found = proposal.segmentation
    seconds = time.monotonic() - started
    return model, found, _segmentation_report(state.setup.cases[0].image, found, source, state.device, seconds)


def _train(job: FineTuneJob, config: Config, context: Context) -> TrainingState:
    config = with_choices(config, minutes=job.minutes, steps=job.steps, seed=job.seed)
    device = select_device(job.device)
    _check_model_folder(job)
    check_writable(job.out)
    context.monitor.report(Progress("Reading the images", 0.0))
    cases = [
        _read_case(case.image, case.labels, _slices_of_case(job.annotated_slices, number))
        for number, case in enumerate(job.cases, start=1)
    ]
    config = with_job_choices(config, job, cases)
    setup = FineTuneSetup(
        cases=cases,
        unlabeled=[read_image(path) for path in job.unlabeled],
        structures=annotated_structures([case.labels for case in cases], job.structures),
        plane=annotation_plane(cases, _slices_of_case(job.annotated_slices, 1)),
        config=config,
        device=device,
        teacher=_teacher_if_any(config, device, context),
        cache=EmbeddingCache(context.cache),
        base=context.load_model(job.base) if job.base else None,
    )
    order = context.preview
    preview = None if order is None else Preview(order, setup, job.out, context.monitor)
    monitor = context.monitor if preview is None else replace(context.monitor, report=preview)
    state = train(setup, job.out, monitor, resume=job.resume)
    if preview is not None:
        preview.end()
    setup.cache.trim()
    return state


def run_evaluate(
    prediction: Path,
    reference: Path,
    *,
    uncertainty: Path | None,
    structures: Sequence[Structure],
    excluded: Sequence[AnnotatedSlices],
    only: Sequence[AnnotatedSlices],
) -> Document:
    """Compare a segmentation with a reference; return the evaluation.

    Raises:
        UncolError: If a file cannot be used or nothing is left to compare.
    """
    truth = read_reference(reference)
    predicted = read_prediction(prediction, truth, reference.name)
    uncertainty_map = read_map(uncertainty, truth, reference.name) if uncertainty else None
    return evaluate(
        predicted, truth, structures=structures, excluded=excluded, only=only, uncertainty=uncertainty_map
    ).as_document()


def _write_segmentation(out: Path, result: Segmentation, report: Document) -> None:
    write_results(
        out,
        {"segmentation.nii.gz": result.labels, "uncertainty.nii.gz": result.uncertainty},
        {"report.json": json.dumps(report, indent=2) + "\n"},
    )


def _segment_without_model(
    job: SegmentJob, image: Volume, teacher: PromptableModel, cache_folder: Path | None, monitor: Monitor
) -> Segmentation:
    cache = EmbeddingCache(cache_folder)
    if job.labels is None:
        result = segment_from_boxes(image, job.boxes, teacher, cache, monitor=monitor)
    else:
        case = _read_case(job.image, job.labels, job.annotated_slices, image)
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


def _read_case(
    image_source: VolumeSource, source: VolumeSource, annotated: Sequence[AnnotatedSlices], image: Volume | None = None
) -> LabeledCase:
    image = image or read_image(image_source)
    labels = read_labels(source, image, path_of(image_source).name)
    return LabeledCase(image, keep_annotated(labels, annotated, path_of(source).name))


def _slices_of_case(annotated: Sequence[AnnotatedSlices], number: int) -> list[AnnotatedSlices]:
    return [each for each in annotated if each.case in (None, number)]


def _teacher_if_any(config: Config, device: torch.device, context: Context) -> PromptableModel | None:
    if not (config.teachers.generalized and find_method(config.method).generalized):
        return None
    return context.load_teacher(device, context.foundation)


def _check_model_folder(job: FineTuneJob) -> None:
    if (job.out / MODEL_FILE).exists():
        message = f'"{job.out}" already holds a model. Choose another folder for the new one; nothing was changed.'
        raise CheckpointError(message)
    if not job.resume and has_checkpoint(job.out):
        message = f'"{job.out}" holds an unfinished run. Add --resume to go on, or choose another folder.'
        raise CheckpointError(message)


def _summary(model: Model) -> Document:
    training = {key: value for key, value in model.card.training.items() if key != "curve"}
    return {"structures": [_structure(each) for each in model.card.structures], **training}


def _structure(structure: Structure) -> Document:
    return {"name": structure.name, "value": structure.value}


def _segmentation_report(
    image: Volume, result: Segmentation, source: Document, device: torch.device, seconds: float
) -> Document:
    voxel_ml = float(np.prod(image.spacing_mm)) / 1000
    counts, mean_uncertainties = label_statistics(result)
    structures = [
        {
            **_structure(each),
            "voxels": int(counts[each.value]),
            "volume_ml": round(float(counts[each.value]) * voxel_ml, 3),
            "mean_uncertainty": _number(mean_uncertainties[each.value]),
        }
        for each in result.structures
    ]
    return {
        "uncol": __version__,
        "intended_use": DISCLAIMER,
        "image": {
            "sha256": content_hash(image),
            "size_ijk": list(reversed(image.shape_kji)),
            "spacing_mm": [round(each, 6) for each in image.spacing_mm],
        },
        **source,
        "structures": structures,
        "device": device.type,
        "seconds": round(seconds, 2),
        "notes": list(result.notes),
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 5)


def with_choices(config: Config, *, minutes: float | None, steps: int | None, seed: int | None) -> Config:
    """Return the configuration with another budget and seed; what is None stays as it is.

    Raises:
        ConfigError: If both minutes and steps are given, or a value is out of its range.
    """
    if minutes is not None or steps is not None:
        config = replace(config, budget=replace(config.budget, minutes=minutes, steps=steps))
    return config if seed is None else replace(config, seed=seed)


def with_job_choices(config: Config, job: FineTuneJob, cases: Sequence[LabeledCase]) -> Config:
    """Return the configuration with the job's method and student; `auto` is 3D where all cases are annotated whole.

    Raises:
        ConfigError: If there is no such method, or it is one for benchmarks only.
    """
    if job.method is not None:
        config = replace(config, method=job.method)
    if find_method(config.method).is_for_benchmarks:
        message = f'Method "{config.method}" is for `uncol benchmark` only. Choose one of {", ".join(MODEL_METHODS)}.'
        raise ConfigError(message)
    if job.student is None:
        return config
    whole = all(not (each.labels.voxels == UNKNOWN_LABEL).any() for each in cases)
    dims = {"2d": 2, "3d": 3, "auto": 3 if whole else 2}[job.student]
    return replace(config, student=replace(config.student, dims=dims))
