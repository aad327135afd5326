"""Carries out one run of a benchmark with the product's own trainer: learn, then segment the test cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from uncol.benchmark.cases import Cases
from uncol.benchmark.prompted import segment_prompted
from uncol.benchmark.runs import RunSpec, TrainedRun
from uncol.benchmark.scores import Prediction
from uncol.core.config import Config
from uncol.core.methods import find_method
from uncol.core.model_folder import MODEL_FILE, newest
from uncol.core.progress import Monitor
from uncol.core.volume import Volume, plane_of_axis
from uncol.data.cases import LabeledCase
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.loading import LITE_MEDSAM, FoundationModel, load_foundation_model
from uncol.foundation.promptable import GeneralizedTeacher
from uncol.inference.student import segment_with_model
from uncol.models.card import Model
from uncol.models.checkpoints import has_checkpoint, load_model
from uncol.models.devices import select_device
from uncol.training.proposal import propose
from uncol.training.record import model_of
from uncol.training.state import FineTuneSetup
from uncol.training.train import fine_tune
from uncol.training.train import train as train_run

LoadTeacher = Callable[[torch.device, FoundationModel], GeneralizedTeacher]


def train(
    spec: RunSpec,
    cases: Cases,
    folder: Path,
    monitor: Monitor,
    *,
    cache: Path | None = None,
    foundation: FoundationModel = LITE_MEDSAM,
    load_teacher: LoadTeacher = load_foundation_model,
) -> TrainedRun:
    """Train as the run says, or go on where the folder's checkpoint stands, and segment the test cases.

    Args:
        spec: What to run.
        cases: What it may see.
        folder: Holds the checkpoint, then the model.
        monitor: Told about progress, and asked at every step whether to stop.
        cache: Folder for the foundation model's embeddings; None keeps them in memory.
        foundation: Which foundation model, and its weights.
        load_teacher: Gives the foundation model.

    Raises:
        CancelledError: If the monitor says so; the same call goes on from there.
        UncolError: If the cases cannot be learned from.
    """
    config = Config.from_document(spec.config)
    method = find_method(config.method)
    device = select_device(spec.device)
    asks = config.teachers.generalized and method.asks_foundation_model
    teacher = load_teacher(device, foundation) if asks else None
    setup = _setup_of(cases, config, device, teacher, EmbeddingCache(cache))
    if method.proposes:
        return _proposed(setup, cases, folder, monitor)
    model = _trained(setup, folder, monitor)
    setup.cache.trim()

    def predict(image: Volume) -> Prediction:
        framed = _framed(image, cases, config)
        quiet = replace(monitor, report=lambda _progress: None)
        found = segment_with_model(framed, model, device, quiet)
        if teacher is None or not method.prompts_at_inference:
            return Prediction(*(image.with_voxels(each.voxels) for each in (found.labels, found.uncertainty)))
        labels = segment_prompted(framed, found.labels, model.card, teacher, setup.cache, quiet)
        return Prediction(image.with_voxels(labels.voxels))

    def predictions() -> Iterator[tuple[str, Prediction]]:
        for case_id, image in cases.test.items():
            yield case_id, predict(image)

    return TrainedRun(predictions(), model.card.training)


def _setup_of(
    cases: Cases,
    config: Config,
    device: torch.device,
    teacher: GeneralizedTeacher | None,
    cache: EmbeddingCache,
) -> FineTuneSetup:
    labeled = [
        LabeledCase(_framed(each.image, cases, config), _framed(each.labels, cases, config))
        for each in cases.labeled.values()
    ]
    return FineTuneSetup(
        cases=labeled,
        unlabeled=[_framed(each, cases, config) for each in cases.unlabeled.values()],
        structures=cases.structures,
        plane=plane_of_axis(labeled[0].image, "K"),
        config=config,
        device=device,
        teacher=teacher,
        cache=cache,
    )


def _trained(setup: FineTuneSetup, folder: Path, monitor: Monitor) -> Model:
    """Return the model of the folder, trained to the end; without a budget for stage 2 no teacher is asked."""
    if newest(folder, MODEL_FILE).is_file():
        return load_model(folder)
    method = find_method(setup.config.method)
    learner = setup if method.generalized else replace(setup, teacher=None)
    return fine_tune(learner, folder, monitor, resume=has_checkpoint(folder))


def _proposed(setup: FineTuneSetup, cases: Cases, folder: Path, monitor: Monitor) -> TrainedRun:
    """Train to the end and take what is proposed for the one image; the model itself is not needed."""
    state = train_run(setup, folder, monitor, resume=has_checkpoint(folder))
    (case_id,), found = cases.test, propose(state, folder, monitor).segmentation
    setup.cache.trim()

    def predictions() -> Iterator[tuple[str, Prediction]]:
        yield case_id, Prediction(found.labels, found.uncertainty)

    return TrainedRun(predictions(), model_of(state).card.training)


def _framed(volume: Volume, cases: Cases, config: Config) -> Volume:
    """Return a volume; where the spacing is lost, with one that makes the longest side of a slice equally long.

    Fields of view differ less than pixels do: this is the usual resizing of every slice to one size.
    """
    if cases.benchmark.spacing_known:
        return volume
    _, rows, columns = volume.shape_kji
    factor = config.data.max_side_vox / max(rows * volume.spacing_mm[1], columns * volume.spacing_mm[0])
    return Volume(volume.voxels, volume.ijk_to_ras @ np.diag([factor, factor, 1.0, 1.0]))
