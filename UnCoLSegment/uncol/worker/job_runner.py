"""What the worker does for each request, in files: segment, fine-tune, manage models."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from uncol.core.config import Config
from uncol.core.errors import ConfigError
from uncol.core.jobs import Case, FineTuneJob, SegmentJob
from uncol.core.model_folder import check_model_name, is_model_name
from uncol.core.model_store import Store
from uncol.core.protocol import FineTune, ModelAction, Models, Segment
from uncol.core.volume import Volume
from uncol.core.volume_files import write_nrrd
from uncol.foundation.loading import FoundationModel
from uncol.inference.result import Segmentation
from uncol.models.checkpoints import has_checkpoint
from uncol.pipelines.tasks import Context, Document, segment_image, train_and_propose, with_choices
from uncol.training.preview import PreviewOrder
from uncol.worker.job_folder import JobFolder, file_of_job
from uncol.worker.model_cache import WarmModels
from uncol.worker.running_job import Assignment

_log = logging.getLogger(__name__)

SEGMENTATION_FILE, UNCERTAINTY_FILE, PREVIEW_FILE = "segmentation.nrrd", "uncertainty.nrrd", "preview-{}.nrrd"


class Jobs:
    """Carries out jobs; keeps the foundation model and the last model used between them.

    Args:
        folder: The worker's folder; images and results of a job lie in a folder inside it.
        store: The models; new ones are written there only.
        cache: Folder for the foundation model's embeddings.
        foundation: Which foundation model, and its weights.
    """

    def __init__(self, folder: JobFolder, store: Store, cache: Path, foundation: FoundationModel) -> None:
        self._folder, self._store = folder, store
        self._cache, self._foundation = cache, foundation
        self._warm = WarmModels()

    def carry_out(self, assignment: Assignment) -> Document:
        """Do what is wanted; return what the result event says.

        Raises:
            UncolError: If the user must do something about it, or the job was cancelled.
        """
        if isinstance(assignment.content, Segment):
            return self._segment(assignment, assignment.content)
        return self._fine_tune(assignment, assignment.content)

    def _segment(self, assignment: Assignment, wanted: Segment) -> Document:
        folder = self._folder.subfolder(wanted.job)
        job = SegmentJob(
            image=file_of_job(folder, wanted.image, "image"),
            out=folder,
            model=None if wanted.model is None else self._model(wanted.model, "model"),
            boxes=wanted.boxes,
            labels=None if wanted.labels is None else file_of_job(folder, wanted.labels, "labels"),
            structures=wanted.structures,
            device=wanted.device,
        )
        result, report = segment_image(job, self._context(assignment))
        assignment.should_stop()  # leaves if the job was cancelled since the last slice
        return _write_result(folder, result, report)

    def _fine_tune(self, assignment: Assignment, wanted: FineTune) -> Document:
        folder = self._folder.subfolder(wanted.job)
        job = FineTuneJob(
            cases=tuple(
                Case(file_of_job(folder, each.image, "image"), file_of_job(folder, each.labels, "labels"))
                for each in wanted.cases
            ),
            out=self._new_model(wanted.out),
            structures=wanted.structures,
            base=None if wanted.base is None else self._model(wanted.base, "base"),
            resume=wanted.resume,
            device=wanted.device,
        )
        assignment.can_be_resumed = lambda: has_checkpoint(job.out)
        context = self._context(assignment)
        if wanted.preview_s is not None:
            context = replace(context, preview=PreviewOrder(wanted.preview_s, _preview_teller(folder, assignment)))
        try:
            model, proposal, report = train_and_propose(job, _configured(wanted, self._foundation), context)
        finally:
            with suppress(OSError):  # there is something in it, or it was never made
                job.out.rmdir()
        return {
            "out": str(job.out),
            "model": job.out.name,
            "structures": [{"name": each.name, "value": each.value} for each in model.card.structures],
            "training": model.card.training,
            **_write_result(folder, proposal, report),
        }

    def _context(self, assignment: Assignment) -> Context:
        return Context(
            monitor=assignment.monitor,
            cache=self._cache,
            foundation=self._foundation,
            load_model=self._warm.model,
            load_teacher=self._warm.teacher,
        )

    def _model(self, text: str, field: str) -> Path:
        """Return a model by its name or folder; only those of the store are opened."""
        return self._store.path_of(self._name_in_store(text, field))

    def _new_model(self, text: str) -> Path:
        name = self._name_in_store(text, "out")
        check_model_name(name)
        return self._store.folder / name

    def _name_in_store(self, text: str, field: str) -> str:
        if is_model_name(text):
            return text
        path = Path(text)
        if path.parent.resolve() != self._store.folder.resolve():
            message = f'"{field}" must be a model in "{self._store.folder}", got "{text}". Import the model first.'
            raise ConfigError(message)
        return path.name


def manage_models(store: Store, wanted: Models) -> Document:
    """Look at or change the models; return what the result event says.

    Raises:
        UncolError: If that is not possible.
    """
    result = _ACTIONS[wanted.action](store, wanted)
    return {"active": store.active, **(result or {})}


def _write_result(folder: Path, result: Segmentation, report: Document) -> Document:
    """Write a segmentation where the panel finds it, and return what the result event says of it."""
    write_nrrd(folder / SEGMENTATION_FILE, result.labels)
    write_nrrd(folder / UNCERTAINTY_FILE, result.uncertainty)
    return {"segmentation": SEGMENTATION_FILE, "uncertainty": UNCERTAINTY_FILE, "report": report}


def _preview_teller(folder: Path, assignment: Assignment) -> Callable[[Volume], None]:
    count = 0

    def tell(labels: Volume) -> None:
        nonlocal count
        count += 1
        name = PREVIEW_FILE.format(count)  # a new file each time: the last one may be being read
        write_nrrd(folder / name, labels)
        (folder / PREVIEW_FILE.format(count - 2)).unlink(missing_ok=True)
        assignment.tell("preview", segmentation=name)

    return tell


def _configured(wanted: FineTune, foundation: FoundationModel) -> Config:
    config = with_choices(Config(), minutes=wanted.minutes, steps=wanted.steps, seed=wanted.seed)
    if not foundation.is_installed:
        _log.warning("The foundation model is not installed; the moving average teaches alone.")
        config = replace(config, teachers=replace(config.teachers, generalized=False))
    if wanted.preview_s is not None:
        interval_s = min(wanted.preview_s, config.budget.checkpoint_s)
        config = replace(config, budget=replace(config.budget, checkpoint_s=interval_s))
    return config


def _import(store: Store, wanted: Models) -> dict[str, Any]:
    return {"name": store.import_zip(Path(str(wanted.path)), wanted.name)}


def _list(store: Store, _wanted: Models) -> dict[str, Any]:
    return {"models": [each.as_document() for each in store.list()]}


_ACTIONS: dict[ModelAction, Callable[[Store, Models], dict[str, Any] | None]] = {
    "list": _list,
    "show": lambda store, wanted: {"card": store.show(str(wanted.name))},
    "rename": lambda store, wanted: store.rename(str(wanted.name), str(wanted.new_name)),
    "activate": lambda store, wanted: store.activate(str(wanted.name)),
    "roll_back": lambda store, _wanted: {"name": store.roll_back()},
    "remove": lambda store, wanted: store.remove(str(wanted.name)),
    "import": _import,
    "export": lambda store, wanted: store.export_zip(str(wanted.name), Path(str(wanted.path))),
    "verify": lambda store, wanted: store.verify(str(wanted.name)),
}
