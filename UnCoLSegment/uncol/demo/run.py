"""The whole story on one volume: boxes, a first pass, a few annotated slices, fine-tuning, uncertainty, report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from uncol.core.config import Config
from uncol.core.errors import CancelledError, ConfigError, OutputError
from uncol.core.files import private_folder, resolved
from uncol.core.model_folder import MODEL_FILE, SUMS_FILE, WEIGHTS_FILE
from uncol.core.progress import Monitor
from uncol.core.volume import Volume, view_slices
from uncol.data.cases import LabeledCase
from uncol.data.io import check_writable, write_results
from uncol.data.shape_interpolation import interpolate_shapes
from uncol.data.windows import choose_window, grey_values_of
from uncol.demo.case import DemoCase, annotate, find_case
from uncol.demo.job import DemoJob
from uncol.demo.scores import SCORING, score
from uncol.demo.suggestion import suggest_slice
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.loading import load_foundation_model
from uncol.inference.prompted import acquisition_plane, segment_from_boxes
from uncol.inference.student import segment_with_model
from uncol.models.devices import select_device
from uncol.pipelines.context import Context
from uncol.pipelines.fine_tune import with_choices
from uncol.pipelines.history import summary
from uncol.pipelines.results import PAGE_FILE, Document, Segmented, reported, sums_beside, title_of
from uncol.report import report as report_page
from uncol.report.outcome import Outcome
from uncol.report.picture import Picture
from uncol.report.results import METHOD_NAMES, Method, Results
from uncol.report.viewer import Scene
from uncol.training.state import FineTuneSetup
from uncol.training.train import fine_tune

MODEL_FOLDER = "model"
_VOLUME_NAMES = ("image", "reference", "annotated-slices", "first-pass", "segmentation", "uncertainty")
_VOLUME_FILES = [f"{name}.nii.gz" for name in _VOLUME_NAMES]
_MODEL_FILES = {MODEL_FILE, WEIGHTS_FILE, SUMS_FILE}
_GETTING, _FIRST_PASS, _LEARNING, _SEGMENTING = "Getting an image", "First pass", "Fine-tuning", "Segmenting"
_WRITING = "Writing the report"
_EXPECTED_S = {_GETTING: 2.0, _FIRST_PASS: 40.0, _LEARNING: 60.0, _SEGMENTING: 3.0, SCORING: 2.0, _WRITING: 4.0}
"""What the parts take for the generated image on two cores; fine-tuning in s per minute asked for."""
_REFERENCE_USE = (
    "The reference was used to draw the boxes, to annotate those slices and to score the others, and for nothing else."
)


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
    _check_folder(job)
    parts = _Parts(context.monitor, {**_EXPECTED_S, _LEARNING: _EXPECTED_S[_LEARNING] * job.minutes})
    with _temporary_folder(job.out) as temporary:
        try:
            results, segmented = _work_through(job, temporary / MODEL_FOLDER, parts, context)
            monitor = parts.start(_WRITING)
            monitor.check()
        except CancelledError as error:  # that of the training says how to resume, but nothing is kept here
            message = "The demo was cancelled; nothing was written."
            raise CancelledError(message) from error
        page = partial(_write_page, results, segmented.report, context.command)
        write_results(job.out, _volumes(results), {PAGE_FILE: page}, segmented.report)
        _put_model(job.out, temporary)
    seconds = {"seconds": parts.seconds()}
    told = {"segmentation": segmented.report, "out": str(job.out), "report": str(job.out / PAGE_FILE)}
    return {**results.as_document(), **seconds, **told}


def _work_through(job: DemoJob, model_folder: Path, parts: _Parts, context: Context) -> tuple[Results, Segmented]:
    # The reference stands in for a person and for nothing else: it draws the boxes, it is copied on the annotated
    # slices, and it scores the others at the end. No training, no choice and no suggestion sees more of it.
    device = select_device(job.device)
    parts.start(_GETTING)
    case = find_case(job)
    view = view_slices(case.image, acquisition_plane(case.image))
    window = choose_window(case.image.voxels)  # one for all: the embeddings of the first pass serve the teacher again
    fixed = window if grey_values_of(case.image.voxels) == "hounsfield" else None
    teacher, cache = load_foundation_model(device, context.foundation), EmbeddingCache(context.cache)

    monitor = parts.start(_FIRST_PASS)
    boxes = case.boxes_of(case.structures)
    first_pass = segment_from_boxes(case.image, boxes, teacher, cache, window=window, monitor=monitor)

    annotation = annotate(case.reference, case.structures, view, job.every)
    config = with_choices(Config(), minutes=job.minutes, steps=None, seed=None)
    setup = FineTuneSetup(
        cases=[LabeledCase(case.image, annotation.labels)],
        unlabeled=[],
        structures=annotation.structures,
        plane=view.plane,
        config=replace(config, data=replace(config.data, window=fixed)),
        device=device,
        teacher=teacher,
        cache=cache,
    )
    model = fine_tune(setup, model_folder, parts.start(_LEARNING))
    cache.trim()

    result = segment_with_model(case.image, model, device, parts.start(_SEGMENTING))
    labels: dict[Method, Volume] = {
        "interpolation": interpolate_shapes(annotation.labels, annotation.structures, view),
        "first_pass": _with_values_of(case, first_pass.labels),
        "fine_tuned": result.labels,
    }
    evaluations, slices = score(labels, result.uncertainty, case.reference, annotation, parts.start(SCORING))
    training = model.card.training
    source = {"model": MODEL_FOLDER, "training": summary(model)}
    seconds = parts.seconds()[_SEGMENTING]
    notes = (*annotation.notes, *(f"First pass: {each}" for each in first_pass.notes), *result.notes)
    segmented = reported(case.image, replace(result, notes=notes), source, device, seconds, [annotation.slices])
    results = Results(
        title="UnCoL demo: from a few annotated slices to a whole volume",
        source=case.source,
        image=case.image,
        view=view,
        window=window,
        structures=annotation.structures,
        boxes=case.boxes_of(annotation.structures),
        annotator=f"A simulated annotator drew one slice in {job.every}",
        annotated=annotation.slices,
        annotation=annotation.labels,
        labels=labels,
        uncertainty=result.uncertainty,
        reference=case.reference,
        reference_source=case.reference_source,
        reference_use=_REFERENCE_USE,
        evaluations=evaluations,
        slices=slices,
        suggestion=suggest_slice(result, view, annotation.slices.indices),
        training=training,
        foundation_model=teacher.name,
        notes=(*notes, *training["notes"]),
    )
    return results, segmented


def _write_page(results: Results, report: Document, command: str, path: Path) -> None:
    """Write the report: the one that every result has, and what only a reference can tell."""
    curve = results.training["curve"]
    outcome = Outcome.of_segmentation(
        {**report, "training": {**report["training"], "curve": curve}, "files": sums_beside(path)}
    )
    labels = results.labels["fine_tuned"]
    scene = Scene(
        title=title_of(outcome),
        outcome=outcome,
        picture=Picture.of(results.image, labels, results.view),
        labels=labels,
        uncertainty=results.uncertainty,
        view=results.view,
        compared={METHOD_NAMES[each]: results.labels[each] for each in ("first_pass", "interpolation")},
        reference=results.reference,
        slice_dice=[each.dice.get("fine_tuned") for each in results.slices],
        scores={
            structure.value: f"Dice {scores['fine_tuned'].dice:.3f} on slices that nobody annotated"
            for structure, scores in results.scores()
        },
    )
    path.write_text(report_page.write(results, scene, command), encoding="utf-8")


def _with_values_of(case: DemoCase, labels: Volume) -> Volume:
    """Give structures that are numbered by their boxes the values that they have in the reference."""
    table = np.array([0, *(each.value for each in case.structures)], dtype=np.uint8)
    return labels.with_voxels(table[labels.voxels])


def _volumes(results: Results) -> dict[str, Volume]:
    first_pass, segmentation = results.labels["first_pass"], results.labels["fine_tuned"]
    volumes = (results.image, results.reference, results.annotation, first_pass, segmentation, results.uncertainty)
    return dict(zip(_VOLUME_FILES, volumes, strict=True))


def _check_folder(job: DemoJob) -> None:
    model = job.out / MODEL_FOLDER
    if model.exists() and not (model.is_dir() and {path.name for path in model.iterdir()} == _MODEL_FILES):
        message = (
            f'"{model}" is in the way: it is no model of an earlier demo, which could be replaced. '
            "Move it, or choose another folder with --out; nothing was changed."
        )
        raise OutputError(message)
    written = {resolved(job.out / name) for name in _VOLUME_FILES}
    for path in (job.image, job.labels):
        if path is not None and resolved(path) in written:
            message = f'The demo would overwrite your own "{path.name}" in "{job.out}". Choose another --out.'
            raise ConfigError(message)


@contextmanager
def _temporary_folder(out: Path) -> Iterator[Path]:
    """Lend a private folder in the output folder; afterwards both are gone if nothing was finished."""
    is_new = not out.exists()
    check_writable(out)
    try:
        with private_folder(out) as folder:
            yield folder
    finally:
        if is_new:
            with suppress(OSError):  # there are results in it
                out.rmdir()


def _put_model(out: Path, temporary: Path) -> None:
    place = out / MODEL_FOLDER
    try:
        if place.exists():
            place.rename(temporary / "earlier-model")
        (temporary / MODEL_FOLDER).rename(place)
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
        ends = np.cumsum([0.0, *expected_s.values()])
        spans = zip(ends / ends[-1], ends[1:] / ends[-1], ends[-1] - ends[1:], strict=False)
        self._monitors = {name: monitor.part(*map(float, span)) for name, span in zip(expected_s, spans, strict=True)}
        self._started: dict[str, float] = {}

    def start(self, name: str) -> Monitor:
        """End the part before and begin the next; return who hears of its progress."""
        self._started[name] = time.monotonic()
        self._monitors[name].step(name, 0.0)
        return self._monitors[name]

    def seconds(self) -> dict[str, float]:
        """Return what each part has taken; the last one ends now."""
        ends = [*self._started.values(), time.monotonic()][1:]
        return {name: round(end - start, 1) for (name, start), end in zip(self._started.items(), ends, strict=True)}
