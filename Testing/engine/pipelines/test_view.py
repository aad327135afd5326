"""From the files of a result to a page; what cannot be shown is one sentence."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation
import torch
from given import a_larger_ball
from mutated import counted, mutated_document

from uncol.core.errors import DataError, OutputError, UncolError
from uncol.core.files import sha256_of
from uncol.core.jobs import AnnotatedSlices, Structure
from uncol.core.volume import Volume
from uncol.data.io import write_results
from uncol.inference.result import Segmentation
from uncol.pipelines.results import reported
from uncol.pipelines.view import ViewJob, scene_of, write_view
from uncol.report.viewer import viewer_of

CASE = a_larger_ball()
BALL = Structure(3, "ball")


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A result of a ball that is a little too far to the side, unsure in a part."""
    uncertainty = np.zeros(CASE.image.shape_kji, np.float32)
    uncertainty[4:8, 15:30, 15:30] = 0.9
    found = Segmentation(
        CASE.labels.with_voxels(np.roll(CASE.labels.voxels, 1, axis=2)), CASE.image.with_voxels(uncertainty), (BALL,)
    )
    annotated = [AnnotatedSlices("K", (0, 6, 11))]
    made_by = {"foundation_model": {"name": "LiteMedSAM", "license": ""}}
    segmented = reported(CASE.image, found, made_by, torch.device("cpu"), 1.5, annotated)
    segmented.write(tmp_path / "result", "uncol segment FILE -o FILE")
    return tmp_path / "result"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the image, the reference and what does not belong to the result."""
    other = Volume(CASE.labels.voxels, np.diag([-1.0, -1.0, 4.0, 1.0]))
    moved = CASE.image.with_voxels(CASE.image.voxels + 1)
    volumes = {"ct.nii.gz": CASE.image, "truth.nii.gz": CASE.labels, "other.nii.gz": other, "moved.nii.gz": moved}
    write_results(tmp_path / "files", volumes, {"text.txt": "no image"})
    larger = np.zeros((24, 40, 40), np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(larger), tmp_path / "files" / "cut.nii")
    os.truncate(tmp_path / "files" / "cut.nii", 1000)  # the header is whole
    return tmp_path / "files"


def data_in(page: Path) -> dict[str, Any]:
    found = re.search(r'id="uncol-data">([^<]*)<', page.read_text(encoding="utf-8"))
    assert found
    return json.loads(found.group(1))


def test_every_result_has_a_report_with_the_viewer_in_it(result: Path) -> None:
    assert {each.name for each in result.iterdir()} == {
        "segmentation.nii.gz", "uncertainty.nii.gz", "report.json", "report.html",
    }  # fmt: skip
    told = data_in(result / "report.html")
    report = json.loads((result / "report.json").read_text(encoding="utf-8"))
    page = report["files"].pop("report.html")
    assert page == sha256_of(result / "report.html")
    assert told["files"] == report["files"]
    assert told["structures"][0]["ml"] == report["structures"][0]["volume_ml"]
    assert told["structures"][0]["range"] == report["structures"][0]["volume_range_ml"]
    assert [(each["slice"], each["ml"], each["doubt"]) for each in told["places"]] == [
        (each["ijk"][2], each["volume_ml"], each["uncertainty"]) for each in report["places"]
    ]
    assert told["places"]
    assert told["ruler"]["next"][0]["slice"] == report["next_slices"]["slices"][0]["index"]
    assert told["unsureFrom"] == report["unsure_from"] == 0.5
    assert told["ruler"]["annotated"] == [0, 6, 11]
    assert report["annotated_slices"] == [{"axis": "K", "indices": [0, 6, 11], "case": None}]
    html = (result / "report.html").read_text(encoding="utf-8")
    assert "uncol segment FILE -o FILE" in html
    assert "LiteMedSAM" in html


def test_a_page_comes_of_the_result_alone(result: Path) -> None:
    page = write_view(ViewJob(result))

    assert page == result / "view.html"
    told, before = data_in(page), data_in(result / "report.html")
    assert told["picture"] == before["picture"]
    assert told["places"] == before["places"]
    assert told["hasReference"] is False


def test_with_image_and_reference_the_page_says_more(result: Path, files: Path, tmp_path: Path) -> None:
    job = ViewJob(result, files / "ct.nii.gz", files / "truth.nii.gz", {"before": files / "truth.nii.gz"})

    told = data_in(write_view(job, tmp_path / "pages"))

    assert told["hasReference"] is True
    assert [each["name"] for each in told["compare"]] == ["Reference", "before"]
    assert re.fullmatch(r"Dice 0\.9\d\d on slices that nobody annotated", told["structures"][0]["scored"])
    dice = told["ruler"]["dice"]
    assert len(dice) == 12
    assert all(each is None or 0.8 < each < 1 for each in dice)


def test_with_nothing_found_there_is_a_page_too(result: Path) -> None:
    nothing = CASE.labels.with_voxels(np.zeros_like(CASE.labels.voxels))
    unknown = CASE.image.with_voxels(np.ones(CASE.image.shape_kji, np.float32))
    found = Segmentation(nothing, unknown, (BALL,))
    reported(CASE.image, found, {"foundation_model": None}, torch.device("cpu"), 1.0).write(result)

    assert data_in(write_view(ViewJob(result)))["places"] == []


def job_with(result: Path, files: Path, **changed: str) -> ViewJob:
    return replace(ViewJob(result), **{name: files / file for name, file in changed.items()})


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"folder": ""}, "holds no result: there is no report.json. Give the folder that segment, demo or"),
        ({"folder": "nowhere"}, "holds no result"),
        ({"folder": "ct.nii.gz"}, "holds no result"),
        ({"image": "nowhere.nii.gz"}, "does not exist"),
        ({"image": "moved.nii.gz"}, 'Image "moved.nii.gz" is not the one that was segmented'),
        ({"image": "other.nii.gz"}, 'Image "other.nii.gz" has spacing .* but segmentation .* Give the image that the'),
        (
            {"image": "cut.nii"},
            r'^Image "cut.nii" has size \(40, 40, 24\) voxels .* but segmentation "segmentation.nii.gz"',
        ),
        ({"image": "text.txt"}, "text.txt"),
        ({"reference": "cut.nii"}, r'^Reference "cut.nii" has size \(40, 40, 24\) voxels .* but segmentation'),
        ({"reference": "other.nii.gz"}, '^Reference "other.nii.gz" has spacing .* but segmentation'),
        ({"reference": "moved.nii.gz"}, "labels are whole numbers|holds the value"),
    ],
)
def test_what_does_not_belong_to_the_result_is_one_sentence(
    result: Path, files: Path, changed: dict[str, str], sentence: str
) -> None:
    with pytest.raises(UncolError, match=sentence):
        scene_of(job_with(result, files, **changed))


def test_a_result_without_its_picture_asks_for_the_image(result: Path) -> None:
    (result / "report.html").unlink()

    with pytest.raises(DataError, match="Give the image with --image"):
        scene_of(ViewJob(result))


@pytest.mark.parametrize("content", ["{", "[]", '{"structures": 1}', "\x00", '{"a": ' * 60])
def test_a_damaged_report_is_one_sentence(result: Path, content: str) -> None:
    (result / "report.json").write_text(content, encoding="utf-8")

    with pytest.raises(UncolError, match=r"report.json"):
        scene_of(ViewJob(result))


def test_a_changed_file_is_told(result: Path) -> None:
    write_results(result, {}, {"segmentation.nii.gz": (result / "uncertainty.nii.gz").read_bytes()})

    with pytest.raises(DataError, match=r'"segmentation.nii.gz" in .* was changed, or is missing'):
        scene_of(ViewJob(result))


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_a_folder_without_rights_is_one_sentence(result: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OutputError, match="choose another folder"):
        write_view(ViewJob(result), tmp_path / "file" / "pages")


TRAINING = {
    "structures": [{"name": "ball", "value": 3}], "annotated_slices": [3], "slices": [8], "method": "uncol", "seed": 0,
    "versions": {"uncol": "0.1.0"}, "steps": 3, "seconds": 0.1, "device": "cpu", "generalized_teacher": None,
    "specialized_reliability": {"ball": 1.0}, "held_out_dice": {"ball": 0.9}, "notes": ["Too few steps."],
    "verdict": {"outcome": "better", "old": {"ball": 0.8}, "new": {"ball": 0.9}, "slices": 2, "reason": ""},
}  # fmt: skip


@pytest.mark.parametrize("change", [{"notes": 5}, {"notes": [1]}, {"seconds": 1e308}, {"training": {"notes": 5}}])
def test_a_report_of_a_stranger_is_a_page_or_one_sentence(result: Path, change: dict[str, Any]) -> None:
    report = json.loads((result / "report.json").read_text())
    (result / "report.json").write_text(json.dumps({**report, **change}))

    with pytest.raises(UncolError, match=r"report\.json"):
        write_view(ViewJob(result))


def test_slices_that_are_not_there_are_no_part_of_the_page(result: Path) -> None:
    report = json.loads((result / "report.json").read_text())
    slices = [{"index": index, "gain": None, "structures": [], "distance": None} for index in (-1, 2, 10**18)]
    report["next_slices"] = {"axis": "K", "slices": slices}
    report["annotated_slices"] = [{"axis": "K", "indices": [-5, 0, 10**18], "case": None}]
    (result / "report.json").write_text(json.dumps(report))

    ruler = data_in(write_view(ViewJob(result)))["ruler"]

    assert ([each["slice"] for each in ruler["next"]], ruler["annotated"]) == ([2], [0])


@pytest.mark.parametrize("count", [60, pytest.param(10_000, marks=pytest.mark.soak)])
def test_mutated_reports_are_a_page_or_one_sentence(result: Path, tell: Callable[[str], None], count: int) -> None:
    report = {**json.loads((result / "report.json").read_text()), "model": "m", "training": TRAINING}

    def use(content: bytes) -> None:
        (result / "report.json").write_bytes(content)
        viewer_of(scene_of(ViewJob(result)))

    tell(f"mutated reports, looked at: {counted(count, mutated_document(report), use, UncolError)}")
