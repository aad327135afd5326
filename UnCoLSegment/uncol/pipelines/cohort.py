"""A whole folder of images: a result for each, one table, and no image that stops another."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from uncol.core.errors import CancelledError, ConfigError, DataError, OutputError
from uncol.core.files import atomic_write, is_file, resolved
from uncol.core.jobs import Device, DicomChoice, SegmentJob
from uncol.core.locks import output_held
from uncol.core.model_hash import weights_hash
from uncol.core.printable import printable as without_control
from uncol.core.printable import printable_document
from uncol.core.progress import Monitor, Progress
from uncol.data.image_folder import images_in
from uncol.data.io import REPORT_FILE, check_writable
from uncol.formats.paths import printable
from uncol.models.checkpoints import check_usable
from uncol.models.devices import select_device
from uncol.pipelines.cohort_image import ImageResult, ImageTask, segment_image
from uncol.pipelines.context import Context
from uncol.pipelines.results import Document
from uncol.pipelines.side_by_side import Place, Work, dask_cluster, each_result, processes

TABLE_FILE = "cohort.csv"
_LOCK = ".cohort.lock"
_COLUMNS = (
    "image", "structure", "volume_ml", "sure_ml", "possible_ml", "mean_uncertainty", "notes", "error",
)  # fmt: skip
_TABLE_INTERVAL_S = 5.0
_SHOWN = 3
_LOST = (
    "Its process was ended by the system, probably because the memory was full. Segment this image alone, on a "
    "computer with more memory, or crop it."
)


_CALLED_AS_TABLE = (
    f'Its result would lie where the table "{TABLE_FILE}" is written. Rename it and run the same command again.'
)
_EARLIER = "What lies in its folder is the result of an earlier run."
_FORMULA = ("=", "+", "-", "@")
"""How a text begins that spreadsheets compute."""


@dataclass(frozen=True)
class CohortJob:
    """Segment every image of a folder with one model.

    Attributes:
        folder: Images, and sub-folders with one DICOM series each.
        out: Folder for a folder of results for each image, called as the image, and for the table.
        model: Folder of the model.
        device: Where to compute.
        dicom: What to take of DICOM folders.
        as_dicom: Whether results become DICOM, too.
        jobs: How many processes work side by side on this computer.
        dask: Address of a Dask scheduler whose workers do the work instead; they see the same folders.
    """

    folder: Path
    out: Path
    model: Path
    device: Device = "auto"
    dicom: DicomChoice = field(default_factory=DicomChoice)
    as_dicom: bool = False
    jobs: int = 1
    dask: str | None = None

    def __post_init__(self) -> None:
        if self.jobs < 1:
            message = f"--jobs must be 1 or more, got {self.jobs}."
            raise ConfigError(message)
        if self.jobs > 1 and self.dask is not None:
            message = "--jobs counts processes on this computer, --dask uses the workers of a cluster: leave out one."
            raise ConfigError(message)


def run_cohort(job: CohortJob, context: Context) -> Document:
    """Segment all images; those whose result is there, from the same image, model and version, are not done again.

    The table has a row for each structure of each image, or one that says what went wrong. Only this process writes it.

    Returns:
        A JSON object: `out`, `table`, how many `images` there are, how many results were there before (`kept`), which
        images `failed`, and `notes`.

    Raises:
        UncolError: If there is nothing to do, the table cannot be written, or whoever does the work is gone.
    """
    images, others = images_in(job.folder, job.out)
    if not images:
        message = (
            f'"{job.folder}" holds no image: no NIfTI, NRRD or MHA file, and no sub-folder with DICOM files. '
            "A single DICOM series is segmented without --cohort."
        )
        raise DataError(message)
    if job.as_dicom:
        from uncol.formats.dicom_results import check_highdicom

        check_highdicom()
    if job.dask is None:
        select_device(job.device)
    check_usable(job.model)
    check_writable(job.out)
    with output_held(job.out / _LOCK, f'Another program segments a cohort into "{job.out}".'):
        tasks = _tasks(job, images)
        table = _Table(job.out / TABLE_FILE, [each.name for each in tasks])
        kept = _fill(table, job, tasks, context.monitor)
    failed = {each.name: each.error for each in table.results if each.error}
    return {
        "out": str(job.out),
        "table": str(table.path),
        "images": len(images),
        "kept": kept,
        "failed": failed,
        "notes": _says_left_out(others),
    }


def check_failed(document: Document) -> None:
    """Say in one sentence that images of a cohort failed, so that no script takes it for complete.

    Raises:
        DataError: If some did.
    """
    failed, count = document["failed"], document["images"]
    if failed:
        first = f'"{next(iter(failed))}"{" and others" if len(failed) > 1 else ""}'
        message = (
            f"{len(failed)} of {count} images could not be segmented ({first}); "
            f'the table "{document["table"]}" says why. All others are done.'
        )
        raise DataError(message)


def _tasks(job: CohortJob, images: Sequence[Path]) -> list[ImageTask]:
    sha256, out, model = weights_hash(job.model), resolved(job.out), resolved(job.model)

    def task(image: Path, name: str) -> ImageTask:
        wanted = SegmentJob(image.absolute(), out / image.name, model, device=job.device, dicom=job.dicom)
        return ImageTask(name, wanted, sha256, job.as_dicom)

    return [task(image, name) for image, name in zip(images, _called(images), strict=True)]


def _called(images: Sequence[Path]) -> list[str]:
    """Return what the table calls images: as their files, and no two alike although letters of theirs are none."""
    names: dict[str, None] = {}
    for image in images:
        name = text = without_control(printable(image.name), keep="")
        number = 1
        while name in names:
            number += 1
            name = f"{text} ({number})"
        names[name] = None
    return [*names]


def _fill(table: _Table, job: CohortJob, tasks: Sequence[ImageTask], monitor: Monitor) -> int:
    """Do the work, write the table now and then and in the end, and return how many results were there before."""
    monitor = monitor.cancelling_with(
        f'The cohort was cancelled. What is finished is in "{job.out}"; the same command goes on from there.'
    )
    kept, reports = 0, {each.name: each.job.out / REPORT_FILE for each in tasks}
    refused = [each for each in tasks if each.job.out.name.casefold() == TABLE_FILE]
    for each in refused:
        table.add(ImageResult(each.name, error=_CALLED_AS_TABLE))
    possible = [each for each in tasks if each.job.out.name.casefold() != TABLE_FILE]
    try:
        for done, result in enumerate(_results(job, possible, monitor), start=1 + len(refused)):
            has_earlier = bool(result.error) and is_file(reports[result.name])
            table.add(replace(result, notes=(*result.notes, _EARLIER)) if has_earlier else result)
            kept += result.was_there
            monitor.report(Progress("Segmenting the images", done / len(tasks)))
    except CancelledError:
        monitor.check()  # in the words about a cohort
        raise
    finally:
        table.write()
    return kept


def _results(job: CohortJob, tasks: Sequence[ImageTask], monitor: Monitor) -> Iterator[ImageResult]:
    if job.dask is None and job.jobs == 1:
        for task in monitor.checked(sorted(tasks, key=_has_begun)):  # what ended this process last time stops no other
            yield segment_image(task, replace(monitor, report=lambda _: None))
        return
    work = Work(segment_image, _has_begun, lambda task: ImageResult(task.name, error=_LOST))
    with _place_of(job) as place:
        yield from each_result(work, tasks, place, monitor)


def _place_of(job: CohortJob) -> AbstractContextManager[Place]:
    if job.dask is None:
        return processes(job.jobs)
    return dask_cluster(job.dask, wants_gpu=job.device == "cuda")


def _has_begun(task: ImageTask) -> bool:
    """Say whether an image was begun and has no result: its folder is made first, and its report is written last."""
    return task.job.out.exists() and not (task.job.out / REPORT_FILE).exists()


def _says_left_out(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"Left out, no images ({len(names)}): {', '.join(names[:_SHOWN])}{more}."]


class _Table:
    """The table of a cohort, in the order of its images; of those that are not done yet it says nothing."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self._places = path, {name: place for place, name in enumerate(names)}
        self._results: dict[str, ImageResult] = {}
        self._written_s = time.monotonic()

    @property
    def results(self) -> list[ImageResult]:
        """What is known so far, in the order of the images."""
        return sorted(self._results.values(), key=lambda each: self._places[each.name])

    def add(self, result: ImageResult) -> None:
        self._results[result.name] = result
        if time.monotonic() - self._written_s > _TABLE_INTERVAL_S:
            self.write()

    def write(self) -> None:
        try:
            with atomic_write(self.path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(_COLUMNS)
                writer.writerows(map(_as_text, printable_document(row)) for each in self.results for row in _rows(each))
        except OSError as error:
            message = f'"{self.path}" could not be written ({error.strerror or error}). Free some space and try again.'
            raise OutputError(message) from error
        self._written_s = time.monotonic()


def _as_text(cell: object) -> object:
    """Return what a cell shows; a text that would be a formula is quoted as spreadsheets do."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _rows(result: ImageResult) -> Iterator[list[object]]:
    notes = " ".join(result.notes)
    if result.error:
        yield [result.name, *[""] * 5, notes, result.error]
    for each in result.structures:
        sure_ml, possible_ml = each["volume_range_ml"] or ("", "")
        yield [result.name, each["name"], each["volume_ml"], sure_ml, possible_ml, each["mean_uncertainty"], notes, ""]
