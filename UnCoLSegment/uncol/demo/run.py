"""The whole story on one volume: boxes, a first pass, a few annotated slices, fine-tuning, uncertainty, report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from uncol.core.config import Config
from uncol.core.errors import CancelledError, ConfigError, DataError, OutputError
from uncol.core.jobs import Structure
from uncol.core.model_folder import MODEL_FILE, SUMS_FILE, WEIGHTS_FILE
from uncol.core.progress import Monitor
from uncol.core.volume import SliceView, Volume, view_slices
from uncol.data.cases import LabeledCase
from uncol.data.io import check_writable, write_results
from uncol.data.shape_interpolation import interpolate_shapes
from uncol.data.transforms import choose_window
from uncol.demo.case import (
    Annotation,
    DemoCase,
    DemoJob,
    annotate,
    find_case,
)
from uncol.demo.scores import Scores, score
from uncol.demo.story import DemoResults, result_document, tell_story
from uncol.demo.suggestion import NextSlice, suggest_slice
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.loading import load_foundation_model
from uncol.inference.prompted import acquisition_plane, segment_from_boxes
from uncol.inference.result import Segmentation
from uncol.inference.student import segment_with_model
from uncol.models.checkpoints import Model
from uncol.models.devices import select_device
from uncol.pipelines.tasks import Context, Document, with_choices
from uncol.report.report import write_report
from uncol.report.story import Method
from uncol.training.state import FineTuneSetup
from uncol.training.train import fine_tune

__all__ = ["DemoJob", "run_demo"]

MODEL_FOLDER = "model"
REPORT_FILE = "report.html"
IMAGE_FILE, REFERENCE_FILE = "image.nii.gz", "reference.nii.gz"
ANNOTATION_FILE, FIRST_PASS_FILE = "annotated-slices.nii.gz", "first-pass.nii.gz"
SEGMENTATION_FILE, UNCERTAINTY_FILE = "segmentation.nii.gz", "uncertainty.nii.gz"

_VOLUME_FILES = (IMAGE_FILE, REFERENCE_FILE, ANNOTATION_FILE, FIRST_PASS_FILE, SEGMENTATION_FILE, UNCERTAINTY_FILE)
_MODEL_FILES = {MODEL_FILE, WEIGHTS_FILE, SUMS_FILE}
_GETTING, _FIRST_PASS, _LEARNING, _SEGMENTING = "Getting an image", "First pass", "Fine-tuning", "Segmenting"
_SCORING, _WRITING = "Scoring", "Writing the report"
_CANCELLED = "The demo was cancelled; nothing was written."
_EXPECTED_S = {_GETTING: 2.0, _FIRST_PASS: 40.0, _LEARNING: 60.0, _SEGMENTING: 3.0, _SCORING: 2.0, _WRITING: 4.0}
"""What the parts take for the generated image on two cores; fine-tuning in s per minute asked for."""


def run_demo(job: DemoJob, context: Context) -> Document:
    """Run the whole story on one volume, and write a report with pictures, the volumes and the model.

    Args:
        job: What to do.
        context: Progress, cancellation, cache and foundation model.

    Returns:
        A JSON object: the folder `out`, the `report`, the scores by structure and method, `notes`.

    Raises:
        CancelledError: On request; nothing is left behind.
        UncolError: If an input cannot be used or the output cannot be written; likewise.
    """
    device = select_device(job.device)
    _check_folder(job)
    monitor = context.monitor.cancelling_with(_CANCELLED)
    parts = _Parts(monitor, {**_EXPECTED_S, _LEARNING: _EXPECTED_S[_LEARNING] * job.minutes})
    with _workshop(job.out) as workshop:
        parts.start(_GETTING)
        case = find_case(job)
        results = _work_through(job, case, device, workshop / MODEL_FOLDER, parts, context)
        scores = _score(results, parts)
        parts.start(_WRITING)
        html = write_report(tell_story(results, scores, job.every))
        monitor.check()
        write_results(job.out, _volumes(results), {REPORT_FILE: html})
        _put_model(job.out, workshop)
    document = result_document(results, scores, parts.seconds())
    return {**document, "out": str(job.out), "report": str(job.out / REPORT_FILE)}


def _work_through(
    job: DemoJob, case: DemoCase, device: torch.device, model_folder: Path, parts: _Parts, context: Context
) -> DemoResults:
    # The reference stands in for a person and for nothing else: it draws the boxes (in `case`), it is copied on the
    # annotated slices, and it scores the others at the end. No training, no choice and no suggestion sees more of it.
    view = view_slices(case.image, acquisition_plane(case.image))
    window = choose_window(case.image.voxels)  # one for all: the embeddings of the first pass serve the teacher again
    teacher, cache = load_foundation_model(device, context.foundation), EmbeddingCache(context.cache)

    monitor = parts.start(_FIRST_PASS)
    found = segment_from_boxes(case.image, case.boxes, teacher, cache, window=window, monitor=monitor)
    first_pass = _with_values(found, case.structures)

    annotation = annotate(case.reference, case.structures, view, job.every)
    interpolation = interpolate_shapes(annotation.labels, annotation.structures, view)

    config = with_choices(Config(), minutes=job.minutes, steps=None, seed=None)
    setup = FineTuneSetup(
        cases=[LabeledCase(case.image, annotation.labels)],
        unlabeled=[],
        structures=annotation.structures,
        plane=view.plane,
        config=replace(config, data=replace(config.data, window=window)),
        device=device,
        teacher=teacher,
        cache=cache,
    )
    model = _fine_tune(setup, model_folder, parts.start(_LEARNING))
    cache.trim()

    result = segment_with_model(case.image, model, device, parts.start(_SEGMENTING))
    return DemoResults(
        case=case,
        view=view,
        window=window,
        foundation_model=teacher.name,
        annotation=annotation,
        first_pass=first_pass,
        interpolation=interpolation,
        model=model,
        result=result,
        suggestion=_suggest(result, view, annotation),
    )


def _with_values(found: Segmentation, structures: tuple[Structure, ...]) -> Segmentation:
    """Give the structures of a first pass, numbered by their boxes, the values that they have in the reference."""
    table = np.array([0, *(each.value for each in structures)], dtype=np.uint8)
    return replace(found, labels=found.labels.with_voxels(table[found.labels.voxels]), structures=structures)


def _fine_tune(setup: FineTuneSetup, folder: Path, monitor: Monitor) -> Model:
    try:
        return fine_tune(setup, folder, monitor)
    except CancelledError as error:  # its text says how to resume, but the demo keeps no unfinished model
        raise CancelledError(_CANCELLED) from error


def _suggest(result: Segmentation, view: SliceView, annotation: Annotation) -> NextSlice | None:
    try:
        return suggest_slice(result, view, annotation.slices.indices)
    except DataError:  # nothing was found, or everything is annotated; the report says that there is no suggestion
        return None


def _score(results: DemoResults, parts: _Parts) -> Scores:
    monitor = parts.start(_SCORING)
    predictions: dict[Method, Volume] = {
        "interpolation": results.interpolation,
        "first_pass": results.first_pass.labels,
        "fine_tuned": results.result.labels,
    }
    uncertainty = results.result.uncertainty
    return score(
        predictions,
        uncertainty,
        results.case.reference,
        results.annotation,
        results.view,
        lambda done, count: monitor.step(_SCORING, done / count),
    )


def _volumes(results: DemoResults) -> Mapping[str, Volume]:
    return {
        REFERENCE_FILE: results.case.reference,
        IMAGE_FILE: results.case.image,
        ANNOTATION_FILE: results.annotation.labels,
        FIRST_PASS_FILE: results.first_pass.labels,
        SEGMENTATION_FILE: results.result.labels,
        UNCERTAINTY_FILE: results.result.uncertainty,
    }


def _check_folder(job: DemoJob) -> None:
    model = job.out / MODEL_FOLDER
    if model.exists() and not _holds_only_a_model(model):
        message = (
            f'"{model}" is in the way: it is no model of an earlier demo, which could be replaced. '
            "Move it, or choose another folder with --out; nothing was changed."
        )
        raise OutputError(message)
    written = {(job.out / name).resolve() for name in _VOLUME_FILES}
    for path in (job.image, job.labels):
        if path is not None and path.resolve() in written:
            message = f'The demo would overwrite your own "{path.name}" in "{job.out}". Choose another --out.'
            raise ConfigError(message)


def _holds_only_a_model(folder: Path) -> bool:
    return folder.is_dir() and {path.name for path in folder.iterdir()} == _MODEL_FILES


@contextmanager
def _workshop(out: Path) -> Iterator[Path]:
    """Lend a private folder in the output folder; afterwards both are gone if nothing was finished."""
    is_new = not out.exists()
    check_writable(out)
    try:
        with TemporaryDirectory(prefix=".uncol-demo-", dir=out, ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    finally:
        if is_new:
            with suppress(OSError):  # there are results in it
                out.rmdir()


def _put_model(out: Path, workshop: Path) -> None:
    place = out / MODEL_FOLDER
    try:
        if place.exists():
            place.rename(workshop / "earlier-model")
        (workshop / MODEL_FOLDER).rename(place)
    except OSError as error:
        message = f'The model could not be moved to "{place}" ({error.strerror}). Choose another folder with --out.'
        raise OutputError(message) from error


class _Parts:
    """Turns the progress of each part into that of the whole demo, and keeps the time.

    Args:
        monitor: Hears of the whole.
        expected_s: What each part is expected to take, in order.
    """

    def __init__(self, monitor: Monitor, expected_s: Mapping[str, float]) -> None:
        self._monitor, self._expected_s = monitor, expected_s
        self._started: dict[str, float] = {}

    def start(self, name: str) -> Monitor:
        """End the part before and begin the next; return who hears of its progress."""
        self._started[name] = time.monotonic()
        names = list(self._expected_s)
        ends = np.cumsum([0.0, *self._expected_s.values()])
        place = names.index(name)
        part = self._monitor.part(ends[place] / ends[-1], ends[place + 1] / ends[-1], ends[-1] - ends[place + 1])
        part.step(name, 0.0)
        return part

    def seconds(self) -> dict[str, float]:
        """Return what each part has taken; the last one ends now."""
        ends = [*list(self._started.values())[1:], time.monotonic()]
        return {name: end - start for (name, start), end in zip(self._started.items(), ends, strict=True)}
