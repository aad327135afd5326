"""What a worker does for each job: it segments and fine-tunes, in its own folders only."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from worker_child import (
    PROMPT_S,
    SHAPE,
    Child,
    ball,
    box_fields,
    export_fields,
    file_fields,
    fine_tune_fields,
    needs_posix,
)

from uncol.core.jobs import Structure
from uncol.core.records import from_document
from uncol.core.round_scores import ComparedSlices
from uncol.core.slice_suggestion import score_slices
from uncol.core.volume import Volume
from uncol.core.volume_files import VolumeFile, read_voxels

pytestmark = needs_posix

RESULTS = ("segmentation", "uncertainty")


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def read(document: dict[str, Any]) -> Volume:
    return from_document(VolumeFile, document, "Volume").read()


@pytest.fixture(scope="module")
def model(shared: Child) -> str:
    """A model that was trained for a moment."""
    job = shared.new_job()
    result = shared.ask("fine_tune", **fine_tune_fields(job, "ball", steps=30))
    assert result["event"] == "fine_tune_result", result
    return "ball"


class TestSegment:
    def test_a_box_gives_labels_and_uncertainty_on_exactly_the_grid(self, shared: Child) -> None:
        job = shared.new_job()

        result = shared.ask("segment", **box_fields(job))

        assert result["event"] == "segment_result", result
        assert [result[name]["file"] for name in ("segmentation", "uncertainty")] == [
            str(job / "segmentation.npy"),
            str(job / "uncertainty.npy"),
        ]
        image, _ = ball()
        labels, doubt = read(result["segmentation"]), read(result["uncertainty"])
        for volume, dtype in ((labels, np.uint8), (doubt, np.float32)):
            assert volume.voxels.dtype == dtype
            assert np.array_equal(volume.ijk_to_ras, image.ijk_to_ras)
        assert dice(labels.voxels[4:7] == 1, image.voxels[4:7] > 70) > 0.8
        assert doubt.voxels.min() >= 0 < doubt.voxels.max() <= 1
        assert result["report"]["structures"][0]["name"] == "ball"
        assert result["report"]["intended_use"] == "Research use only. Not a medical device."

    def test_annotated_slices_stay_as_they_are(self, shared: Child) -> None:
        job = shared.new_job()

        files = {"image": file_fields("image"), "labels": file_fields("labels")}
        structures = [{"value": 1, "name": "b"}]
        result = shared.ask("segment", out=job, **files, structures=structures, maps=["teacher-disagreement"])

        annotated = ball()[1].voxels
        found = read_voxels(job / "segmentation.npy")
        assert (found == annotated)[annotated != 255].all()
        spread = read(result["maps"]["teacher-disagreement"])
        assert spread.shares_grid_with(ball()[0])
        assert 0 == spread.voxels[annotated != 255].max() < spread.voxels.max() <= 1

    def test_annotated_slices_give_a_whole_preview_before_the_foundation_model_is_asked(self, shared: Child) -> None:
        job = shared.new_job()
        files = {"image": file_fields("image"), "labels": file_fields("labels")}

        number = shared.request("segment", out=job, **files, structures=[{"value": 1, "name": "b"}])
        preview = shared.until(lambda event: event["event"] == "preview" and event["uncertainty"] is not None)
        next_phase = shared.until(lambda event: event["event"] == "progress")
        labels, doubt = read(preview["segmentation"]), read(preview["uncertainty"])
        result = shared.end_of(number)

        image, annotated = ball()
        assert preview["id"] == number
        assert next_phase["phase"] == "Propagating annotated slices"
        assert (labels.voxels.dtype, doubt.voxels.dtype) == (np.uint8, np.float32)
        assert labels.shares_grid_with(image)
        assert dice(labels.voxels == 1, image.voxels > 70) > 0.8
        assert (labels.voxels == annotated.voxels)[annotated.voxels != 255].all()
        assert not doubt.voxels[annotated.voxels != 255].any()
        assert result["event"] == "segment_result", result
        assert set(result["report"]["sources"]["b"]) == {"registration", "foundation model"}

    @pytest.mark.parametrize("by", ["name", "path"])
    def test_a_model_segments_by_its_name_or_its_folder(self, shared: Child, model: str, by: str) -> None:
        job = shared.new_job()

        chosen = model if by == "name" else shared.store.path_of(model)
        result = shared.ask("segment", out=job.name, image=file_fields("image"), model=chosen)

        assert result["event"] == "segment_result", result
        assert result["report"]["model"] == model
        assert read_voxels(job / "segmentation.npy").shape == SHAPE

    def test_files_of_other_programs_whose_headers_may_name_further_files_are_not_read(self, shared: Child) -> None:
        job = shared.new_job()
        secret = job.parent / "secret.raw"
        secret.write_bytes(bytes(8))
        header = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: {secret}\n"
        (job / "image.nhdr").write_text(header)

        by_path = shared.ask("segment", out=job, image="image.nhdr", model="m")
        volume = file_fields("image") | {"file": "image.nhdr"}
        as_volume = shared.ask("segment", **(box_fields(job) | {"image": volume}))

        assert by_path["message"].startswith('"image" must be a volume with "file" and "ijk_to_ras", got a path.')
        assert as_volume["message"].startswith('"image.nhdr" is damaged')
        assert (by_path["kind"], as_volume["kind"]) == ("user", "user")

    @pytest.mark.parametrize(
        ("field", "value", "sentence"),
        [
            ("out", "a" * 300, '"out" cannot be looked up (File name too long). Give it a shorter name.'),
            ("out", "\ud800", 'Request "segment", field "out": a text is needed, got "\\ud800".'),
            ("image", {"file": "a" * 300}, '"image" cannot be looked up (File name too long).'),
            ("image", {"file": "Gr\udcf6\udcdfe.npy"}, "a text is needed, got"),
            ("model", "a" * 300, '"model" must be a model in'),
            ("model", "x/" + "a" * 300, '"model" must be a model in'),
        ],
    )
    def test_names_that_no_system_takes_are_one_sentence(
        self, shared: Child, field: str, value: Any, sentence: str
    ) -> None:
        fields: dict[str, Any] = {"out": str(shared.new_job()), "image": file_fields("image"), "model": "m"}
        fields[field] = fields[field] | value if isinstance(value, dict) else value

        answer = shared.ask("segment", **fields)

        assert (answer["event"], answer["kind"]) == ("error", "user")
        assert sentence in answer["message"]

    def test_inputs_that_cannot_be_used_are_one_sentence(self, shared: Child) -> None:
        job = shared.new_job()
        image, _ = ball()
        VolumeFile.write(job / "flat.npy", image.with_voxels(np.zeros(SHAPE, np.int16)))
        (job / "broken.npy").write_bytes((job / "image.npy").read_bytes()[:500])

        flat = shared.ask("segment", **(box_fields(job) | {"image": file_fields("flat")}))
        broken = shared.ask("segment", **(box_fields(job) | {"image": file_fields("broken")}))
        unknown = shared.ask("segment", out=job, image=file_fields("image"), model="nobody")

        assert (flat["kind"], broken["kind"], unknown["kind"]) == ("user", "user", "user")
        assert 'Image "flat.npy" is constant' in flat["message"]
        assert '"broken.npy" is damaged' in broken["message"]
        assert 'There is no model "nobody"' in unknown["message"]

    @pytest.mark.slow
    def test_a_full_disk_is_one_sentence_and_the_worker_lives(
        self, start: Callable[..., Child], tmp_path: Path
    ) -> None:
        import resource  # Windows has none

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

        child = start(preexec_fn=limit, cache=tmp_path / "empty-cache")
        job = child.new_job()
        number = child.request("segment", **box_fields(job))

        log = child.until(lambda event: event["event"] == "log")
        end = child.end_of(number)

        assert (log["id"], log["level"]) == (number, "warning")
        assert "Embeddings are no longer kept on disk" in log["message"]
        assert (end["event"], end["kind"]) == ("error", "user")
        assert "uncertainty.npy" in end["message"]
        assert "Free some space" in end["message"]
        assert child.is_alive()

    def test_the_result_says_how_unsure_each_slice_is(self, shared: Child) -> None:
        job = shared.new_job()

        slices = shared.ask("segment", **box_fields(job))["slices"]

        assert set(slices) == {"I", "J", "K"}
        labels, doubt = (Volume(read_voxels(job / f"{name}.npy"), ball()[0].ijk_to_ras) for name in RESULTS)
        expected = score_slices(labels, doubt, (Structure(1, "ball"),), "K")
        assert [each["index"] for each in slices["K"]] == [each.index for each in expected]
        assert [each["score"] for each in slices["K"]] == [each.score for each in expected]
        assert {*slices["K"][0]} == {"index", "score", "unsure"}

    def test_the_result_says_what_the_report_says_and_where_to_look(self, shared: Child) -> None:
        job = shared.new_job()

        result = shared.ask("segment", **box_fields(job))

        findings, report = result["findings"], result["report"]
        assert findings == {name: report[name] for name in ("structures", "places", "next_slices", "unsure_from")}
        assert findings["structures"][0]["why_no_promise"].startswith("What Dice to expect is not known here")
        assert findings["next_slices"]["slices"][0]["gain"] is None
        numbers = read(result["places"])
        assert numbers.voxels.dtype == np.uint8
        assert set(np.unique(numbers.voxels)) - {0} == {each["number"] for each in findings["places"]}


class TestScore:
    def test_a_proposal_is_scored_on_annotated_slices(self, shared: Child) -> None:
        job = shared.new_job()
        reference = Volume(np.array([[[1, 1, 1, 1], [0, 0, 0, 255]]], np.uint8), np.diag([9.0, 9, 1, 1]))
        VolumeFile.write(job / "reference.npy", reference)
        VolumeFile.write(job / "prediction.npy", reference.with_voxels(np.array([[[0, 1, 1, 1], [0, 0, 0, 1]]], "u1")))
        VolumeFile.write(job / "uncertainty.npy", reference.with_voxels(np.full((1, 2, 4), 0.5, np.float32)))
        matrix = reference.ijk_to_ras.tolist()
        stack = {name: {"file": f"{name}.npy", "ijk_to_ras": matrix} for name in ComparedSlices._fields}
        structures = [{"value": 1, "name": "ball"}]

        found = shared.ask("score", out=job.name, stacks=[stack], structures=structures)
        without_map = shared.ask("score", out=job.name, stacks=[stack | {"uncertainty": None}], structures=structures)

        # 2 * 3 / (4 + 3); the map is as unsure of right voxels as of wrong ones
        assert (found["event"], found["dice"], found["error_auroc"]) == ("score_result", {"ball": 0.8571}, 0.5)
        assert (without_map["dice"], without_map["error_auroc"]) == ({"ball": 0.8571}, None)

    def test_its_files_lie_inside_the_job(self, shared: Child) -> None:
        job = shared.new_job()
        VolumeFile.write(job.parent / "image.npy", ball()[0])
        inside, outside = file_fields("labels"), file_fields("image") | {"file": "../image.npy"}
        for field in ("reference", "prediction", "uncertainty"):
            stack = {"reference": inside, "prediction": inside, "uncertainty": inside} | {field: outside}

            answer = shared.ask("score", out=job, stacks=[stack], structures=[])

            assert answer["message"].startswith(f'"{field}" must lie inside the folder'), answer


class TestPlaces:
    @pytest.mark.parametrize("job", ["/", ".", "..", "../..", "run/../..", "/etc"])
    def test_a_job_lies_inside_the_job_folder(self, shared: Child, job: str) -> None:
        answer = shared.ask("segment", out=job, image=file_fields("image"), model="m")

        assert answer["kind"] == "user"
        assert re.match(r'"out" must lie inside the folder ".*uncol-worker-', answer["message"])

    def test_a_job_that_was_not_made_is_told(self, shared: Child) -> None:
        assert '"out" is not there' in shared.ask("segment", out="nowhere", image="i", model="m")["message"]

    def test_a_fine_tuning_needs_a_job(self, shared: Child) -> None:
        fields = fine_tune_fields(shared.new_job(), "m")
        del fields["proposal"]

        assert shared.ask("fine_tune", **fields)["message"] == 'Request "fine_tune" lacks the field "proposal".'

    @pytest.mark.parametrize("image", ["../image.npy", "/etc/hosts", "link.npy", "linked/image.npy"])
    def test_an_image_lies_inside_its_job(self, shared: Child, tmp_path: Path, image: str) -> None:
        job = shared.new_job()
        VolumeFile.write(job.parent / "image.npy", ball()[0])
        VolumeFile.write(tmp_path / "image.npy", ball()[0])
        (job / "link.npy").symlink_to(tmp_path / "image.npy")
        (job / "linked").symlink_to(tmp_path)
        outside = file_fields("image") | {"file": image}
        tuning = fine_tune_fields(job, "m")
        inside = tuning["cases"][0]

        answers = {
            "image": shared.ask("segment", **(box_fields(job) | {"image": outside})),
            "labels": shared.ask("fine_tune", **(tuning | {"cases": [inside | {"labels": outside}]})),
            "unlabeled": shared.ask("fine_tune", **tuning, unlabeled=[outside]),
        }

        for field, answer in answers.items():
            assert answer["message"].startswith(f'"{field}" must lie inside the folder')

    @pytest.mark.parametrize("out", ["../elsewhere", "/etc/model", "a/b", "Name", ".hidden", ".."])
    def test_a_model_is_written_into_the_store_only(self, shared: Child, out: str) -> None:
        answer = shared.ask("fine_tune", **fine_tune_fields(shared.new_job(), out, steps=2))

        assert (answer["event"], answer["kind"]) == ("error", "user")
        assert re.search(r'"out" must be a model in|is no name for a model', answer["message"])
        assert not (shared.home / "elsewhere").exists()

    def test_a_model_outside_the_store_is_not_opened(self, shared: Child, tmp_path: Path) -> None:
        answer = shared.ask("segment", out=shared.new_job(), image=file_fields("image"), model=tmp_path / "model")

        assert answer["message"].startswith('"model" must be a model in')

    def test_a_failed_run_leaves_no_empty_model_folder(self, shared: Child) -> None:
        job = shared.new_job()
        VolumeFile.write(job / "labels.npy", ball()[0].with_voxels(np.zeros(SHAPE, np.uint8)))

        answer = shared.ask("fine_tune", **fine_tune_fields(job, "nothing", steps=2))

        assert "background only" in answer["message"]
        assert not (shared.store.folder / "nothing").exists()


class TestFineTune:
    def test_the_result_tells_how_the_training_went(self, shared: Child, model: str) -> None:
        result = shared.store.show(model)

        assert result["training"]["steps"] == 30
        assert result["structures"] == [{"value": 1, "name": "ball"}]
        shared.store.verify(model)

    def test_what_is_proposed_for_the_image_lies_beside_it(self, shared: Child) -> None:
        job = shared.new_job()

        result = shared.ask("fine_tune", **fine_tune_fields(job, "proposing", steps=10))

        image, annotated = ball()
        labels, doubt = (read(result["proposal"][name]) for name in ("segmentation", "uncertainty"))
        assert labels.shares_grid_with(image)
        assert doubt.shares_grid_with(image)
        known = annotated.voxels != 255
        assert (labels.voxels == annotated.voxels)[known].all()
        assert result["proposal"]["report"]["by_both_teachers"] is True
        assert set(result["proposal"]["report"]["sources"]["ball"]) == {"registration", "foundation model", "student"}
        assert [each["name"] for each in result["proposal"]["report"]["structures"]] == ["ball"]
        (found,) = result["proposal"]["findings"]["structures"]
        assert found["predicted_dice"] is None or 0 <= found["predicted_dice"][0] <= 1
        assert bool(found["why_no_promise"]) == (found["predicted_dice"] is None)
        assert result["proposal"]["findings"]["next_slices"]["axis"] == "K"

    def test_progress_holds_steps_losses_and_time_left(self, shared: Child) -> None:
        number = shared.start_training("progress")
        event = shared.until(lambda event: event["event"] == "progress" and (event["step"] or 0) > 20)
        shared.request("cancel", target=number)
        shared.end_of(number)

        assert event["losses"]["supervised"] > 0
        assert event["seconds_left"] > 0
        assert 0 <= event["fraction"] <= 1
        assert event["phase"] == "Learning from annotated slices"

    def test_a_second_job_is_refused_and_the_first_goes_on(self, shared: Child) -> None:
        number = shared.start_training("first")

        second = shared.ask("segment", **box_fields(shared.new_job()))
        goes_on = shared.until(lambda event: event["id"] == number)
        shared.request("cancel", target=number)

        assert (second["event"], second["kind"]) == ("error", "user")
        assert second["message"] == f"The engine is busy with request {number}. Wait for its end, or cancel it."
        assert goes_on["event"] == "progress"
        assert shared.end_of(number)["event"] == "cancelled"

    def test_a_cancelled_training_ends_at_once_and_can_be_resumed(self, shared: Child) -> None:
        job = shared.new_job()
        number = shared.start_training("resumed", job)
        asked = time.monotonic()
        cancel = shared.request("cancel", target=number)

        assert shared.end_of(cancel) == {"id": cancel, "event": "cancel_result", "found": True}
        end = shared.end_of(number)
        ended = time.monotonic()

        assert end["event"] == "cancelled"
        assert end["resumable"] is True
        assert end["message"] == "Fine-tuning was cancelled; it can be resumed."
        assert ended - asked < PROMPT_S
        assert shared.store.has_unfinished("resumed")

        again = shared.ask("fine_tune", **fine_tune_fields(job, "resumed", steps=20))
        assert "holds an unfinished run" in again["message"]
        done = shared.ask("fine_tune", **fine_tune_fields(job, "resumed", steps=20, resume=True))
        assert done["event"] == "fine_tune_result", done
        assert done["out"] == str(shared.store.path_of("resumed"))
        assert done["training"]["steps"] >= 20
        assert {"curve", "notes", "specialized_reliability", "generalized_reliability"} <= done["training"].keys()
        assert shared.store.has("resumed")

    def test_a_training_that_is_resumed_with_other_labels_is_refused(self, shared: Child) -> None:
        number = shared.start_training("other-labels")
        shared.request("cancel", target=number)
        shared.end_of(number)
        job = shared.new_job()
        others = ball()[1].with_voxels(np.where(ball()[1].voxels == 1, 2, 0).astype(np.uint8))
        VolumeFile.write(job / "labels.npy", others)

        fields = fine_tune_fields(job, "other-labels", steps=2, resume=True)
        answer = shared.ask("fine_tune", **(fields | {"structures": []}))

        assert answer["kind"] == "user"
        assert "belongs to other images, annotated slices or structures" in answer["message"]

    def test_a_model_is_never_overwritten(self, shared: Child, model: str) -> None:
        answer = shared.ask("fine_tune", **fine_tune_fields(shared.new_job(), model, steps=2))

        assert "already holds a model" in answer["message"]
        shared.store.verify(model)

    def test_previews_come_while_it_learns(self, shared: Child) -> None:
        job = shared.new_job()
        # a quarter of this time is enough for a look on a busy machine
        number = shared.start_training("previewed", job, preview_s=4.0)

        first = shared.until(lambda event: event["event"] == "preview")
        labels = read(first["segmentation"])
        second = shared.until(lambda event: event["event"] == "preview")
        shared.request("cancel", target=number)

        assert first["id"] == number
        assert labels.voxels.dtype == np.uint8
        assert labels.shares_grid_with(ball()[0])
        assert second["segmentation"] != first["segmentation"]
        assert shared.end_of(number)["resumable"] is True


class TestExport:
    def test_both_files_come_into_the_job_folder_and_nothing_is_written_to_the_series(self, shared: Child) -> None:
        fields = export_fields(job := shared.new_job())
        before = {path: Path(path).read_bytes() for path in fields["images"]}

        result = shared.ask("export_dicom", **fields)

        assert result["event"] == "export_dicom_result", result
        seg, pm = (dcmread(result[name]) for name in RESULTS)
        assert Path(result["segmentation"]).parent == Path(result["uncertainty"]).parent == job
        [frame] = seg.PerFrameFunctionalGroupsSequence
        assert frame.PlanePositionSequence[0].ImagePositionPatient[2] == 41.75 + 4 * 2.5  # the highest slice
        assert seg.DeviceSerialNumber == pm.DeviceSerialNumber == "ab" * 32
        assert pm.NumberOfFrames == 5
        folder = Path(fields["images"][0]).parent
        assert {str(path): path.read_bytes() for path in folder.iterdir()} == before

    def test_labels_outside_the_job_and_series_that_are_gone_are_one_sentence(self, shared: Child) -> None:
        fields = export_fields(job := shared.new_job())
        labels = [fields["labels"][0] | {"file": "../x.npy"}]
        outside = shared.ask("export_dicom", **(fields | {"labels": labels}))
        gone = shared.ask("export_dicom", **(fields | {"images": [*fields["images"], "/nowhere/1.dcm"]}))

        assert outside["message"].startswith('"labels" must lie inside the folder')
        assert gone["message"].startswith("The DICOM series lacks 1 of its 6 files")
        assert not [*job.glob("*.dcm")]
