"""What the worker does for each job: the same pipelines as the command line, in its own folders only."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from uncol.core.config import Config
from uncol.core.dicom_export import DICOM_FILES, ExportJob, ExportResult
from uncol.core.errors import ConfigError
from uncol.core.files import resolved
from uncol.core.findings import findings_in
from uncol.core.foundation_choice import FoundationChoice
from uncol.core.jobs import (
    Case,
    FineTuneJob,
    FineTuneResult,
    SegmentJob,
    SegmentResult,
    VolumeSource,
)
from uncol.core.model_folder import check_model_name, is_model_name
from uncol.core.model_store import Store
from uncol.core.protocol import Preview
from uncol.core.round_scores import ComparedSlices, ScoreJob, ScoreResult, score_round
from uncol.core.slice_suggestion import score_all_slices
from uncol.core.volume import Volume
from uncol.core.volume_files import VolumeFile
from uncol.inference.result import Show
from uncol.models.checkpoints import has_checkpoint
from uncol.pipelines.context import Context
from uncol.pipelines.fine_tune import fine_tune
from uncol.pipelines.results import Segmented
from uncol.pipelines.segment import segment
from uncol.training.preview import PreviewOrder
from uncol.worker.job_folder import JobFolder, file_of_job
from uncol.worker.model_cache import ModelCache
from uncol.worker.running_job import RunningJob

_log = logging.getLogger(__name__)

SEGMENTATION_FILE, UNCERTAINTY_FILE, MAP_FILE = "segmentation.npy", "uncertainty.npy", "uncertainty-{}.npy"
PLACES_FILE = "places.npy"
PREVIEW_FILE, PREVIEW_UNCERTAINTY_FILE = "preview-{}.npy", "preview-uncertainty-{}.npy"


class JobRunner:
    """Carries out jobs; keeps the foundation model and the last model used between them.

    Args:
        folder: The worker's folder; images and results of a job lie in a folder inside it.
        store: The models; new ones are written there only.
        cache: Folder for the foundation model's embeddings.
        foundation: Which foundation model, and its weights.
    """

    def __init__(self, folder: JobFolder, store: Store, cache: Path, foundation: FoundationChoice) -> None:
        self._folder, self._store = folder, store
        self._cache, self._foundation = cache, foundation
        self._models = ModelCache()

    def carry_out(self, running: RunningJob) -> SegmentResult | FineTuneResult | ScoreResult | ExportResult:
        """Do what is wanted.

        Raises:
            UncolError: If the user must do something about it, or the job was cancelled.
        """
        if isinstance(running.job, SegmentJob):
            return self._segment(running, running.job)
        if isinstance(running.job, ScoreJob):
            return self._score(running.job)
        if isinstance(running.job, ExportJob):
            return self._export(running, running.job)
        return self._fine_tune(running, running.job)

    def _segment(self, running: RunningJob, job: SegmentJob) -> SegmentResult:
        folder = self._folder.subfolder(job.out, "out")
        job = replace(
            job,
            image=_inside(folder, job.image, "image"),
            out=folder,
            model=job.model and self._model(job.model, "model"),
            labels=job.labels and _inside(folder, job.labels, "labels"),
        )
        segmented = segment(job, replace(self._context(running), show=_preview_teller(folder, running)))
        running.should_stop()  # leaves if the job was cancelled since the last slice
        return _write_result(folder, segmented)

    def _fine_tune(self, running: RunningJob, job: FineTuneJob) -> FineTuneResult:
        if job.proposal is None:
            message = 'Request "fine_tune" lacks the field "proposal".'
            raise ConfigError(message)
        folder = self._folder.subfolder(job.proposal, "proposal")
        job = replace(
            job,
            cases=tuple(
                Case(_inside(folder, each.image, "image"), _inside(folder, each.labels, "labels")) for each in job.cases
            ),
            unlabeled=tuple(_inside(folder, each, "unlabeled") for each in job.unlabeled),
            out=self._new_model(job.out),
            base=job.base and self._model(job.base, "base"),
            compare_with=job.compare_with and self._model(job.compare_with, "compare_with"),
            proposal=folder,
            further_proposals=tuple(
                self._folder.subfolder(each, "further_proposals") for each in job.further_proposals
            ),
        )
        folders = (folder, *job.further_proposals)
        if len(set(folders)) != len(folders):
            message = 'Two cases have the same folder in "proposal" and "further_proposals". Give each one of its own.'
            raise ConfigError(message)
        running.can_be_resumed = lambda: has_checkpoint(job.out)
        context = self._context(running)
        if job.preview_s is not None:
            tellers = [_preview_teller(each, running, case) for case, each in enumerate(folders, 1)]
            order = PreviewOrder(
                job.preview_s, lambda labels, doubt, case: tellers[case - 1](labels, doubt), len(folders)
            )
            context = replace(context, preview=order)
        proposals: list[SegmentResult] = []

        def hand_over(found: Segmented) -> None:
            proposals.append(_write_result(folders[len(proposals)], found))

        try:
            config = _configured(job, self._foundation)
            tuned = fine_tune(job, config, context, hand_over)
        finally:
            self._store.release(job.out.name)
        card = tuned.model.card
        return FineTuneResult(tuned.out, card.structures, card.training, proposals[0], tuple(proposals[1:]))

    def _score(self, job: ScoreJob) -> ScoreResult:
        folder = self._folder.subfolder(job.out, "out")

        def read(file: VolumeFile, field: str) -> Volume:
            return replace(file, file=file_of_job(folder, file.file, field)).read()

        stacks = [
            ComparedSlices(
                read(each.reference, "reference"),
                read(each.prediction, "prediction"),
                None if each.uncertainty is None else read(each.uncertainty, "uncertainty"),
            )
            for each in job.stacks
        ]
        return score_round(stacks, job.structures)

    def _export(self, running: RunningJob, job: ExportJob) -> ExportResult:
        from uncol.pipelines.dicom_export import export_dicom  # loading it takes a while, and few jobs want it

        folder = self._folder.subfolder(job.out, "out")
        labels = tuple(_inside(folder, each, "labels") for each in job.labels)
        job = replace(job, labels=labels, uncertainty=_inside(folder, job.uncertainty, "uncertainty"))
        for name, write in export_dicom(job, running.monitor).items():
            running.should_stop()  # leaves if the job was cancelled meanwhile
            write(folder / name)
        return ExportResult(*(folder / name for name in DICOM_FILES))

    def _context(self, running: RunningJob) -> Context:
        return Context(running.monitor, self._cache, self._foundation, self._models.model, self._models.teacher)

    def _model(self, path: Path, field: str) -> Path:
        """Return a model by its name or folder; only those of the store are opened."""
        return self._store.path_of(self._name_in_store(path, field))

    def _new_model(self, path: Path) -> Path:
        name = self._name_in_store(path, "out")
        check_model_name(name)
        return self._store.folder / name

    def _name_in_store(self, path: Path, field: str) -> str:
        if not is_model_name(str(path)) and resolved(path.parent) != resolved(self._store.folder):
            message = f'"{field}" must be a model in "{self._store.folder}", got "{path}". Import the model first.'
            raise ConfigError(message)
        return path.name


def _inside(folder: Path, source: VolumeSource, field: str) -> VolumeFile:
    """Return an image or a label map of a job with its whole path; headers of other formats name further files."""
    if not isinstance(source, VolumeFile):
        message = f'"{field}" must be a volume with "file" and "ijk_to_ras", got a path. Write its voxels as .npy file.'
        raise ConfigError(message)
    return replace(source, file=file_of_job(folder, source.file, field))


def _write_result(folder: Path, result: Segmented) -> SegmentResult:
    found = result.segmentation
    return SegmentResult(
        VolumeFile.write(folder / SEGMENTATION_FILE, found.labels),
        VolumeFile.write(folder / UNCERTAINTY_FILE, found.uncertainty),
        result.report,
        score_all_slices(found.labels, found.uncertainty, found.structures),
        {name: VolumeFile.write(folder / MAP_FILE.format(name), each) for name, each in found.maps.items()},
        findings_in(result.report),
        VolumeFile.write(folder / PLACES_FILE, found.labels.with_voxels(result.look.numbers)),
    )


def _preview_teller(folder: Path, running: RunningJob, case: int = 1) -> Show:
    count = 0

    def tell(labels: Volume, uncertainty: Volume | None) -> None:
        nonlocal count
        count += 1  # new files each time: the last ones may be being read
        written, doubts = VolumeFile.write(folder / PREVIEW_FILE.format(count), labels), None
        if uncertainty is not None:
            doubts = VolumeFile.write(folder / PREVIEW_UNCERTAINTY_FILE.format(count), uncertainty)
        for name in (PREVIEW_FILE, PREVIEW_UNCERTAINTY_FILE):
            (folder / name.format(count - 2)).unlink(missing_ok=True)
        running.tell(Preview(written, doubts, case))

    return tell


def _configured(job: FineTuneJob, foundation: FoundationChoice) -> Config:
    config = Config()
    if not foundation.is_installed:
        _log.warning("The foundation model is not installed; the moving average teaches alone.")
        config = replace(config, teachers=replace(config.teachers, generalized=False))
    if job.preview_s is not None:
        interval_s = min(job.preview_s, config.budget.checkpoint_s)
        config = replace(config, budget=replace(config.budget, checkpoint_s=interval_s))
    return config
