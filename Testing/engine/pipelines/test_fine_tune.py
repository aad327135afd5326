"""What a job's own choices make of a configuration, and that no run and no model is another one's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_models import files_of, tree, write_model
from worker_child import Child, ball, file_fields, fine_tune_fields, needs_posix

from uncol.core.config import Config, StudentConfig
from uncol.core.errors import CheckpointError, ConfigError, DataError, OutputError
from uncol.core.jobs import Box, Case, FineTuneJob, SegmentJob, StudentChoice
from uncol.core.progress import UNWATCHED
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.core.volume_files import VolumeFile, read_voxels
from uncol.data.cases import LabeledCase
from uncol.models.checkpoints import has_checkpoint
from uncol.pipelines.context import Context
from uncol.pipelines.fine_tune import fine_tune, run_fine_tune, with_job_choices
from uncol.pipelines.segment import run_segment


def case(unknown_voxels: int) -> LabeledCase:
    labels = np.zeros((2, 3, 4), dtype=np.uint8)
    labels.flat[:unknown_voxels] = UNKNOWN_LABEL
    return LabeledCase(Volume(labels.astype(np.int16), np.eye(4)), Volume(labels, np.eye(4)))


def job(method: str | None = None, student: StudentChoice | None = None) -> FineTuneJob:
    return FineTuneJob((Case(Path("image"), Path("labels")),), Path("out"), method=method, student=student)


@pytest.mark.parametrize(
    ("student", "unknown_voxels", "dims"),
    [
        ("2d", 0, 2),
        ("3d", 5, 3),
        pytest.param("auto", 0, 3, id="auto, annotated as a whole"),
        pytest.param("auto", 5, 2, id="auto, partly annotated"),
    ],
)
def test_the_student_suits_the_annotation(student: StudentChoice, unknown_voxels: int, dims: int):
    chosen = with_job_choices(Config(), job(student=student), [case(0), case(unknown_voxels)])

    assert chosen.student.dims == dims


def test_what_a_job_leaves_out_is_as_configured():
    config = Config(method="bcp", student=StudentConfig(dims=3))

    assert with_job_choices(config, job(), [case(5)]) == config
    assert with_job_choices(config, job(method="ua-mt"), [case(5)]).method == "ua-mt"


@pytest.mark.parametrize("method", ["frozen-teacher", "supervised-all"])
def test_methods_that_make_no_model_are_for_the_benchmark(method: str):
    with pytest.raises(ConfigError) as told:
        with_job_choices(Config(), job(method=method), [case(0)])

    assert str(told.value) == (
        f'Method "{method}" is for `uncol benchmark` only. Choose one of supervised, mean-teacher, ua-mt, bcp, '
        "uncol-without-generalized, uncol-without-specialized, uncol-without-gating, uncol-paper, uncol."
    )


# Two workers on one store, as of two windows of Slicer: no run is carried out twice, no model is replaced.


@needs_posix
@pytest.mark.slow
def test_a_run_is_carried_out_by_one_worker_and_by_the_next_when_that_is_killed(start: Callable[..., Child]) -> None:
    first, second = start(), start()
    first.start_training("ball", preview_s=0.5)
    first.until(lambda _event: has_checkpoint(first.store.folder / "ball"))

    answer = second.ask("fine_tune", **fine_tune_fields(second.new_job(), "ball", steps=5, resume=True))

    assert (answer["event"], answer["kind"]) == ("error", "user")
    assert answer["message"] == '"ball" is being learned by another program. Wait for its end, or cancel it there.'
    assert second.store.unfinished() == []
    assert first.is_alive()

    first.process.kill()
    first.wait()

    [left] = second.store.unfinished()
    assert (left.name, left.steps > 0) == ("ball", True)
    done = second.ask("fine_tune", **fine_tune_fields(second.new_job(), "ball", steps=5, resume=True))
    assert done["event"] == "fine_tune_result", done
    assert second.store.unfinished() == []


@needs_posix
@pytest.mark.slow
def test_a_model_that_came_meanwhile_is_not_replaced_and_the_answer_tells_the_name(start: Callable[..., Child]) -> None:
    worker = start()
    job = worker.new_job()
    number = worker.request("fine_tune", **fine_tune_fields(job, "ball", steps=60))
    worker.until(lambda event: bool(event.get("losses")))
    for name, content in files_of().items():
        (worker.store.folder / "ball" / name).write_bytes(content)

    log = worker.until(lambda event: event["event"] == "log")
    done = worker.end_of(number)

    assert log["message"] == 'A model called "ball" came meanwhile; this one is called "ball-2".'
    assert done["out"] == str(worker.store.folder / "ball-2")
    assert tree(worker.store.folder / "ball") == files_of()
    assert worker.store.names() == ("ball", "ball-2")
    assert set(tree(worker.store.folder / "ball-2")) == set(files_of())
    worker.store.verify("ball-2")


@needs_posix
@pytest.mark.slow
def test_every_case_gets_its_proposal_in_its_own_folder(start: Callable[..., Child]) -> None:
    worker = start()
    job = worker.new_job()
    (job / "case-2").mkdir()
    shift = 4
    for name, volume in zip(("image", "labels"), ball(), strict=True):
        VolumeFile.write(job / "case-2" / f"{name}.npy", volume.with_voxels(np.roll(volume.voxels, shift, axis=2)))
    fields = fine_tune_fields(job, "of-two", steps=10)
    further = {name: file_fields(f"case-2/{name}") for name in ("image", "labels")}

    same = worker.ask("fine_tune", **fields | {"cases": [*fields["cases"], further], "further_proposals": [job]})
    result = worker.ask(
        "fine_tune", **fields | {"cases": [*fields["cases"], further], "further_proposals": [job / "case-2"]}
    )

    assert same["message"].startswith("Two cases have the same folder")
    assert result["event"] == "fine_tune_result", result
    (second,) = result["further_proposals"]
    assert second["segmentation"]["file"] == str(job / "case-2" / "segmentation.npy")
    for found, moved in ((result["proposal"], 0), (second, shift)):
        annotated = np.roll(ball()[1].voxels, moved, axis=2)
        labels, known = read_voxels(Path(found["segmentation"]["file"])), annotated != 255
        assert (labels == annotated)[known].all()
        assert found["report"]["by_both_teachers"] is True
    assert not worker.store.has_unfinished("of-two")


@needs_posix
def test_model_and_result_never_share_a_folder(tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "report.json").write_text("{}", encoding="utf-8")
    write_model(tmp_path / "model")
    cases = (Case(tmp_path / "image", tmp_path / "labels"),)
    before = tree(tmp_path)

    with pytest.raises(CheckpointError, match=r'result" holds what was found in an image\..*; nothing was changed\.$'):
        run_fine_tune(FineTuneJob(cases, tmp_path / "result"), Config(), Context(UNWATCHED, None))
    into_model = FineTuneJob(cases, tmp_path / "new", proposal=tmp_path / "model")
    with pytest.raises(OutputError, match=r'model" holds a model\..*choose another folder for the result; nothing was'):
        run_fine_tune(into_model, Config(), Context(UNWATCHED, None))
    from_box = SegmentJob(tmp_path / "image", tmp_path / "model", boxes=(Box("ball", (0, 0, 0), (1, 1, 1)),))
    with pytest.raises(OutputError, match=r'model" holds a model\.'):
        run_segment(from_box, Context(UNWATCHED, None))
    with pytest.raises(DataError, match="does not exist"):
        run_segment(replace(from_box, out=tmp_path / "new" / "result"), Context(UNWATCHED, None))

    assert tree(tmp_path) == before


def test_a_folder_with_a_link_in_place_of_a_save_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    write_model(tmp_path / "letters")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".complete").symlink_to(tmp_path / "letters")
    missing = tmp_path / "none.nii.gz"

    with pytest.raises(OutputError, match=r"is not of UnCoL\. Look what it is, or choose another folder"):
        fine_tune(FineTuneJob((Case(missing, missing),), tmp_path / "run"), Config(), Context(UNWATCHED, None))

    assert tree(tmp_path / "letters") == files_of()
    assert [each.name for each in (tmp_path / "run").iterdir()] == [".complete"]
