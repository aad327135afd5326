"""What can be done with annotated slices without any training: the bars that training has to clear."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from uncol.benchmark.cases import Cases
from uncol.benchmark.runs import RunSpec, TrainedRun, Trainer
from uncol.benchmark.scores import Prediction
from uncol.benchmark.suites import FROZEN_TEACHER, SHAPE_INTERPOLATION, Benchmark
from uncol.core.jobs import AnnotatedSlices
from uncol.core.progress import Monitor
from uncol.core.volume import view_slices
from uncol.data.annotations import annotation_plane, complete_slices
from uncol.data.cases import LabeledCase
from uncol.data.shape_interpolation import interpolate_shapes
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.loading import FoundationModel, load_foundation_model
from uncol.inference.prompted import segment_from_labels
from uncol.models.devices import select_device

Predict = Callable[[LabeledCase], Prediction]


def untrained(benchmark: Benchmark, method: str, cache: Path | None, foundation: FoundationModel) -> Trainer | None:
    """Return who carries out a method that trains nothing; None for every other method.

    Args:
        benchmark: Where it is compared; only single annotated slices can be interpolated.
        method: Name of the method.
        cache: Folder for the foundation model's embeddings, or None.
        foundation: Which foundation model, and its weights.
    """
    if benchmark.supervision != "slices":
        return None
    if method == SHAPE_INTERPOLATION:
        return interpolate
    if method != FROZEN_TEACHER:
        return None

    def ask(spec: RunSpec, cases: Cases, _folder: Path, monitor: Monitor) -> TrainedRun:
        device = select_device(spec.device)
        teacher = load_foundation_model(device, foundation)

        def predict(case: LabeledCase) -> Prediction:
            found = segment_from_labels(
                case.image,
                case.labels,
                cases.structures,
                teacher,
                EmbeddingCache(cache),
                plane=annotation_plane([case], [_annotated(case)]),
                monitor=monitor,
            )
            return Prediction(found.labels, found.uncertainty)

        return _without_training(cases, predict)

    return ask


def interpolate(_spec: RunSpec, cases: Cases, _folder: Path, _monitor: Monitor) -> TrainedRun:
    """Interpolate the annotated contours between slices, without looking at the image."""

    def predict(case: LabeledCase) -> Prediction:
        slices = _annotated(case)
        view = view_slices(case.image, annotation_plane([case], [slices]))
        return Prediction(interpolate_shapes(case.labels, cases.structures, view))

    return _without_training(cases, predict)


def _without_training(cases: Cases, predict: Predict) -> TrainedRun:
    started = time.monotonic()
    found = {case_id: predict(case) for case_id, case in cases.labeled.items()}

    def predictions() -> Iterator[tuple[str, Prediction]]:
        yield from found.items()

    return TrainedRun(predictions(), {"steps": 0, "seconds": round(time.monotonic() - started, 1), "curve": []})


def _annotated(case: LabeledCase) -> AnnotatedSlices:
    return AnnotatedSlices("K", tuple(complete_slices(case.labels.voxels)))
