"""Carries out one run: learns with the product's own trainer, or nothing, and segments the test cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.benchmark.cases import Cases
from uncol.benchmark.prediction import Prediction
from uncol.benchmark.runs import RunSpec
from uncol.benchmark.suites import BENCHMARKS
from uncol.benchmark.without_training import FILL_SLICES, SliceTask
from uncol.core.config import Config
from uncol.core.foundation_choice import LITE_MEDSAM, FoundationChoice
from uncol.core.methods import find_method
from uncol.core.model_card import ModelCard
from uncol.core.model_folder import has_model
from uncol.core.progress import Monitor, Progress
from uncol.core.volume import Volume, plane_of_axis, view_slices
from uncol.data.cases import LabeledCase
from uncol.data.connected_components import largest_component
from uncol.foundation.boxes import can_prompt
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.loading import load_foundation_model
from uncol.foundation.promptable import PromptableModel
from uncol.foundation.prompting import SlicePredictor
from uncol.inference.grey_scale import window_for
from uncol.inference.result import with_background
from uncol.inference.student import segment_with_model
from uncol.models.card import Model
from uncol.models.checkpoints import has_checkpoint, load_model
from uncol.models.devices import select_device
from uncol.training.proposal import propose
from uncol.training.record import model_of
from uncol.training.state import FineTuneSetup
from uncol.training.train import fine_tune
from uncol.training.train import train as train_run


@dataclass(frozen=True)
class TrainedRun:
    """What a trainer hands back.

    Attributes:
        predictions: Name of each test case and what was found in it, made one by one as they are asked for.
        record: A JSON object: `steps` and `seconds` of the training over all sittings, `curve` (points with `step`,
            `seconds` and losses by name), and whatever else explains the run.
        of_model: What the model itself finds in each test case, where `predictions` are proposals; None otherwise.
    """

    predictions: Iterator[tuple[str, Prediction]]
    record: dict[str, Any]
    of_model: Iterator[tuple[str, Prediction]] | None = None


Trainer = Callable[[RunSpec, Cases, Path, Monitor], TrainedRun]
"""Carries out a run: what, with which cases, in which folder, told to whom, until told to stop.

The folder belongs to this run alone. What an earlier call left there is gone on from; when told to stop, the trainer
saves a checkpoint there and raises `CancelledError`. It is removed when the result stands.
"""
LoadTeacher = Callable[[torch.device, FoundationChoice], PromptableModel]


def trainer_of(spec: RunSpec, cache: Path | None, foundation: FoundationChoice) -> Trainer:
    """Return who carries out a run; the bars that training has to clear on single annotated slices train nothing.

    Args:
        spec: What to run.
        cache: Folder for the foundation model's embeddings; None keeps them in memory.
        foundation: Which foundation model, and its weights.
    """
    chosen = partial(train, cache=cache, foundation=foundation)
    if BENCHMARKS[spec.benchmark].supervision == "cases":
        return chosen
    if spec.method in FILL_SLICES:
        return partial(fill_slices, cache=cache, foundation=foundation)
    return partial(train_each, train_one=chosen)


def train(
    spec: RunSpec,
    cases: Cases,
    folder: Path,
    monitor: Monitor,
    *,
    cache: Path | None = None,
    foundation: FoundationChoice = LITE_MEDSAM,
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
    method, device = find_method(config.method), select_device(spec.device)
    is_prompted = config.teachers.generalized and method.uses_foundation_model
    teacher = load_teacher(device, foundation) if is_prompted else None
    setup = _setup_of(cases, config, device, teacher, EmbeddingCache(cache))
    quiet = replace(monitor, report=lambda _progress: None)

    def predict(image: Volume, model: Model) -> Prediction:
        framed = _framed(image, cases, config)
        found = segment_with_model(framed, model, device, quiet)
        if teacher is None or not method.prompts_at_inference:
            return Prediction(*(image.with_voxels(each.voxels) for each in (found.labels, found.uncertainty)))
        labels = segment_prompted(framed, found.labels, model.card, teacher, setup.cache, quiet)
        return Prediction(image.with_voxels(labels.voxels))

    def predict_all(model: Model) -> Iterator[tuple[str, Prediction]]:
        return ((case_id, predict(image, model)) for case_id, image in cases.test.items())

    if method.proposal_of:
        state = train_run(setup, folder, monitor, resume=has_checkpoint(folder))
        (case_id,), proposed, model = cases.test, propose(state, folder, monitor).segmentation, model_of(state)
        proposal = Prediction(proposed.labels, proposed.uncertainty)
        trained = TrainedRun(iter([(case_id, proposal)]), model.card.training, predict_all(model))
    else:
        model = _trained(setup, folder, monitor)
        trained = TrainedRun(predict_all(model), model.card.training)
    setup.cache.trim()
    return trained


def _setup_of(
    cases: Cases, config: Config, device: torch.device, teacher: PromptableModel | None, cache: EmbeddingCache
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
    """Return the model of the folder, trained to the end; without a budget for stage 2 no teacher is prompted."""
    if has_model(folder):
        return load_model(folder)
    method = find_method(setup.config.method)
    learner = setup if method.generalized else replace(setup, teacher=None)
    return fine_tune(learner, folder, monitor, resume=has_checkpoint(folder))


def _framed(volume: Volume, cases: Cases, config: Config) -> Volume:
    """Return a volume; where the spacing is lost, with one that makes the longest side of a slice equally long.

    Fields of view differ less than pixels do: this is the usual resizing of every slice to one size. A volume that is
    a task of its own need not be like others.
    """
    if cases.benchmark.spacing_known or cases.benchmark.supervision == "slices":
        return volume
    _, rows, columns = volume.shape_kji
    factor = config.data.max_side_vox / max(rows * volume.spacing_mm[1], columns * volume.spacing_mm[0])
    return Volume(volume.voxels, volume.ijk_to_ras @ np.diag([factor, factor, 1.0, 1.0]))


def segment_prompted(
    image: Volume, labels: Volume, card: ModelCard, teacher: PromptableModel, cache: EmbeddingCache, monitor: Monitor
) -> Volume:
    """Let the frozen foundation model redraw every slice, with one box for each structure that a student found there.

    A box surrounds the structure's largest piece in the slice, with the margin of training. A structure whose piece
    is too small to prompt with is not there.

    Args:
        image: What to segment.
        labels: What the student found.
        card: The student's structures, plane, window and settings.
        teacher: The foundation model.
        cache: Where embeddings are kept.
        monitor: Asked at every slice whether to stop.

    Raises:
        CancelledError: If the monitor says so.
    """
    view = view_slices(image, card.plane)
    predictor = SlicePredictor.of_volume(image, view, window_for(card, image.voxels), teacher, cache)
    result = np.zeros_like(labels.voxels)
    values = np.array([each.value for each in card.structures], dtype=np.uint8)
    margin = card.config.teachers.box_margin_vox
    pairs = zip(view.stack_from(labels.voxels), view.stack_from(result), strict=True)
    for index, (found, redrawn) in enumerate(pairs):
        monitor.check()
        masks = [largest_component(found == value) for value in values]
        foreground = _foreground(predictor, index, masks, margin)
        redrawn[:] = np.array([0, *values], dtype=np.uint8)[with_background(foreground).argmax(0).numpy()]
    return labels.with_voxels(result)


def _foreground(predictor: SlicePredictor, index: int, masks: list[NDArray[np.bool_]], margin: float) -> Tensor:
    """Return each structure's probability (N, H, W) in the image's own pixels; 0 without a box."""
    probabilities = torch.zeros(len(masks), predictor.rows, predictor.columns)
    prompted = [number for number, mask in enumerate(masks) if can_prompt(mask)]
    if prompted:
        boxes = np.stack([predictor.box_round(masks[number], margin) for number in prompted])
        probabilities[prompted] = predictor.to_native(predictor.predict(index, boxes).probabilities)
    return probabilities


def fill_slices(
    spec: RunSpec, cases: Cases, _folder: Path, monitor: Monitor, *, cache: Path | None, foundation: FoundationChoice
) -> TrainedRun:
    """Fill every volume with a method that trains nothing."""
    started, fill = time.monotonic(), FILL_SLICES[spec.method]
    load_teacher = lru_cache(partial(load_foundation_model, select_device(spec.device), foundation))
    embeddings, quiet = EmbeddingCache(cache), replace(monitor, report=lambda _progress: None)
    found: dict[str, Prediction] = {}
    for number, (case_id, case) in enumerate(cases.labeled.items()):
        monitor.step(f"Filling volume {number + 1} of {len(cases.labeled)}", number / len(cases.labeled))
        found[case_id] = fill(SliceTask(case, cases.structures, load_teacher, embeddings, quiet))
    record = {"steps": 0, "seconds": round(time.monotonic() - started, 1), "curve": []}
    return TrainedRun(iter(found.items()), record)


def train_each(spec: RunSpec, cases: Cases, folder: Path, monitor: Monitor, *, train_one: Trainer) -> TrainedRun:
    """Train on one volume after the other, each a task of its own; the result of a single one is that of `train_one`.

    Every volume has a folder of its own below the run's, from which the same call goes on.

    Returns:
        Predictions of all volumes. The record holds the means of steps and seconds over the volumes, and what the
        trainer says of each by its name.
    """
    if len(cases.labeled) == 1:
        return train_one(spec, cases, folder, monitor)
    predictions: dict[str, Prediction] = {}
    of_model: dict[str, Prediction] = {}
    records: dict[str, dict[str, Any]] = {}
    for number, (case_id, case) in enumerate(cases.labeled.items()):
        only = replace(cases, labeled={case_id: case}, test={case_id: cases.test[case_id]})
        told = _monitor_of_volume(monitor, number, len(cases.labeled), spec.steps)
        trained = train_one(spec, only, folder / case_id, told)
        predictions.update(trained.predictions)
        of_model.update(trained.of_model or ())
        records[case_id] = trained.record
    means: dict[str, float] = {key: fmean(each[key] for each in records.values()) for key in ("steps", "seconds")}
    record = {**means, "curve": [], "volumes": records}
    return TrainedRun(iter(predictions.items()), record, iter(of_model.items()) if of_model else None)


def _monitor_of_volume(monitor: Monitor, number: int, count: int, steps: int) -> Monitor:
    """Return a monitor for one of several volumes, whose steps are those of the whole run and never go back."""
    done = number * steps // count

    def report(progress: Progress) -> None:
        nonlocal done
        if progress.step is not None:
            done = (number * steps + progress.step) // count
        phase = f"volume {number + 1} of {count}: {progress.phase}"
        monitor.report(replace(progress, phase=phase, step=done))

    return replace(monitor, report=report)
