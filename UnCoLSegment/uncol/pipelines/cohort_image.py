"""One image of a cohort, from file to files, in whatever process or machine: what goes there, and what comes back."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from uncol import __version__
from uncol.core.dicom_export import DICOM_FILES
from uncol.core.errors import (
    MEMORY_IS_FULL,
    CancelledError,
    CheckpointError,
    ConfigError,
    UncolError,
    says_memory_is_full,
)
from uncol.core.files import is_real_folder, read_limited, sha256_of
from uncol.core.freed_memory import keep_freed_memory
from uncol.core.jobs import SegmentJob
from uncol.core.model_folder import MODEL_FILE, read_card
from uncol.core.model_hash import stated_hash
from uncol.core.printable import printable_document
from uncol.core.progress import UNWATCHED, Monitor
from uncol.core.records import to_document
from uncol.core.strict_json import read_json
from uncol.data.io import REPORT_FILE, content_hash, read_image
from uncol.models.card import Model
from uncol.models.checkpoints import load_model
from uncol.pipelines.context import Context
from uncol.pipelines.results import SEGMENTATION_FILE, UNCERTAINTY_FILE, Document
from uncol.pipelines.segment import segment
from uncol.report.outcome import Outcome

_LOGGER = logging.getLogger(__name__)
_LARGEST_REPORT_BYTES = 16 << 20
_NO_RESULT = (OSError, ValueError, LookupError, TypeError, AttributeError, ConfigError)
"""What reading a report raises that is not there, half of one, or somebody else's."""
_QUOTED = re.compile(r'".*"', re.DOTALL)
"""From the first quotation mark to the last one: a name may hold some, too."""
TOLD = ("name", "voxels", "volume_ml", "volume_range_ml", "mean_uncertainty")
"""What of each structure in a report the table tells."""


@dataclass(frozen=True)
class ImageTask:
    """One image to segment with a model; it goes to other processes, and to other machines that see the same folders.

    Attributes:
        name: What the table calls it.
        job: What is wanted; paths are absolute.
        model_sha256: Which weights; a machine that finds others there refuses.
        as_dicom: Whether the result becomes DICOM, too.
        version: The UnCoL that asks; another one refuses.
    """

    name: str
    job: SegmentJob
    model_sha256: str
    as_dicom: bool = False
    version: str = __version__


@dataclass(frozen=True)
class ImageResult:
    """What the table says of an image.

    Attributes:
        name: As in the task.
        structures: `TOLD` of each structure in the image's report; none where something went wrong.
        notes: Sentences about the result.
        error: What went wrong, in a sentence; "" for nothing.
        was_there: Whether the result was there already, from an earlier run.
    """

    name: str
    structures: tuple[Document, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    was_there: bool = False


def segment_image(task: ImageTask, monitor: Monitor = UNWATCHED) -> ImageResult:
    """Segment one image, unless its result is there; whatever goes wrong with it is told, and stops no other.

    Raises:
        CancelledError: If the monitor says so.
    """
    keep_freed_memory()  # whatever process this is
    try:
        _check_same(task)
        report = _finished(task)
        if report is not None:
            return replace(_result(task, report), was_there=True)
        return _result(task, _segmented(task, monitor))
    except CancelledError:
        raise
    except UncolError as error:
        return ImageResult(task.name, error=str(error))
    except Exception as error:  # a bug about one image stops no other; the table names it, the log has its traceback
        if says_memory_is_full(error):
            return ImageResult(task.name, error=MEMORY_IS_FULL)
        _LOGGER.exception("A bug in UnCoL stopped one image.")
        return ImageResult(task.name, error=f"This is a bug in UnCoL ({type(error).__name__}). Please report it.")


def _check_same(task: ImageTask) -> None:
    if task.version != __version__:
        message = f"A worker has UnCoL {__version__}, but {task.version} asked for the work. Install the same on both."
        raise CheckpointError(message)
    model = _model_of(task)
    if stated_hash(model) != task.model_sha256:
        message = f'The model "{model}" is missing or another one where the work is done. Put it into a shared folder.'
        raise CheckpointError(message)


def _model_of(task: ImageTask) -> Path:
    if task.job.model is None:
        message = "A cohort is segmented with one model for all images, and none was named."
        raise CheckpointError(message)
    return task.job.model


def _finished(task: ImageTask) -> Document | None:
    """Return the report of an earlier run about the same image, model and version, if its files are whole."""
    if not is_real_folder(task.job.out):
        return None
    wanted = {SEGMENTATION_FILE, UNCERTAINTY_FILE, *(DICOM_FILES if task.as_dicom else ())}
    try:
        report = read_json(read_limited(task.job.out / REPORT_FILE, _LARGEST_REPORT_BYTES))
        is_same = (report["uncol"], report["model_sha256"]) == (__version__, task.model_sha256)
        files = report["files"]
        if not (is_same and wanted <= set(files) and _names_in(report) == _names_in(read_card(_model_of(task)))):
            return None
        if any(sha256_of(task.job.out / Path(name).name) != sum for name, sum in files.items()):
            return None
        described = report["image"]["sha256"]
        _result(task, report)
    except _NO_RESULT:
        return None
    return report if _is_about(task, described) else None


def _names_in(document: Document) -> list[tuple[int, str]]:
    """Return values and names of structures: of one model that were renamed, results are called otherwise."""
    return [(each["value"], each["name"]) for each in document["structures"]]


def _is_about(task: ImageTask, sha256: str) -> bool:
    """Say whether a result is about the image that is there now: the same voxels, and for DICOM the same instances."""
    if not task.as_dicom:
        return content_hash(read_image(task.job.image, task.job.dicom)) == sha256
    from uncol.data.dicom_images import read_dicom_image
    from uncol.formats.dicom_source import refers_to

    image, source = read_dicom_image(task.job.image, task.job.dicom)
    return content_hash(image) == sha256 and all(refers_to(task.job.out / name, source) for name in DICOM_FILES)


def _segmented(task: ImageTask, monitor: Monitor) -> Document:
    context = Context(
        monitor, None, load_model=lambda folder: _warm_model(folder, task.model_sha256, sha256_of(folder / MODEL_FILE))
    )
    with _heard_warnings() as warnings:
        found = segment(task.job, context, as_dicom=task.as_dicom)
    found.report["notes"] = [*dict.fromkeys([*warnings, *found.report["notes"]])]
    found.write(task.job.out)
    return found.report


@lru_cache(maxsize=1)
def _warm_model(folder: Path, _weights_sha256: str, _card_sha256: str) -> Model:
    """Return a model; a process keeps the last one, as long as its weights and its card are the same."""
    return load_model(folder)


@contextmanager
def _heard_warnings() -> Iterator[list[str]]:
    """Collect what the engine warns of in this thread, without names of files, which may be those of patients.

    Nobody reads the log of a process that works on a cohort.
    """
    heard: list[str] = []
    thread = threading.get_ident()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                heard.append(_without_names(record))

    logger, ear = logging.getLogger("uncol"), Ear(logging.WARNING)
    logger.addHandler(ear)
    try:
        yield heard
    finally:
        logger.removeHandler(ear)


def _without_names(record: logging.LogRecord) -> str:
    """Return a warning in which nothing stands between quotation marks that was put into its text."""
    values = record.args if isinstance(record.args, tuple) else ()
    return record.msg % tuple(_QUOTED.sub('"..."', each) if isinstance(each, str) else each for each in values)


def _result(task: ImageTask, report: Document) -> ImageResult:
    """Return what the table says of a report, which may be that of somebody else.

    Raises:
        ConfigError: If it is none of ours.
    """
    outcome = Outcome.of_segmentation(printable_document(report))
    structures = tuple({name: to_document(getattr(each, name)) for name in TOLD} for each in outcome.findings)
    return ImageResult(task.name, structures, outcome.notes)
