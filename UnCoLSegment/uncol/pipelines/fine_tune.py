"""Fine-tune, from files to a model, and to what both teachers propose for its images."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from uncol.core.config import Config
from uncol.core.errors import CheckpointError, ConfigError
from uncol.core.files import is_file
from uncol.core.jobs import AnnotatedSlices, FineTuneJob
from uncol.core.methods import MODEL_METHODS, find_method
from uncol.core.model_folder import check_interrupted_save, has_model, read_card
from uncol.core.model_hash import weights_hash
from uncol.core.progress import Progress
from uncol.core.unfinished import claim_folder, is_run_held, origin_of, run_held, says_busy
from uncol.core.volume import UNKNOWN_LABEL, view_slices
from uncol.data.annotations import annotated_slices, annotated_structures, annotation_plane
from uncol.data.cases import LabeledCase
from uncol.data.io import (
    REPORT_FILE,
    check_writable,
    read_image,
    write_results,
)
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import PromptableModel
from uncol.models.card import Model
from uncol.models.checkpoints import has_checkpoint, remove_checkpoint
from uncol.models.devices import select_device
from uncol.pipelines.context import Context
from uncol.pipelines.history import made_with, summary
from uncol.pipelines.results import (
    PAGE_FILE,
    Document,
    Segmented,
    check_result_folder,
    reported,
    training_page,
    writing_s,
)
from uncol.pipelines.segment import read_case
from uncol.training.preview import Preview
from uncol.training.proposal import Proposal, propose
from uncol.training.record import save_learned
from uncol.training.resume import begun, save
from uncol.training.state import FineTuneSetup, TrainingState
from uncol.training.train import go_on

_PROPOSED_SLICE_S, _PROPOSED_STRUCTURE_S = 0.1, 0.06
"""What it takes to propose a slice, and what each structure adds to it, in s."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FineTuned:
    """The model, the folder that it came into, and what is proposed for the first case where the job wants that."""

    model: Model
    out: Path
    proposal: Segmented | None


def run_fine_tune(job: FineTuneJob, config: Config, context: Context) -> Document:
    """Fine-tune and write the proposal, if one is wanted; return what there is to tell of both.

    Raises:
        UncolError: If an input cannot be used or the output cannot be written.
    """
    if job.proposal is not None:
        check_result_folder(job.proposal)
    out = job.proposal or job.out

    def write_page(model: Model, folder: Path) -> None:
        write_results(folder, {}, {PAGE_FILE: training_page(model, folder.name, context.command)})

    tuned = fine_tune(job, config, context, lambda proposal: proposal.write(out, context.command), write_page)
    told = {"out": str(tuned.out), **summary(tuned.model)}
    if tuned.proposal is None:
        return told
    report = tuned.proposal.report
    told_of_it = ("by_both_teachers", "structures", "calibration", "promises", "next_slices", "sources", "notes")
    kept = {name: report[name] for name in told_of_it if name in report}
    return {**told, "proposal": {"out": str(job.proposal), **kept}}


def fine_tune(
    job: FineTuneJob,
    config: Config,
    context: Context,
    hand_over: Callable[[Segmented], None] = lambda _: None,
    write_beside: Callable[[Model, Path], None] = lambda *_: None,
) -> FineTuned:
    """Train a model from files and write it; what is proposed for its cases, as far as that is wanted, is handed over.

    As long as it lasts no other program can go on with the same run. A model that came into the folder meanwhile is
    not replaced: the new one comes into a folder beside it. The checkpoint of the last step goes in the very end, so
    that a run which is interrupted while it saves or proposes can be resumed, too.

    Args:
        job: What is wanted.
        config: Further settings.
        context: Where models and embeddings are, and who is told.
        hand_over: Writes the proposal of the first case, then those of the others; one is in memory at a time.
        write_beside: Writes what else belongs to the model into its folder.

    Raises:
        UncolError: If an input cannot be used, the output cannot be written, or another program learns there.
    """
    config = with_choices(config, minutes=job.minutes, steps=job.steps, seed=job.seed)
    device = select_device(job.device)
    _check_model_folder(job)
    with run_held(job.out):
        check_writable(job.out)
        state = _trained(job, config, device, context)
        started = time.monotonic()
        proposal = _proposed(state, job, context)
        out = _free_folder(state, job.out)
        model, segmented = save_learned(state, out, context.monitor), None
        source = made_with(replace(model, sha256=weights_hash(out)), out)
        if proposal is not None:
            segmented = _told(state, proposal, 0, source, started)
            hand_over(segmented)
        for case in range(1, 1 + len(job.further_proposals)):
            started = time.monotonic()
            further = propose(state, job.out, context.monitor, job.maps, case)
            hand_over(_told(state, further, case, source, started))
        write_beside(model, out)
        for folder in (job.out, out):
            remove_checkpoint(folder)
    return FineTuned(model, out, segmented)


def _proposed(state: TrainingState, job: FineTuneJob, context: Context) -> Proposal | None:
    if job.proposal is not None:
        return propose(state, job.out, context.monitor, job.maps)
    save(state, job.out)  # as `propose` does first: what comes now may be interrupted
    return None


def _told(state: TrainingState, proposal: Proposal, case: int, source: Document, started: float) -> Segmented:
    """Return what is proposed for a case with its report."""
    source = {**source, "by_both_teachers": proposal.by_both_teachers}
    seconds, given = time.monotonic() - started, state.setup.cases[case]
    annotated = annotated_slices(given.labels)
    return reported(given.image, proposal.segmentation, source, state.device, seconds, annotated)


def _free_folder(state: TrainingState, folder: Path) -> Path:
    """Return the folder for the model: the run's own, unless another run's model came there meanwhile."""
    if not has_model(folder):
        return folder
    with suppress(CheckpointError, AttributeError):
        if read_card(folder).get("training", {}).get("data_sha256") == state.setup.fingerprint():
            return folder  # its own, from before it was interrupted
    out = claim_folder(folder, origin_of(folder))
    _log.warning('A model called "%s" came meanwhile; this one is called "%s".', folder.name, out.name)
    return out


def _trained(job: FineTuneJob, config: Config, device: torch.device, context: Context) -> TrainingState:
    context.monitor.report(Progress("Reading the images", 0.0))
    cases = [
        read_case(case.image, case.labels, _slices_of_case(job.annotated_slices, number), job.dicom)
        for number, case in enumerate(job.cases, start=1)
    ]
    config = with_job_choices(config, job, cases)
    base = context.load_model(job.base) if job.base else None
    teacher = _teacher_if_any(config, device, context)
    setup = FineTuneSetup(
        cases=cases,
        unlabeled=[read_image(path, job.dicom) for path in job.unlabeled],
        structures=annotated_structures([case.labels for case in cases], job.structures),
        plane=annotation_plane(cases, _slices_of_case(job.annotated_slices, 1)),
        config=config,
        device=device,
        teacher=teacher,
        cache=EmbeddingCache(context.cache),
        base=base,
        earlier=context.load_model(job.compare_with) if job.compare_with else base,
        teacher_license=None if teacher is None else context.foundation.license,
    )
    order = context.preview
    monitor = context.monitor.followed_by(0.0 if job.proposal is None else _proposal_s(setup))
    state = begun(setup, job.out, monitor, resume=job.resume)
    if order is None:
        go_on(state, job.out, monitor)
    else:
        with Preview(order, state, monitor) as preview:
            go_on(state, job.out, replace(monitor, report=preview))
    setup.cache.trim()
    return state


def _proposal_s(setup: FineTuneSetup) -> float:
    """Return about how long the proposal takes that follows the training, in s, on two cores."""
    image = setup.cases[0].image
    slices = len(view_slices(image, setup.plane).stack_from(image.voxels))
    return slices * (_PROPOSED_SLICE_S + _PROPOSED_STRUCTURE_S * len(setup.structures)) + writing_s(image)


def _slices_of_case(annotated: Sequence[AnnotatedSlices], number: int) -> list[AnnotatedSlices]:
    return [each for each in annotated if each.case in (None, number)]


def _teacher_if_any(config: Config, device: torch.device, context: Context) -> PromptableModel | None:
    if not (config.teachers.generalized and find_method(config.method).generalized):
        return None
    return context.load_teacher(device, context.foundation)


def _check_model_folder(job: FineTuneJob) -> None:
    if is_run_held(job.out):
        raise CheckpointError(says_busy(job.out))
    is_unfinished = has_checkpoint(job.out)
    if not job.resume and is_unfinished:
        message = f'"{job.out}" holds an unfinished run. Add --resume to go on, or choose another folder.'
        raise CheckpointError(message)
    if is_file(job.out / REPORT_FILE):
        message = (
            f'"{job.out}" holds what was found in an image. Models are passed on, and that is not to go with them: '
            "choose another folder for the model; nothing was changed."
        )
        raise CheckpointError(message)
    check_interrupted_save(job.out)
    if has_model(job.out) and not is_unfinished:
        message = f'"{job.out}" already holds a model. Choose another folder for the new one; nothing was changed.'
        raise CheckpointError(message)


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
