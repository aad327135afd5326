"""The command line: what works, and one clear sentence with exit code 2 for everything that cannot."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # its own documentation's name
from given import a_larger_ball
from written_dicom import save_slices, to_ras

from uncol.data.io import read_image, write_results

SHAPE = (12, 40, 48)


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    """A model that was fine-tuned for a few steps without a foundation teacher."""
    out = folder / "model"
    command = ["--case", "ct.nii.gz", "labels.nii.gz", "--annotated-slices", "K:0,6,11", "--steps", "60"]
    done = subprocess.run(
        [sys.executable, "-m", "uncol", "fine-tune", *command, "--config", "small.json", "--out", str(out), "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


FINE_TUNE = ("fine-tune", "--case", "ct.nii.gz", "labels.nii.gz")
SEGMENT = ("segment", "ct.nii.gz")

WRONG: list[Any] = [
    pytest.param(
        [*SEGMENT],
        r"one of a model \(--model\), boxes \(--box\) or slices \(--labels\)",
        id="no way to segment",
    ),
    pytest.param([*SEGMENT, "--box", "x=0,0,0,5,5,5", "--model", "m"], r"exactly one of", id="two ways to segment"),
    pytest.param(["segment", "nowhere.nii.gz", "--box", "x=0,0,0,5,5,5"], r"nowhere.nii.gz", id="missing file"),
    pytest.param(["segment", "small.json", "--box", "x=0,0,0,5,5,5"], r"small.json", id="not an image"),
    pytest.param(
        [*SEGMENT, "--box", "x=0,0,0,5,5,99"], r"reaches from 0 to 99 along K.*indices 0 to 11", id="box outside"
    ),
    pytest.param([*SEGMENT, "--box", "x=-1,0,0,5,5,5"], r"reaches from -1 to 5 along I", id="box below zero"),
    pytest.param([*SEGMENT, "--box", "x=9,0,0,5,5,5"], r"is empty", id="empty box"),
    pytest.param([*SEGMENT, "--box", "x=1,2,3"], r"six whole voxel indices", id="box of three numbers"),
    pytest.param([*SEGMENT, "--model", "nowhere"], r"is not a model folder", id="no model"),
    pytest.param([*SEGMENT, "--box", "x=0,0,0,5,5,5", "--device", "tpu"], r"Choose one of auto, cpu", id="device"),
    pytest.param([*SEGMENT, "--labels", "other.nii.gz"], r"other.nii.gz.*ct.nii.gz", id="labels of another geometry"),
    pytest.param([*SEGMENT, "--labels", "background.nii.gz"], r"background only", id="labels without structure"),
    pytest.param([*SEGMENT, "--labels", "unknown.nii.gz"], r"background only", id="nothing annotated"),
    pytest.param(["segment", "flat.nii.gz", "--box", "x=0,0,0,5,5,5"], r"flat.nii.gz", id="constant image"),
    pytest.param(["segment", "two-d.nii.gz", "--box", "x=0,0,0,5,5,0"], r"two-d.nii.gz.*2 axes", id="2D image"),
    pytest.param(["segment", "four-d.nii.gz", "--box", "x=0,0,0,5,5,0"], r"four-d.nii.gz.*4 axes", id="4D image"),
    pytest.param(["segment", "nan.nii.gz", "--box", "x=0,0,0,5,5,0"], r"nan.nii.gz", id="no finite voxel"),
    pytest.param(["segment", "huge.nii.gz", "--box", "x=0,0,0,5,5,0"], r"huge.nii.gz.*spacing", id="huge spacing"),
    pytest.param(["segment", "tiny.nii.gz", "--box", "x=0,0,0,5,5,0"], r"tiny.nii.gz.*spacing", id="tiny spacing"),
    pytest.param(
        [*SEGMENT, "--box", "x=0,0,0,5,5,5", "--foundation-weights", "damaged.pth"],
        r'"damaged.pth" is not LiteMedSAM.s file.*--foundation-model MedSAM or SAM',
        id="wrong checksum",
    ),
    pytest.param(
        [*SEGMENT, "--box", "x=0,0,0,5,5,5", "--foundation-weights", "no.pth"],
        r"no.pth.*could not be read",
        id="weights",
    ),
    pytest.param(
        [*SEGMENT, "--box", "x=0,0,0,5,5,5", "--structure", "x=1"],
        r"--structure is about the label map of --labels, which is not given here\. Leave out --structure\.",
        id="structure of a box",
    ),
    pytest.param(
        [*SEGMENT, "--box", "x=0,0,0,5,5,5", "--dicom"],
        r'Image "ct.nii.gz" is no DICOM image, so its result cannot be DICOM.*leave out --dicom\.',
        id="DICOM of an image that was none",
    ),
    pytest.param(["segment", ".", "--cohort"], r"segmented with one model .*: give it with --model", id="no model"),
    pytest.param(
        ["segment", ".", "--cohort", "--model", "m", "--box", "x=0,0,0,5,5,5"],
        r"--box is about one image, but --cohort segments many",
        id="box of a cohort",
    ),
    pytest.param(
        ["segment", ".", "--cohort", "--model", "m", "--maps", "entropy"],
        r"--maps is about one image",
        id="maps of many",
    ),
    pytest.param([*SEGMENT, "--model", "m", "--jobs", "2"], r"--jobs is for a whole folder\. Add --cohort", id="jobs"),
    pytest.param([*SEGMENT, "--model", "m", "--dask", "tcp://x:1"], r"--dask is for a whole folder", id="cluster"),
    pytest.param(
        [*SEGMENT, "--model", "m", "--annotated-slices", "K:1"],
        r"--annotated-slices is about the label map of --labels",
        id="annotated slices beside a model",
    ),
    pytest.param(
        [*SEGMENT, "--labels", "labels.nii.gz", "--annotated-slices", "2@K:6"],
        r'Slices "2@K:6" name a case, but there is only one image here',
        id="case of one image",
    ),
    pytest.param(
        [*FINE_TUNE, *FINE_TUNE[1:], "--annotated-slices", "3@K:6"],
        r'Slices "3@K:6" are of case 3, but the last one is case 2',
        id="case that is not there",
    ),
    pytest.param([*FINE_TUNE, "--method", "frozen-teacher"], r"is for `uncol benchmark` only", id="benchmark method"),
    pytest.param([*FINE_TUNE, "--annotated-slices", "K:0"], r"background only", id="only background annotated"),
    pytest.param([*FINE_TUNE, "--annotated-slices", "K:0,12"], r"K:12 does not exist.*slices 0 to 11", id="slice"),
    pytest.param([*FINE_TUNE, "--annotated-slices", "Z:1"], r"axis|I, J or K", id="unknown axis"),
    pytest.param(
        [*FINE_TUNE, "--annotated-slices", "K:6", "--structure", "liver=7"],
        r"liver.*no voxel.*labels there: 3",
        id="label",
    ),
    pytest.param([*FINE_TUNE, "--minutes", "1", "--steps", "5"], r"either --minutes or --steps", id="two budgets"),
    pytest.param([*FINE_TUNE, "--steps", "0"], r"--steps must be above 0", id="no steps"),
    pytest.param([*FINE_TUNE, "--config", "bad.json"], r'no field "sed"', id="unknown setting"),
    pytest.param(["fine-tune", "--case", "ct.nii.gz"], r"--case needs two paths", id="case without labels"),
    pytest.param([*FINE_TUNE, "--resume"], r"nothing to resume", id="nothing to resume"),
]


@pytest.mark.parametrize(("arguments", "sentence"), WRONG)
def test_what_cannot_work_gets_one_sentence_and_exit_code_2(
    uncol: Callable[..., Any], bad_files: Path, tmp_path: Path, arguments: list[str], sentence: str
):
    code, out, err = uncol(*arguments, "--out", tmp_path / "out")

    assert code == 2, err
    assert re.search(sentence, err.replace("\n", " "), re.DOTALL), err
    assert "Traceback" not in err
    assert out == ""
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_an_output_folder_below_a_file_is_refused_before_the_work(uncol: Callable[..., Any], folder: Path):
    code, _, err = uncol(*SEGMENT, "--box", "x=5,5,2,40,35,9", "--out", folder / "ct.nii.gz" / "out")

    assert code == 2
    assert "ct.nii.gz" in err


def test_one_annotated_slice_is_enough_to_segment_and_to_learn(uncol: Callable[..., Any], tmp_path: Path):
    code, _, err = uncol(*SEGMENT, "--labels", "labels.nii.gz", "--annotated-slices", "K:6", "--out", tmp_path / "a")
    assert code == 0, err
    assert (
        len(re.findall(r"^A first result stands after \d+ s, by registration alone; .* refines it\.$", err, re.M)) == 1
    )
    tune = [*FINE_TUNE, "--annotated-slices", "K:6", "--config", "small.json", "--steps", "3", "--out", tmp_path / "b"]
    code, _, err = uncol(*tune)
    assert code == 0, err


@pytest.mark.parametrize(("method", "by_both"), [("uncol", True), ("uncol-without-generalized", False)])
def test_fine_tuning_writes_what_it_proposes_for_the_image(
    uncol: Callable[..., Any], tmp_path: Path, method: str, by_both: bool
):
    choice = ["--annotated-slices", "K:0,2,4,6,8,10", "--method", method, "--config", "small.json", "--steps", "10"]

    code, _, err = uncol(*FINE_TUNE, *choice, "--out", tmp_path / "model", "--proposal", tmp_path / "proposal")

    assert code == 0, err
    report = json.loads((tmp_path / "proposal" / "report.json").read_text(encoding="utf-8"))
    assert (report["model"], report["by_both_teachers"]) == ("model", by_both)
    assert [each["indices"] for each in report["annotated_slices"]] == [[0, 2, 4, 6, 8, 10]]
    assert 'id="uncol-volume-image"' not in (tmp_path / "model" / "report.html").read_text(encoding="utf-8")
    assert 'id="uncol-volume-image"' in (tmp_path / "proposal" / "report.html").read_text(encoding="utf-8")
    image = read_image(Path("ct.nii.gz"))
    labels, doubt = (read_image(tmp_path / "proposal" / f"{each}.nii.gz") for each in ("segmentation", "uncertainty"))
    assert labels.shares_grid_with(image)
    assert doubt.shares_grid_with(image)
    if by_both:
        annotated = list(range(0, 12, 2))
        assert (labels.voxels[annotated] == a_larger_ball().labels.voxels[annotated]).all()
        assert report["structures"][0]["voxels"] > (labels.voxels[annotated] == 3).sum()


def test_a_model_is_compared_with_its_base_or_with_another_one_and_both_stay(
    uncol: Callable[..., Any], model: Path, tmp_path: Path
):
    slices = "K:1,2,3,4,5,6,7,8,9,10,11"  # the model has learned from K:0,6,11
    choice = ["--annotated-slices", slices, "--method", "uncol-without-generalized", "--steps", "4"]
    before = {each.name: each.read_bytes() for each in model.iterdir()}

    code, _, err = uncol(*FINE_TUNE, *choice, "--base", model, "--config", "small.json", "--out", tmp_path / "a")

    assert code == 0, err
    assert re.search(r"etter than the earlier model: Dice 0\.\d{3}, before 0\.\d{3}, on 1 slice annotated since\.", err)
    compared = ["--compare-with", tmp_path / "a", "--config", "small.json", "--json"]
    code, out, err = uncol(*FINE_TUNE, *choice, *compared, "--out", tmp_path / "b")
    assert code == 0, err
    verdict = json.loads(out.splitlines()[-1])["verdict"]
    assert (verdict["outcome"], verdict["slices"]) == ("not compared", 0)  # the first has learned from all of them
    assert verdict["reason"].startswith("none of the slices annotated since")
    assert before == {each.name: each.read_bytes() for each in model.iterdir()}


def test_a_folder_for_the_proposal_below_a_file_is_refused_before_the_work(
    uncol: Callable[..., Any], folder: Path, tmp_path: Path
):
    out = ["--out", tmp_path / "model", "--proposal", folder / "ct.nii.gz" / "proposal"]

    code, _, err = uncol(*FINE_TUNE, "--annotated-slices", "K:6", "--steps", "3", *out)

    assert code == 2
    assert "ct.nii.gz" in err
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("inside", ["", "proposal"])
def test_a_proposal_is_not_written_into_the_models_folder(uncol: Callable[..., Any], tmp_path: Path, inside: str):
    code, _, err = uncol(*FINE_TUNE, "--out", tmp_path / "model", "--proposal", tmp_path / "model" / inside)

    assert code == 2
    assert "choose another folder for --proposal" in " ".join(err.split())
    assert not (tmp_path / "model").exists()


def test_one_box_without_a_model_finds_the_ball(uncol: Callable[..., Any], tmp_path: Path):
    code, out, err = uncol(*SEGMENT, "--box", "ball=11,7,2,37,33,10", "--out", tmp_path, "--json")

    assert code == 0, err
    messages = [json.loads(line) for line in out.splitlines()]
    assert {each["event"] for each in messages[:-1]} == {"progress"}
    assert messages[-1]["event"] == "result"
    assert messages[-1]["structures"][0]["name"] == "ball"
    found = read_image(tmp_path / "segmentation.nii.gz").voxels == 1
    truth = a_larger_ball().labels.voxels == 3
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85


def test_annotated_slices_stay_as_they_are_without_a_model(uncol: Callable[..., Any], tmp_path: Path):
    choice = ["--labels", "labels.nii.gz", "--annotated-slices", "K:2,6,9"]
    code, out, err = uncol(*SEGMENT, *choice, "--structure", "ball=3", "-o", tmp_path)

    assert code == 0, err
    assert re.search(r"│ ball +│ [\d.]+ ml \(sure [\d.]+, possible [\d.]+\) │", out)
    assert "Dice was not measured: nothing was learned" in err
    assert re.search(r"Segmented in \d+ s on CPU.*Next: uncol view ", err, re.DOTALL)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "uncol segment FILE --labels FILE --annotated-slices K:2,6,9 --structure ball=3 -o FILE" in html
    found, truth = read_image(tmp_path / "segmentation.nii.gz").voxels, a_larger_ball().labels.voxels
    assert (found[[2, 6, 9]] == truth[[2, 6, 9]]).all()
    assert 2 * ((found == 3) & (truth == 3)).sum() / ((found == 3).sum() + (truth == 3).sum()) > 0.85


def _oblique() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[-0.8, 0.6, 0], [-0.6, -0.8, 0], [0, 0, 1]]) @ np.diag([0.9, 1.1, 2.0])
    matrix[:3, 3] = (10, -20, 30)
    return matrix


OTHER_GRIDS = {
    "other spacing and size": (np.diag([-1.3, -0.9, 2.0, 1.0]), (17, 44, 37)),
    "left-handed": (np.diag([1.0, -1.0, 3.0, 1.0]), SHAPE),
    "oblique": (_oblique(), (15, 36, 44)),
    "sagittal file": (np.array([[0, 0, -3.0, 0], [-1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]]), (14, 40, 42)),
    "one slice": (np.diag([-1.0, -1.0, 3.0, 1.0]), (1, 40, 48)),
}


@pytest.mark.parametrize("name", OTHER_GRIDS)
def test_a_model_segments_other_grids_and_keeps_their_geometry(
    uncol: Callable[..., Any], model: Path, tmp_path: Path, name: str
):
    matrix, shape = OTHER_GRIDS[name]
    write_results(tmp_path, {"other.nrrd": a_larger_ball(shape, matrix).image}, {})

    code, _, err = uncol("segment", tmp_path / "other.nrrd", "--model", model, "--out", tmp_path / "out")

    assert code == 0, err
    for result, kind in (("segmentation.nii.gz", np.uint8), ("uncertainty.nii.gz", np.float32)):
        written = sitk.ReadImage(str(tmp_path / "out" / result))
        original = sitk.ReadImage(str(tmp_path / "other.nrrd"))
        assert written.GetSize() == original.GetSize()
        assert written.GetSpacing() == pytest.approx(original.GetSpacing(), rel=1e-6)
        assert written.GetOrigin() == pytest.approx(original.GetOrigin(), abs=1e-4)
        assert written.GetDirection() == pytest.approx(original.GetDirection(), abs=1e-6)
        assert sitk.GetArrayViewFromImage(written).dtype == kind
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["structures"][0]["value"] == 3
    assert report["intended_use"] == "Research use only. Not a medical device."


def test_evaluate_scores_a_perfect_segmentation_with_one_and_zero_mm(uncol: Callable[..., Any]):
    code, out, err = uncol("evaluate", "--prediction", "labels.nii.gz", "--reference", "labels.nii.gz", "--json")

    assert code == 0, err
    result = json.loads(out.splitlines()[-1])
    assert result["mean_dice"] == 1
    assert result["mean_hd95_mm"] == 0


EVALUATE = ("evaluate", "--prediction", "labels.nii.gz", "--reference")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(
            ["labels.nii.gz", "--exclude-slices", "K5"],
            'Slices "K5" are not readable. Write AXIS:N1,N2,... (I, J or K), as in K:0,8,16.\n',
            id="slices",
        ),
        pytest.param(
            ["labels.nii.gz", "--exclude-slices", "2@K:5"],
            'Slices "2@K:5" name a case, but there is only one image here. Leave out "2@".\n',
            id="case",
        ),
        pytest.param(
            ["background.nii.gz"],
            'Label map "background.nii.gz" holds only the value 0. Choose',
            id="constant reference",
        ),
        pytest.param(
            ["other.nii.gz"],
            'Segmentation "labels.nii.gz" has spacing (1, 1, 3) mm but reference "other',
            id="other grid",
        ),
        pytest.param(
            ["labels.nii.gz", "--uncertainty", "other.nii.gz"],
            'Map "other.nii.gz" has spacing (1, 1, 4) mm but reference "labels.nii.gz" has',
            id="other grid of the map",
        ),
    ],
)
def test_what_cannot_be_evaluated_gets_one_sentence_and_exit_code_2(
    uncol: Callable[..., Any], bad_files: Path, arguments: list[str], sentence: str
):
    code, out, err = uncol(*EVALUATE, *arguments)

    assert (code, out) == (2, "")
    assert err.startswith(sentence)


def test_the_help_of_fine_tune_names_the_methods_that_make_a_model(
    uncol: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "300")

    _, out, _ = uncol("fine-tune", "--help")

    assert "uncol-without-generalized" in out
    assert "frozen-teacher" not in out
    assert "supervised-all" not in out


def test_an_existing_model_is_never_overwritten(uncol: Callable[..., Any], model: Path):
    before = {each.name: each.read_bytes() for each in model.iterdir()}

    code, _, err = uncol(*FINE_TUNE, "--annotated-slices", "K:6", "--steps", "2", "--out", model)

    assert code == 2
    assert "already holds a model" in err
    assert {each.name: each.read_bytes() for each in model.iterdir()} == before


def test_a_full_disk_is_one_sentence_and_leaves_nothing(folder: Path, tmp_path: Path):
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); sys.argv[0] = 'uncol';"
        "from uncol.cli.main import main; main()"
    )
    arguments = ["segment", "ct.nii.gz", "--box", "x=11,7,2,37,33,10", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", limited, *arguments, "--cache", str(tmp_path / "cache")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert "as on a full disk). Free some space" in done.stderr
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    """Folders "image" and "labels" with a ball: two series in each, the upper slice of the second one cut off."""
    case = a_larger_ball()
    for name, volume in (("image", case.image), ("labels", case.labels)):
        grid = to_ras(volume.ijk_to_ras)  # its own inverse
        save_slices(tmp_path / name, volume.voxels[:2].astype(float), grid, number=1)
        save_slices(tmp_path / name, volume.voxels.astype(float), grid, series="2", number=2)
        upper = tmp_path / name / "2-001.dcm"
        upper.write_bytes(upper.read_bytes()[:-6])
    return tmp_path


def test_a_series_is_chosen_and_read_without_its_damaged_slices_by_every_command(
    uncol: Callable[..., Any], dicom: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    image, labels, chosen = dicom / "image", dicom / "labels", ("--series", "2", "--allow-incomplete")
    case = ("--case", image, labels, "--unlabeled", image, "--annotated-slices", "K:6", "--steps", "2")
    learn = ("fine-tune", *case, "--method", "supervised", "--config", "small.json", "--out", tmp_path / "model")
    segment = ("segment", image, "--model", tmp_path / "model", "--out", tmp_path / "out")
    evaluate = ("evaluate", "--prediction", labels, "--reference", labels)

    for command in (learn, segment, evaluate):
        refused = uncol(*command)
        assert refused[0] == 2
        assert "holds 2 DICOM series: 1 (series number 1, CT, 2 images of 48 x 40); 2 (" in refused[2]
        assert "--allow-incomplete" in uncol(*command, "--series", "2")[2]
        code, _, err = uncol(*command, *chosen)
        assert code == 0, err
        assert '1 of 12 files (cut off: "2-001.dcm")' in caplog.text
        caplog.clear()
    assert read_image(tmp_path / "out" / "uncertainty.nii.gz").shape_kji == (11, 40, 48)


@pytest.mark.realdata
def test_a_dicom_folder_is_segmented_from_a_box(uncol: Callable[..., Any], shared_data: Path, tmp_path: Path):
    series = tmp_path / "series"
    series.mkdir()
    for file in sorted((shared_data / "chaos_ct_dicom").glob("*.dcm"))[4:7]:
        shutil.copy(file, series)

    code, _, err = uncol("segment", series, "--box", "liver=60,150,0,300,390,2", "--out", tmp_path / "out")

    assert code == 0, err
    assert (read_image(tmp_path / "out" / "segmentation.nii.gz").voxels == 1).sum() > 10_000
