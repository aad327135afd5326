"""A folder of images: a result and a row for each, whatever becomes of the others, and nothing is done twice."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from full_disk import full_disk
from page_faults import glibc_only, numbers_told_by
from pydicom import dcmread
from written_dicom import clinical, save_slices

from uncol.core.config import Config, DataConfig, StudentConfig
from uncol.core.dicom_export import DICOM_FILES
from uncol.core.errors import CancelledError, ConfigError, DataError, OutputError
from uncol.core.jobs import Structure
from uncol.core.locks import held
from uncol.core.model_card import ModelCard
from uncol.core.progress import UNWATCHED, Monitor
from uncol.core.volume import Volume
from uncol.data.io import write_results
from uncol.models.build import build_student
from uncol.models.card import Model
from uncol.models.checkpoints import save_model
from uncol.pipelines.cohort import CohortJob, check_failed, run_cohort
from uncol.pipelines.context import Context

CONFIG = Config(student=StudentConfig(channels=(2, 2, 2, 2, 2)), data=DataConfig(neighbor_count=3))
CARD = ModelCard((Structure(7, "spleen"),), "axial", 1.0, 3.0, (-160.0, 240.0), CONFIG, {"steps": 12}, (False,))
DOCS = Path(__file__).parents[3] / "docs"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(DOCS.parent / "UnCoLSegment"), "OMP_NUM_THREADS": "1"}
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="has no such names")
HEADER = ["image", "structure", "volume_ml", "sure_ml", "possible_ml", "mean_uncertainty", "notes", "error"]


def an_image(seed: int) -> Volume:
    voxels = np.random.default_rng(seed).integers(-1000, 400, (2, 32, 32)).astype(np.int16)
    return Volume(voxels, np.diag([-1.0, -1.0, 3.0, 1.0]))


def write_trained(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    save_model(Model(CARD, build_student(CARD)), folder)
    return folder


@pytest.fixture
def job(tmp_path: Path) -> CohortJob:
    """Two images and a DICOM series, two that cannot be used, what is none, and a model."""
    folder = tmp_path / "images"
    write_results(
        folder, {"b.nii.gz": an_image(1), "a.nrrd": an_image(2)}, {"broken.mha": "no image", "notes.txt": "x"}
    )
    save_slices(folder / "ct", an_image(3).voxels.astype(float), edit=lambda _n, header: clinical(header))
    for series in ("1", "2"):
        save_slices(folder / "two", an_image(4).voxels.astype(float), series=series)
    (folder / "empty").mkdir()
    return CohortJob(folder, folder / "results", write_trained(tmp_path / "model"), device="cpu")


def run(job: CohortJob, monitor: Monitor = UNWATCHED) -> dict[str, Any]:
    return run_cohort(job, Context(monitor, None))


def table_of(job: CohortJob) -> list[list[str]]:
    with (job.out / "cohort.csv").open(encoding="utf-8", newline="") as file:
        return [*csv.reader(file)]


def reports(job: CohortJob) -> dict[str, tuple[bytes, int]]:
    return {path.parent.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in job.out.glob("*/report.json")}


def test_every_image_has_a_result_and_a_row_and_a_bad_file_stops_no_other(job: CohortJob) -> None:
    told = run(job)

    header, *rows = table_of(job)
    assert header == HEADER
    assert [row[0] for row in rows] == ["a.nrrd", "b.nii.gz", "broken.mha", "ct", "two"]
    report = json.loads((job.out / "ct" / "report.json").read_text(encoding="utf-8"))
    structure = report["structures"][0]
    numbers = (structure["volume_ml"], *structure["volume_range_ml"], structure["mean_uncertainty"])
    assert rows[3][1:6] == ["spleen", *map(str, numbers)]
    assert numbers[1] <= numbers[0] <= numbers[2]
    assert rows[3][6] == " ".join(report["notes"])
    assert 'Image "broken.mha" cannot be read' in rows[2][7]
    assert rows[2][1:6] == [""] * 5
    assert "holds 2 DICOM series: 1 (" in rows[4][7]
    assert told["images"] == 5
    assert told["kept"] == 0
    assert list(told["failed"]) == ["broken.mha", "two"]
    assert told["notes"] == ["Left out, no images (2): empty, notes.txt."]
    with pytest.raises(DataError, match=r'2 of 5 images could not be segmented \("broken.mha" and others\); the table'):
        check_failed(told)


def test_what_is_finished_is_kept_and_what_changed_is_done_again(job: CohortJob) -> None:
    run(job)
    table, before = table_of(job), reports(job)

    assert run(job)["kept"] == 3
    assert (table_of(job), reports(job)) == (table, before)

    write_results(job.folder, {"a.nrrd": an_image(9)}, {})
    (job.out / "b.nii.gz" / "uncertainty.nii.gz").write_bytes(b"half")
    assert run(job)["kept"] == 1
    after = reports(job)
    assert [name for name in before if before[name] == after[name]] == ["ct"]

    other = replace(job, model=write_trained(job.model.parent / "other", seed=1))
    assert run(other)["kept"] == 0
    assert run(other)["kept"] == 3
    assert run(replace(other, as_dicom=True))["kept"] == 0  # none has DICOM, and two cannot have any
    assert (job.out / "ct" / "segmentation.dcm").is_file()


def test_images_that_belong_to_somebody_else_now_are_done_again(job: CohortJob) -> None:
    series = job.folder / "ct"
    with_dicom = replace(job, as_dicom=True)
    run(with_dicom)
    assert run(with_dicom)["kept"] == 1

    for path in series.iterdir():
        header = dcmread(path)
        header.PatientID = "another"
        header.save_as(path)

    assert run(with_dicom)["kept"] == 0
    for name in DICOM_FILES:
        assert dcmread(job.out / "ct" / name).PatientID == "another"
    assert run(with_dicom)["kept"] == 1


def test_a_renamed_structure_and_a_report_that_names_no_files_are_no_result(job: CohortJob) -> None:
    run(job)
    path = job.out / "a.nrrd" / "report.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "files": {}}), encoding="utf-8")
    assert run(job)["kept"] == 2

    torch.manual_seed(0)
    renamed = replace(CARD, structures=(Structure(7, "liver"),))
    save_model(Model(renamed, build_student(renamed)), job.model)
    assert run(job)["kept"] == 0
    assert {row[1] for row in table_of(job)[1:] if not row[7]} == {"liver"}


def test_nothing_is_written_or_believed_through_a_link_in_place_of_a_result(job: CohortJob, tmp_path: Path) -> None:
    run(job)
    (job.out / "b.nii.gz").rename(tmp_path / "of-others")
    (job.out / "b.nii.gz").symlink_to(tmp_path / "of-others")
    before = {each.name: each.stat().st_mtime_ns for each in (tmp_path / "of-others").iterdir()}

    told = run(job)

    assert 'b.nii.gz": it is a link' in told["failed"]["b.nii.gz"]
    assert told["kept"] == 2
    assert {each.name: each.stat().st_mtime_ns for each in (tmp_path / "of-others").iterdir()} == before


def test_warnings_about_an_image_stand_among_its_notes(job: CohortJob) -> None:
    voxels = an_image(5).voxels.astype(np.float32)
    voxels[0, 0, 0] = np.nan
    write_results(job.folder, {"c.nrrd": an_image(5).with_voxels(voxels)}, {})

    run(job)

    (row,) = (row for row in table_of(job) if row[0] == "c.nrrd")
    assert "The image is not a finite number in 1 of 2048 voxels" in row[6]


def test_no_name_of_a_file_stands_in_what_is_written_about_an_image(job: CohortJob) -> None:
    (job.folder / "ct" / 'Smith "the first".txt').write_text("x")
    (job.folder / "ct" / "Smith-2.txt").write_text("x")

    run(job)

    (notes,) = {row[6] for row in table_of(job) if row[0] == "ct"}
    assert notes.startswith('Left out of Image "...", no DICOM images (2): "...".')
    written = {path.name: path.read_bytes() for path in [*(job.out / "ct").iterdir(), job.out / "cohort.csv"]}
    assert [name for name, content in written.items() if b"Smith" in content] == []


def test_the_report_of_a_stranger_is_no_result_and_stops_no_image(job: CohortJob) -> None:
    run(job)
    path = job.out / "ct" / "report.json"
    good = json.loads(path.read_text())
    wide = [{**good["structures"][0], "volume_range_ml": [1, 2, 3]}]

    for change in ({"structures": wide}, {"structures": {}}, {"notes": [{}]}, {"notes": "x"}, {"files": None}):
        path.write_text(json.dumps({**good, **change}))
        told = run(job)

        assert (told["kept"], list(told["failed"])) == (2, ["broken.mha", "two"])
        assert json.loads(path.read_text())["structures"] == good["structures"]


def test_a_result_of_before_is_told_beside_the_error_of_an_image_that_turned_bad(job: CohortJob) -> None:
    run(job)
    (job.folder / "a.nrrd").write_text("no image")

    assert list(run(job)["failed"]) == ["a.nrrd", "broken.mha", "two"]
    notes = {row[0]: row[6] for row in table_of(job)[1:] if row[7]}
    assert notes == {"a.nrrd": "What lies in its folder is the result of an earlier run.", "broken.mha": "", "two": ""}


@needs_posix
def test_whatever_images_are_called_each_has_a_row_of_its_own(job: CohortJob) -> None:
    for name in ("a\udcfe.nrrd", "a\udcff.nrrd", "b\x01.nrrd", "b\x02.nrrd", "=1+1.nrrd", "@x.nrrd"):
        (job.folder / name).write_text("no image")
    (job.folder / "ct").rename(job.folder / "cohort.CSV")

    told = run(job)

    rows = {row[0]: row[7] for row in table_of(job)[1:]}
    assert told["images"] == len(rows) == 11
    assert {name for name, error in rows.items() if not error} == {"a.nrrd", "b.nii.gz"}
    assert {"a?.nrrd", "a?.nrrd (2)", "b .nrrd", "b .nrrd (2)", "'=1+1.nrrd", "'@x.nrrd"} < {*rows}
    assert rows["cohort.CSV"].startswith('Its result would lie where the table "cohort.csv" is written. Rename it')
    assert len(told["failed"]) == 9


def test_words_of_a_stranger_reach_the_table_without_control_characters(job: CohortJob) -> None:
    run(job)
    path = job.out / "ct" / "report.json"
    report = json.loads(path.read_text())
    report["notes"] = ["A\nnote\x1b[2J"]
    path.write_text(json.dumps(report))

    assert run(job)["kept"] == 3
    (row,) = [row for row in table_of(job) if row[0] == "ct"]
    assert (row[1], row[6]) == ("spleen", "A note [2J")


def test_a_cancelled_cohort_keeps_what_is_finished_and_goes_on_to_the_same_table(job: CohortJob) -> None:
    whole = replace(job, out=job.folder.parent / "whole")
    run(whole)
    monitor = Monitor(should_stop=lambda: len(reports(job)) == 2)

    with pytest.raises(CancelledError, match=r"The cohort was cancelled\. What is finished is in .* goes on"):
        run(job, monitor)

    assert len(table_of(job)) == 3
    assert run(job)["kept"] == 2
    assert table_of(job) == table_of(whole)


def test_what_was_begun_and_not_ended_comes_last(job: CohortJob) -> None:
    (job.out / "a.nrrd").mkdir(parents=True)
    heard: list[str] = []
    monitor = Monitor(lambda _: heard.append(",".join(sorted(reports(job)))))

    run(job, monitor)

    assert heard[-2:] == ["b.nii.gz,ct", "a.nrrd,b.nii.gz,ct"]


def commands_in(page: str, heading: str) -> list[list[str]]:
    """The words of each command in the blocks below a heading of a page in docs."""
    text = (DOCS / page).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = text.split("\n```\n")[1::2]
    return [line.split() for block in blocks for line in block.splitlines()]


@pytest.fixture
def as_in_docs(job: CohortJob) -> CohortJob:
    """The folders of the pages, with a table of what one process finds."""
    folder = job.folder.parent
    job.model.rename(folder / "liver-model")
    shutil.rmtree(job.folder / "two")
    done = replace(job, model=folder / "liver-model", out=folder / "done")
    run(done)
    return replace(done, out=folder / "results")


WITHOUT_LOCKS = """
import errno, fcntl

def flock(*_):
    raise OSError(errno.ENOTSUP, "Operation not supported")

fcntl.flock = flock
"""
"""What each of the processes runs first, to be as on some Lustre and NFS."""


def test_the_command_of_the_users_page_makes_the_same_table_in_two_processes_without_locks_too(
    as_in_docs: CohortJob, run_uncol: Callable[..., Any], tmp_path: Path
) -> None:
    (command,) = commands_in("user.md", "A whole folder")
    folder, begins = as_in_docs.folder.parent, tmp_path / "begins"
    if sys.platform != "win32":
        write_results(begins, {}, {"sitecustomize.py": WITHOUT_LOCKS})
    paths = os.pathsep.join((str(begins), ENVIRONMENT["PYTHONPATH"]))

    ended = run_uncol(*command[1:], "--device", "cpu", cwd=folder, PYTHONPATH=paths)

    assert ended.returncode == 2
    assert '1 of 4 images could not be segmented ("broken.mha"); the table' in ended.stderr
    assert "Traceback" not in ended.stderr
    assert table_of(as_in_docs) == table_of(replace(as_in_docs, out=folder / "done"))


def test_the_commands_of_the_page_about_clusters_make_the_same_table_on_two_workers(
    as_in_docs: CohortJob, run_uncol: Callable[..., Any]
) -> None:
    scheduler, worker, command, *_ = commands_in("cluster.md", "Workstations")
    folder = as_in_docs.folder.parent
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def here(words: list[str]) -> list[str]:
        return [word.replace("scheduler:8786", f"127.0.0.1:{port}").replace("8786", port) for word in words[1:]]

    log = folder / "log"
    with log.open("wb") as said:
        running = [
            subprocess.Popen([sys.executable, "-m", "dask", *here(words)], cwd=folder, env=ENVIRONMENT, stderr=said)
            for words in (scheduler, worker)
        ]
        ends_s = time.monotonic() + 120
        try:
            while log.read_bytes().count(b"Register worker") < 2:
                assert time.monotonic() < ends_s, log.read_text(encoding="utf-8")
                time.sleep(0.1)
            ended = run_uncol(*here(command), cwd=folder)
        finally:
            for process in running[::-1]:
                process.terminate()
                process.wait()

    assert ended.returncode == 2, ended.stderr
    assert table_of(as_in_docs) == table_of(replace(as_in_docs, out=folder / "done"))


def test_a_full_disk_is_told_for_each_image_that_it_stops(job: CohortJob) -> None:
    for name in ("b.nii.gz", "broken.mha"):
        (job.folder / name).unlink()
    shutil.rmtree(job.folder / "two")
    with full_disk():
        told = run(job)

    assert list(told["failed"]) == ["a.nrrd", "ct"]
    assert all("Free some space or choose another folder" in row[7] for row in table_of(job)[1:])


def test_a_table_that_cannot_be_written_is_one_sentence(job: CohortJob) -> None:
    (job.out / "cohort.csv").mkdir(parents=True)

    with pytest.raises(OutputError, match=r'cohort.csv" could not be written'):
        run(job)


def test_one_program_at_a_time_writes_to_a_folder(job: CohortJob) -> None:
    job.out.mkdir()

    with held(job.out / ".cohort.lock"), pytest.raises(OutputError, match="Another program segments a cohort into"):
        run(job)

    (job.out / ".cohort.lock").mkdir()
    with pytest.raises(OutputError, match=r"could not be made .*Remove what is there, or choose another --out"):
        run(job)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"jobs": 0}, "--jobs must be 1 or more, got 0"), ({"jobs": 2, "dask": "tcp://x:1"}, "leave out one")],
)
def test_numbers_that_make_no_sense_are_refused(job: CohortJob, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        replace(job, **change)


def test_a_folder_without_images_is_refused(job: CohortJob) -> None:
    with pytest.raises(DataError, match="holds no image: no NIfTI, NRRD or MHA file, and no sub-folder"):
        run(replace(job, folder=job.folder / "empty"))


@pytest.mark.soak
def test_a_cohort_of_200_images_killed_at_ten_random_points_ends_with_the_same_table(
    job: CohortJob, run_uncol: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "many"
    write_results(folder, {f"{number:03}.nrrd": an_image(number) for number in range(200)}, {"bad.nii.gz": "x"})
    whole = replace(job, folder=folder, out=tmp_path / "whole")
    run(whole)
    killed = replace(whole, out=tmp_path / "killed")
    command = [sys.executable, "-m", "uncol", "segment", str(folder), "--cohort", "--jobs", "2", "--device", "cpu"]
    draw, finished = np.random.default_rng(0), 0
    for _ in range(10):
        finished += int(draw.integers(1, 19))
        process = subprocess.Popen([*command, "--model", str(job.model), "--out", str(killed.out)])
        while len([*killed.out.glob("*/report.json")]) < finished and process.poll() is None:
            time.sleep(0.05)
        time.sleep(float(draw.uniform(0, 0.5)))
        assert process.poll() is None, "it ended before it was killed"
        process.kill()
        process.wait()

    assert run(killed)["kept"] >= finished
    assert table_of(killed) == table_of(whole)


KEEPS = """
from pathlib import Path
from uncol.core.jobs import SegmentJob
from uncol.pipelines.cohort_image import ImageTask, segment_image

as_it_is = faults_of_ten()
segment_image(ImageTask("image", SegmentJob(Path("image"), Path("out"), Path("model")), ""))
faults_of_ten()
print(as_it_is, faults_of_ten())
"""


@glibc_only
def test_whatever_process_segments_an_image_keeps_freed_memory_for_the_next_one() -> None:
    as_it_is, kept = numbers_told_by(KEEPS)

    assert kept < as_it_is / 100
