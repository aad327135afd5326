from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uncol.core.errors import CancelledError, ConfigError, OutputError
from uncol.core.jobs import Structure
from uncol.core.progress import Monitor, Progress
from uncol.core.volume import Volume
from uncol.data.io import read_image, read_labels, read_map, write_results
from uncol.demo.job import DemoJob
from uncol.demo.phantom import Phantom, make_phantom
from uncol.demo.run import run_demo
from uncol.models.checkpoints import load_model
from uncol.pipelines.context import Context

LIVER, SPLEEN, AORTA = Structure(1, "liver"), Structure(2, "spleen"), Structure(6, "aorta")
EVERY = 4
ANNOTATED = [0, 4, 8, 12, 16]
RESULT_FILES = {
    "image.nii.gz",
    "reference.nii.gz",
    "annotated-slices.nii.gz",
    "first-pass.nii.gz",
    "segmentation.nii.gz",
    "uncertainty.nii.gz",
    "report.html",
    "report.json",
    "model",
}


def turned(volume: Volume) -> Volume:
    """Store the same patient with I from left to right and slices from top to bottom."""
    flip = np.diag([-1.0, 1.0, -1.0, 1.0])
    flip[:3, 3] = volume.shape_kji[2] - 1, 0, volume.shape_kji[0] - 1
    return Volume(np.ascontiguousarray(volume.voxels[::-1, :, ::-1]), volume.ijk_to_ras @ flip)


@dataclass
class Finished:
    """A demo on a small phantom, whose slices the file counts downwards."""

    job: DemoJob
    document: dict[str, Any]
    progress: list[Progress]
    cache: Path

    @property
    def html(self) -> str:
        return (self.job.out / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    small = make_phantom((17, 64, 64), (5.0, 5.0, 14.0))
    return Phantom(turned(small.image), turned(small.labels), small.structures)


@pytest.fixture(scope="module")
def finished(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("demo")
    write_results(folder, {"ct.nii.gz": phantom.image, "organs.nii.gz": phantom.labels}, {})
    job = DemoJob(
        out=folder / "results" / "out",
        image=folder / "ct.nii.gz",
        labels=folder / "organs.nii.gz",
        structures=(LIVER, SPLEEN, AORTA),
        every=EVERY,
        minutes=0.1,
        device="cpu",
    )
    progress: list[Progress] = []
    context = Context(Monitor(progress.append), folder / "cache")
    return Finished(job, run_demo(job, context), progress, folder / "cache")


def start(job: DemoJob, should_stop: Callable[[], bool] = lambda: False) -> None:
    run_demo(job, Context(Monitor(should_stop=should_stop), None))


@pytest.mark.slow
def test_all_files_lie_in_the_folder_and_nothing_else(finished: Finished) -> None:
    assert {path.name for path in finished.job.out.iterdir()} == RESULT_FILES
    assert finished.document["out"] == str(finished.job.out)
    assert finished.document["report"] == str(finished.job.out / "report.html")


@pytest.mark.slow
def test_no_result_names_the_users_files(finished: Finished) -> None:
    for name in ("ct.nii.gz", "organs.nii.gz"):  # often a patient's
        assert name not in finished.html
        assert name not in json.dumps(finished.document)
    assert "your image, 64 x 64 x 17 voxels" in finished.html


@pytest.mark.slow
def test_every_volume_has_exactly_the_geometry_of_the_image(finished: Finished, phantom: Phantom) -> None:
    paths = sorted(finished.job.out.glob("*.nii.gz"))

    assert len(paths) == 6
    for path in paths:
        read_map(path, phantom.image, "ct")  # refuses any other grid


@pytest.mark.slow
def test_image_and_reference_are_those_that_were_given(finished: Finished, phantom: Phantom) -> None:
    assert (read_image(finished.job.out / "image.nii.gz").voxels == phantom.image.voxels).all()
    assert (read_image(finished.job.out / "reference.nii.gz").voxels == phantom.labels.voxels).all()


@pytest.mark.slow
def test_the_annotated_slices_are_copied_and_everything_else_is_unknown(finished: Finished, phantom: Phantom) -> None:
    annotated = read_labels(finished.job.out / "annotated-slices.nii.gz", phantom.image, "ct").voxels
    learned = np.isin(phantom.labels.voxels, [1, 2, 6])

    assert (annotated[ANNOTATED] == np.where(learned, phantom.labels.voxels, 0)[ANNOTATED]).all()
    assert (np.delete(annotated, ANNOTATED, axis=0) == 255).all()


@pytest.mark.slow
def test_the_first_pass_has_the_values_of_the_reference(finished: Finished, phantom: Phantom) -> None:
    first_pass = read_labels(finished.job.out / "first-pass.nii.gz", phantom.image, "ct").voxels

    for value in (LIVER.value, AORTA.value):
        found, right = first_pass == value, phantom.labels.voxels == value
        assert 2 * (found & right).sum() / (found.sum() + right.sum()) > 0.5


@pytest.mark.slow
def test_the_uncertainty_lies_between_0_and_1(finished: Finished, phantom: Phantom) -> None:
    uncertainty = read_map(finished.job.out / "uncertainty.nii.gz", phantom.image, "ct").voxels

    assert uncertainty.min() >= 0
    assert 0 < uncertainty.max() <= 1


@pytest.mark.slow
def test_the_model_can_be_used_afterwards(finished: Finished) -> None:
    card = load_model(finished.job.out / "model").card

    assert card.structures == (LIVER, SPLEEN, AORTA)
    assert card.plane == "axial"
    assert card.training["annotated_slices"] == [len(ANNOTATED)]


@pytest.mark.slow
def test_the_report_shows_structures_methods_and_scores(finished: Finished) -> None:
    for structure in finished.document["structures"]:
        row = re.search(rf'<tr><th scope="row">{structure["name"]}</th>(.*?)</tr>', finished.html)
        assert row
        for method in ("interpolation", "first_pass", "fine_tuned"):
            assert f"{structure[method]['dice']:.3f}" in row.group(1)
    assert [each["name"] for each in finished.document["structures"]] == ["liver", "spleen", "aorta"]
    assert "<b>5 of 17</b>" in finished.html
    assert "Scored on the 12 slices that nobody annotated." in finished.html


@pytest.mark.slow
def test_the_suggestion_is_a_slice_that_nobody_annotated(finished: Finished) -> None:
    suggestion = finished.document["suggestion"]

    assert suggestion["file_index"] not in ANNOTATED
    assert suggestion["stack_index"] == 16 - suggestion["file_index"]
    assert f"Slice {suggestion['file_index']}." in finished.html


@pytest.mark.slow
def test_progress_only_grows_over_all_parts(finished: Finished) -> None:
    fractions = [each.fraction for each in finished.progress]
    phases = list(dict.fromkeys(each.phase for each in finished.progress))

    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert 0.8 < fractions[-1] <= 1
    assert phases[:4] == ["Getting an image", "First pass", "Segmenting liver", "Segmenting spleen"]
    assert phases[-2:] == ["Scoring", "Writing the report"]
    assert list(finished.document["seconds"]) == [
        "Getting an image",
        "First pass",
        "Fine-tuning",
        "Segmenting",
        "Scoring",
        "Writing the report",
    ]


@pytest.mark.slow
def test_a_demo_cancelled_while_it_learns_leaves_the_earlier_results_alone(finished: Finished) -> None:
    before = contents_of(finished.job.out)
    learning: list[Progress] = []

    def report(progress: Progress) -> None:
        if progress.step is not None:
            learning.append(progress)

    context = Context(Monitor(report, lambda: bool(learning)), finished.cache)
    with pytest.raises(CancelledError, match=re.escape("The demo was cancelled; nothing was written.")):
        run_demo(finished.job, context)

    assert learning
    assert contents_of(finished.job.out) == before


def contents_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_demo_cancelled_at_once_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CancelledError, match=re.escape("The demo was cancelled; nothing was written.")):
        start(DemoJob(out=tmp_path / "out"), should_stop=lambda: True)

    assert list(tmp_path.iterdir()) == []


def test_an_unusable_image_leaves_no_folder(tmp_path: Path) -> None:
    missing = tmp_path / "missing.nii.gz"

    with pytest.raises(Exception, match="does not exist"):
        start(DemoJob(out=tmp_path / "out", image=missing, labels=missing))

    assert list(tmp_path.iterdir()) == []


def test_a_folder_called_model_that_is_not_ours_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    (tmp_path / "model" / "thesis.docx").write_text("years of work")

    with pytest.raises(OutputError, match=re.escape("is in the way: it is no model of an earlier demo")):
        start(DemoJob(out=tmp_path))

    assert (tmp_path / "model" / "thesis.docx").read_text() == "years of work"


@pytest.mark.parametrize("name", ["image.nii.gz", "reference.nii.gz"])
def test_the_users_own_files_are_not_overwritten(tmp_path: Path, name: str) -> None:
    job = DemoJob(out=tmp_path, image=tmp_path / name, labels=tmp_path / "organs.nii.gz")

    with pytest.raises(ConfigError, match=re.escape(f'The demo would overwrite your own "{name}"')):
        start(job)
