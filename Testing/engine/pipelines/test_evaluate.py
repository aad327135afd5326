"""A segmentation is judged with its own uncertainty, not with that of another run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutated import counted, mutated_document

from uncol.core.errors import DataError, UncolError
from uncol.core.jobs import AnnotatedSlices, DicomChoice, Structure
from uncol.core.promise import ExpectedSlice, LeftOutCheck, Range, StructurePromise
from uncol.core.records import to_document
from uncol.core.volume import Volume
from uncol.data.io import read_image, write_results
from uncol.pipelines.evaluate import run_evaluate

SHAPE = (4, 6, 8)


def write_run(folder: Path, image_sha256: str, *, value: int = 1) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 2:4, 2:5] = value
    volumes = {"segmentation.nii.gz": labels, "uncertainty.nii.gz": np.full(SHAPE, 0.25 * value, np.float32)}
    written = {name: Volume(voxels, np.eye(4)) for name, voxels in volumes.items()}
    write_results(folder, written, {}, {"image": {"sha256": image_sha256}})


def judged(segmentation: Path, uncertainty: Path, reference: Path) -> float:
    document = run_evaluate(
        segmentation / "segmentation.nii.gz",
        reference / "segmentation.nii.gz",
        uncertainty=uncertainty / "uncertainty.nii.gz",
        structures=(),
        excluded=(),
        only=(),
        dicom=DicomChoice(),
    )
    return float(document["mean_dice"])


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    write_run(tmp_path / "a", "a" * 64)
    write_run(tmp_path / "b", "b" * 64, value=2)
    return tmp_path / "a", tmp_path / "b"


def test_the_files_of_one_run_belong_together(runs: tuple[Path, Path]) -> None:
    assert judged(runs[0], runs[0], runs[0]) == 1


@pytest.mark.parametrize("name", ["segmentation.nii.gz", "uncertainty.nii.gz"])
def test_a_file_of_another_run_beside_the_report_is_refused(runs: tuple[Path, Path], name: str) -> None:
    (runs[0] / name).write_bytes((runs[1] / name).read_bytes())

    with pytest.raises(DataError, match=f'^"{name}" is not the file that the report.json beside it was written with'):
        judged(runs[0], runs[0], runs[0])


def test_an_uncertainty_of_another_image_is_refused(runs: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match=r"were made from different images.*Choose two files of one run\.$"):
        judged(runs[0], runs[1], runs[0])


@pytest.mark.parametrize("report", [b"", b"[" * 100_000, b'{"files": 1, "image": []}', b'{"image": {"sha256": 1}}'])
def test_a_report_that_says_nothing_is_no_obstacle(runs: tuple[Path, Path], report: bytes) -> None:
    (runs[0] / "report.json").write_bytes(report)

    assert judged(runs[0], runs[0], runs[0]) == 1


def test_what_the_report_names_is_compared_where_nobody_chooses(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 2:4, 2:5] = 5
    report = {"structures": [{"name": "liver", "value": 5}]}
    write_results(tmp_path / "run", {"segmentation.nii.gz": Volume(labels, np.eye(4))}, {}, report)
    truth = labels.copy()
    truth[:, :1] = 7
    write_results(tmp_path, {"truth.nii.gz": Volume(truth, np.eye(4))}, {})

    def names(structures: tuple[Structure, ...] = ()) -> tuple[list[str], int]:
        told = run_evaluate(
            tmp_path / "run" / "segmentation.nii.gz", tmp_path / "truth.nii.gz", uncertainty=None,
            structures=structures, excluded=(), only=(), dicom=DicomChoice(),
        )  # fmt: skip
        return [each["name"] for each in told["structures"]], len(told["notes"])

    assert names() == (["liver"], 1)
    assert names((Structure(7, "other"),)) == (["other"], 0)
    write_results(tmp_path / "run", {}, {"report.json": json.dumps(report | {"files": {"segmentation.nii.gz": "0"}})})
    assert names() == (["label-5", "label-7"], 0), "another file than the report tells of"


class TestPromises:
    """The report beside a segmentation promised Dice 0.8 in two slices; slices annotated since judge it."""

    def write_promise(self, folder: Path, axis: str = "K") -> None:
        slices = tuple(ExpectedSlice(index, 40, 100) for index in (1, 2))
        promise = StructurePromise(
            "label-1", Range(0.8, 0.6, 0.9), Range(1, 1, 1), 0.9, LeftOutCheck(3, 0.7, 0.7), slices
        )
        report = {"promises": [to_document(promise)], "next_slices": {"axis": axis, "slices": []}}
        (folder / "report.json").write_text(json.dumps(report))

    def checked(self, run: Path, reference: Path, only: tuple[AnnotatedSlices, ...]) -> list[dict[str, Any]]:
        document = run_evaluate(
            run / "segmentation.nii.gz",
            reference,
            uncertainty=None,
            structures=[Structure(1, "label-1")],
            excluded=(),
            only=only,
            dicom=DicomChoice(),
        )
        promises: list[dict[str, Any]] = document["promises"]
        return promises

    def test_it_is_kept_or_broken_by_the_slices_annotated_since(self, runs: tuple[Path, Path], tmp_path: Path) -> None:
        self.write_promise(runs[0])
        truth = read_image(runs[0] / "segmentation.nii.gz")
        elsewhere = tmp_path / "reference.nii.gz"
        write_results(tmp_path, {elsewhere.name: truth.with_voxels(np.roll(truth.voxels, 2, axis=2))}, {}, {})

        (kept,) = self.checked(runs[0], runs[0] / "segmentation.nii.gz", (AnnotatedSlices("K", (2,)),))
        (broken,) = self.checked(runs[0], elsewhere, (AnnotatedSlices("K", (2,)),))

        assert kept["sentence"].startswith(
            '"label-1": promise kept. Dice 1.00 in 1 slice annotated since; promised was '
        )
        assert broken["sentence"].startswith('"label-1": promise broken. Dice 0.33 in 1 slice annotated since')

    def test_slices_that_were_not_promised_anything_judge_nothing(self, runs: tuple[Path, Path]) -> None:
        self.write_promise(runs[0])
        own = runs[0] / "segmentation.nii.gz"

        assert self.checked(runs[0], own, ()) == []
        assert self.checked(runs[0], own, (AnnotatedSlices("K", (0,)),)) == []
        assert self.checked(runs[0], own, (AnnotatedSlices("I", (2,)),)) == []


class TestNextPatient:
    def judged_with(self, run: Path, earlier: list[Path]) -> dict[str, Any]:
        file = run / "segmentation.nii.gz"
        fields: dict[str, Any] = {"uncertainty": None, "excluded": (), "only": (), "dicom": DicomChoice()}
        return run_evaluate(file, file, structures=[Structure(1, "ball")], earlier=earlier, **fields)

    def test_with_eight_earlier_patients_nine_are_enough(self, runs: tuple[Path, Path], tmp_path: Path) -> None:
        files = [tmp_path / f"{number}.json" for number in range(8)]
        for number, file in enumerate(files):
            patient = {"structures": [{"name": "ball", "dice": 0.9 - number / 100}]}
            file.write_text(json.dumps({"event": "result", **patient}))

        (enough,) = self.judged_with(runs[0], files)["next_patient"]
        (few,) = self.judged_with(runs[0], files[:3])["next_patient"]

        assert (enough["patients"], enough["least_dice"]) == (9, pytest.approx(0.83))
        assert (few["patients"], few["least_dice"], few["missing"]) == (4, None, 5)
        assert "next_patient" not in self.judged_with(runs[0], [])

    @pytest.mark.parametrize("text", ["", "[]", '{"structures": 1}', '{"structures": [{"name": "a", "dice": null}]}'])
    def test_what_is_no_evaluation_is_one_sentence(self, runs: tuple[Path, Path], tmp_path: Path, text: str) -> None:
        (tmp_path / "a.json").write_text(text)

        with pytest.raises(DataError, match=r'^"a\.json" is no evaluation\. Give what `uncol evaluate --json` wrote'):
            self.judged_with(runs[0], [tmp_path / "a.json"])

    def test_nobody_counts_twice(self, runs: tuple[Path, Path], tmp_path: Path) -> None:
        with pytest.raises(DataError, match="given twice"):
            self.judged_with(runs[0], [tmp_path / "a.json", tmp_path / "." / "a.json"])


def compared(segmentation: Path, *earlier: Path) -> dict[str, Any]:
    return run_evaluate(
        segmentation / "segmentation.nii.gz",
        segmentation / "segmentation.nii.gz",
        uncertainty=segmentation / "uncertainty.nii.gz",
        structures=(),
        excluded=(),
        only=(AnnotatedSlices("K", (1, 2)),),
        dicom=DicomChoice(),
        earlier=earlier,
    )


@pytest.mark.parametrize("count", [60, pytest.param(10_000, marks=pytest.mark.soak)])
def test_mutated_evaluations_of_earlier_patients_are_taken_or_refused(
    runs: tuple[Path, Path], tell: Callable[[str], None], tmp_path: Path, count: int
) -> None:
    earlier = json.loads(json.dumps(compared(runs[0])))

    def use(content: bytes) -> None:
        (tmp_path / "earlier.json").write_bytes(content)
        compared(runs[0], tmp_path / "earlier.json")

    tell(f"mutated evaluations of earlier patients: {counted(count, mutated_document(earlier), use, UncolError)}")


@pytest.mark.parametrize("count", [60, pytest.param(10_000, marks=pytest.mark.soak)])
def test_mutated_reports_beside_a_segmentation_are_read_or_refused(
    runs: tuple[Path, Path], tell: Callable[[str], None], count: int
) -> None:
    slices = [{"index": 1, "shared": 5.0, "size": 12.0}]
    ranges = {name: {"value": 0.9, "low": 0.8, "high": 0.95} for name in ("dice", "volume_ml")}
    left_out = {"slices": 3, "foreseen": 0.9, "found": 0.9}
    promise = {"structure": "label-1", **ranges, "with_two_more": 0.9, "left_out": left_out, "slices": slices}
    report = json.loads((runs[0] / "report.json").read_text())
    report |= {"next_slices": {"axis": "K"}, "promises": [promise]}

    def use(content: bytes) -> None:
        (runs[0] / "report.json").write_bytes(content)
        compared(runs[0])

    tell(f"mutated reports beside a segmentation: {counted(count, mutated_document(report), use, UncolError)}")


def test_an_earlier_evaluation_behind_links_in_a_circle_is_one_sentence(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "loop.json").symlink_to("loop.json")

    with pytest.raises(DataError, match=r'loop\.json" leads nowhere'):
        compared(runs[0], tmp_path / "loop.json")


def test_what_is_no_regular_file_beside_a_segmentation_is_not_waited_for(runs: tuple[Path, Path]) -> None:
    (runs[0] / "report.json").unlink()
    os.mkfifo(runs[0] / "report.json")

    with pytest.raises(DataError, match=r'The report\.json beside "segmentation\.nii\.gz" cannot be read'):
        compared(runs[0])
