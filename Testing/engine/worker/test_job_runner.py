"""What a worker does for each request: it segments, fine-tunes and manages models, in its own folders only."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worker_child import PROMPT_S, SHAPE, Child, ball, box_fields, fine_tune_fields, needs_posix

from uncol.core.volume_files import read_nrrd, write_nrrd
from uncol.data.io import read_image

pytestmark = needs_posix


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


@pytest.fixture(scope="module")
def model(shared: Child) -> str:
    """A model that was trained for a moment."""
    job = shared.new_job()
    result = shared.ask("fine_tune", **fine_tune_fields(job, "ball", steps=30))
    assert result["event"] == "result", result
    return "ball"


class TestSegment:
    def test_a_box_gives_labels_and_uncertainty_on_exactly_the_grid(self, shared: Child) -> None:
        job = shared.new_job()

        result = shared.ask("segment", **box_fields(job))

        assert result["event"] == "result", result
        assert (result["segmentation"], result["uncertainty"]) == ("segmentation.nrrd", "uncertainty.nrrd")
        image, _ = ball()
        labels, doubt = read_nrrd(job / "segmentation.nrrd"), read_nrrd(job / "uncertainty.nrrd")
        for volume, dtype in ((labels, np.uint8), (doubt, np.float32)):
            assert volume.voxels.dtype == dtype
            np.testing.assert_allclose(volume.ijk_to_ras, image.ijk_to_ras, rtol=0, atol=1e-12)
        assert dice(labels.voxels[4:7] == 1, image.voxels[4:7] > 70) > 0.8
        assert doubt.voxels.min() >= 0 < doubt.voxels.max() <= 1
        assert result["report"]["structures"][0]["name"] == "ball"
        assert result["report"]["intended_use"] == "Research use only. Not a medical device."

    def test_annotated_slices_stay_as_they_are(self, shared: Child) -> None:
        job = shared.new_job()

        shared.ask("segment", job=job, image="image.nrrd", labels="labels.nrrd", structures=[{"value": 1, "name": "b"}])

        annotated = ball()[1].voxels
        found = read_nrrd(job / "segmentation.nrrd").voxels
        assert (found == annotated)[annotated != 255].all()

    @pytest.mark.parametrize("by", ["name", "path"])
    def test_a_model_segments_by_its_name_or_its_folder(self, shared: Child, model: str, by: str) -> None:
        job = shared.new_job()

        chosen = model if by == "name" else shared.store.path_of(model)
        result = shared.ask("segment", job=job.name, image="image.nrrd", model=chosen)

        assert result["event"] == "result", result
        assert result["report"]["model"] == model
        assert read_nrrd(job / "segmentation.nrrd").shape_kji == SHAPE

    def test_other_readers_read_the_results(self, shared: Child, model: str) -> None:
        job = shared.new_job()
        shared.ask("segment", job=job, image="image.nrrd", model=model)

        assert np.array_equal(read_image(job / "uncertainty.nrrd").voxels, read_nrrd(job / "uncertainty.nrrd").voxels)

    def test_inputs_that_cannot_be_used_are_one_sentence(self, shared: Child) -> None:
        job = shared.new_job()
        image, _ = ball()
        write_nrrd(job / "flat.nrrd", image.with_voxels(np.zeros(SHAPE, np.int16)))
        (job / "broken.nrrd").write_bytes((job / "image.nrrd").read_bytes()[:500])

        flat = shared.ask("segment", **(box_fields(job) | {"image": "flat.nrrd"}))
        broken = shared.ask("segment", **(box_fields(job) | {"image": "broken.nrrd"}))
        unknown = shared.ask("segment", job=job, image="image.nrrd", model="nobody")

        assert (flat["kind"], broken["kind"], unknown["kind"]) == ("user", "user", "user")
        assert 'Image "flat.nrrd" is constant' in flat["message"]
        assert 'Image "broken.nrrd" cannot be read' in broken["message"]
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
        assert "uncertainty.nrrd" in end["message"]
        assert "Free some space" in end["message"]
        assert child.ask("models", action="list")["event"] == "result"


class TestPlaces:
    @pytest.mark.parametrize("job", ["/", ".", "..", "../..", "run/../..", "/etc"])
    def test_a_job_lies_inside_the_job_folder(self, shared: Child, job: str) -> None:
        answer = shared.ask("segment", job=job, image="image.nrrd", model="m")

        assert answer["kind"] == "user"
        assert re.match(r'"job" must lie inside the folder ".*uncol-worker-', answer["message"])

    def test_a_job_that_was_not_made_is_told(self, shared: Child) -> None:
        assert '"job" is not there' in shared.ask("segment", job="nowhere", image="i", model="m")["message"]

    @pytest.mark.parametrize("image", ["../image.nrrd", "/etc/hosts", "link.nrrd", "linked/image.nrrd"])
    def test_an_image_lies_inside_its_job(self, shared: Child, tmp_path: Path, image: str) -> None:
        job = shared.new_job()
        write_nrrd(job.parent / "image.nrrd", ball()[0])
        write_nrrd(tmp_path / "image.nrrd", ball()[0])
        (job / "link.nrrd").symlink_to(tmp_path / "image.nrrd")
        (job / "linked").symlink_to(tmp_path)

        answer = shared.ask("segment", **(box_fields(job) | {"image": image}))
        tuned = shared.ask(
            "fine_tune", **(fine_tune_fields(job, "m") | {"cases": [{"image": "image.nrrd", "labels": image}]})
        )

        assert answer["message"].startswith('"image" must lie inside the folder')
        assert tuned["message"].startswith('"labels" must lie inside the folder')

    @pytest.mark.parametrize("out", ["../elsewhere", "/etc/model", "a/b", "Name", ".hidden", ".."])
    def test_a_model_is_written_into_the_store_only(self, shared: Child, out: str) -> None:
        answer = shared.ask("fine_tune", **fine_tune_fields(shared.new_job(), out, steps=2))

        assert (answer["event"], answer["kind"]) == ("error", "user")
        assert re.search(r'"out" must be a model in|is no name for a model', answer["message"])
        assert not (shared.home / "elsewhere").exists()

    def test_a_model_outside_the_store_is_not_opened(self, shared: Child, tmp_path: Path) -> None:
        answer = shared.ask("segment", job=shared.new_job(), image="image.nrrd", model=tmp_path / "model")

        assert answer["message"].startswith('"model" must be a model in')

    def test_a_failed_run_leaves_no_empty_model_folder(self, shared: Child) -> None:
        job = shared.new_job()
        write_nrrd(job / "labels.nrrd", ball()[0].with_voxels(np.zeros(SHAPE, np.uint8)))

        answer = shared.ask("fine_tune", **fine_tune_fields(job, "nothing", steps=2))

        assert "background only" in answer["message"]
        assert not (shared.store.folder / "nothing").exists()


class TestFineTune:
    def test_the_result_tells_how_the_training_went(self, shared: Child, model: str) -> None:
        result = shared.ask("models", action="show", name=model)["card"]

        assert result["training"]["steps"] == 30
        assert result["structures"] == [{"value": 1, "name": "ball"}]
        shared.store.verify(model)

    def test_what_is_proposed_for_the_image_lies_beside_it(self, shared: Child) -> None:
        job = shared.new_job()

        result = shared.ask("fine_tune", **fine_tune_fields(job, "proposing", steps=10))

        image, annotated = ball()
        labels, doubt = (read_nrrd(job / result[name]) for name in ("segmentation", "uncertainty"))
        assert labels.shares_grid_with(image)
        assert doubt.shares_grid_with(image)
        known = annotated.voxels != 255
        assert (labels.voxels == annotated.voxels)[known].all()
        assert result["report"]["by_both_teachers"] is True
        assert [each["name"] for each in result["report"]["structures"]] == ["ball"]

    def test_progress_holds_steps_losses_and_time_left(self, shared: Child) -> None:
        number = shared.start_training("progress")
        event = shared.until(lambda event: event["event"] == "progress" and event.get("step", 0) > 3)
        shared.request("cancel", target=number)
        shared.end_of(number)

        assert event["losses"]["supervised"] > 0
        assert event["seconds_left"] > 0
        assert 0 <= event["fraction"] <= 1
        assert event["phase"] == "Learning from annotated slices"

    def test_a_second_job_is_refused_and_the_first_goes_on(self, shared: Child) -> None:
        number = shared.start_training("first")

        second = shared.ask("segment", **box_fields(shared.new_job()))
        listed = shared.ask("models", action="list")
        goes_on = shared.until(lambda event: event["id"] == number)
        shared.request("cancel", target=number)

        assert (second["event"], second["kind"]) == ("error", "user")
        assert second["message"] == f"The engine is busy with request {number}. Wait for its end, or cancel it."
        assert listed["event"] == "result"
        assert goes_on["event"] == "progress"
        assert shared.end_of(number)["event"] == "cancelled"

    def test_a_cancelled_training_ends_at_once_and_can_be_resumed(self, shared: Child) -> None:
        job = shared.new_job()
        number = shared.start_training("resumed", job)
        asked = time.monotonic()
        cancel = shared.request("cancel", target=number)

        assert shared.end_of(cancel) == {"id": cancel, "event": "result", "found": True}
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
        assert done["event"] == "result", done
        assert done["model"] == "resumed"
        assert done["training"]["steps"] >= 20
        assert {"curve", "notes", "specialized_reliability", "generalized_reliability"} <= done["training"].keys()
        assert shared.store.has("resumed")

    def test_a_training_that_is_resumed_with_other_labels_is_refused(self, shared: Child) -> None:
        number = shared.start_training("other-labels")
        shared.request("cancel", target=number)
        shared.end_of(number)
        job = shared.new_job()
        write_nrrd(job / "labels.nrrd", ball()[1].with_voxels(np.where(ball()[1].voxels == 1, 2, 0).astype(np.uint8)))

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
        number = shared.start_training("previewed", job, preview_s=1.0)

        first = shared.until(lambda event: event["event"] == "preview")
        labels = read_nrrd(job / first["segmentation"])
        second = shared.until(lambda event: event["event"] == "preview")
        shared.request("cancel", target=number)

        assert first["id"] == number
        assert labels.voxels.dtype == np.uint8
        assert labels.shares_grid_with(ball()[0])
        assert second["segmentation"] != first["segmentation"]
        assert shared.end_of(number)["resumable"] is True


class TestModels:
    def test_every_action_on_models(self, shared: Child, model: str, tmp_path: Path) -> None:
        def ask(action: str, **fields: Any) -> dict[str, Any]:
            answer = shared.ask("models", action=action, **fields)
            assert answer["event"] == "result", answer
            return answer

        ask("export", name=model, path=tmp_path / "ball.zip")
        assert ask("import", path=tmp_path / "ball.zip", name="copy")["name"] == "copy"
        ask("verify", name="copy")
        assert ask("activate", name=model)["active"] == model
        assert ask("activate", name="copy")["active"] == "copy"
        assert ask("roll_back") == {"id": shared._last_id, "event": "result", "active": model, "name": model}
        assert ask("rename", name=model, new_name="round")["active"] == "round"
        assert {"copy", "round"} <= {each["name"] for each in ask("list")["models"]}
        ask("rename", name="round", new_name=model)
        ask("remove", name="copy")
        assert not shared.store.has("copy")

    def test_what_does_not_work_is_one_sentence(self, shared: Child, tmp_path: Path) -> None:
        (tmp_path / "bad.zip").write_bytes(b"nonsense")

        assert "no zip of a model" in shared.ask("models", action="import", path=tmp_path / "bad.zip")["message"]
        assert 'no model "nobody"' in shared.ask("models", action="remove", name="nobody")["message"]
