"""A kept proposal as DICOM: on the voxels of its images however they are counted, or not at all; each part's origin."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from written_dicom import clinical, grid_lps, save_frames, save_slices, to_ras

from uncol import __version__
from uncol.core.dicom_export import CodedTerm, Concept, ExportedStructure, ExportJob
from uncol.core.errors import DataError, GeometryError, UncolError
from uncol.core.jobs import DicomChoice
from uncol.core.progress import UNWATCHED
from uncol.core.volume import Volume
from uncol.core.volume_files import VolumeFile
from uncol.formats.dicom import read_stack
from uncol.pipelines.dicom_export import export_dicom

GRIDS = {"axial": grid_lps(), "oblique": grid_lps(turn=(10, 20, 30)), "sagittal": grid_lps(turn=(90, 0, 90))}
SHA256 = "0123456789abcdef" * 4
OF_MODEL = {"uncol": "0.1", "model": "organs", "model_sha256": SHA256, "versions": {"torch": "2"}}
OF_BOX = {"uncol": "0.2", "foundation_model": {"name": "LiteMedSAM", "license": "Apache-2.0"}, "versions": {}}
LIVER_TERM = CodedTerm(Concept("SCT", "123037004", "Anatomical Structure"), Concept("SCT", "10200004", "Liver"))
STRUCTURES = (
    ExportedStructure(1, "my liver", (220, 60, 10), LIVER_TERM, OF_MODEL),
    ExportedStructure(2, "spleen", (10, 200, 250), None, OF_BOX),
)


def turned(volume: Volume, way: str) -> Volume:
    """The same voxels, counted as another program counts them."""
    voxels, matrix = volume.voxels, volume.ijk_to_ras.copy()
    if "slices" in way:
        matrix[:3, 3] += matrix[:3, 2] * (len(voxels) - 1)
        matrix[:3, 2] *= -1
        voxels = voxels[::-1]
    if "rows" in way:
        matrix[:3, 3] += matrix[:3, 1] * (voxels.shape[1] - 1)
        matrix[:3, 1] *= -1
        voxels = voxels[:, ::-1]
    if "order" in way:
        matrix = matrix[:, [1, 2, 0, 3]]
        voxels = voxels.transpose(2, 0, 1)
    return Volume(np.ascontiguousarray(voxels), matrix)


class Case:
    """A series in files, and what is proposed on its voxels."""

    def __init__(self, folder: Path, image: Path) -> None:
        self.folder, self.files = folder, sorted(image.iterdir()) if image.is_dir() else [image]
        self.stack = read_stack(image, "CT", DicomChoice())
        draw = np.random.default_rng(5)
        self.liver = draw.random(self.stack.volume.shape_kji) < 0.4
        self.spleen = draw.random(self.stack.volume.shape_kji) < 0.4
        self.uncertainty = draw.random(self.stack.volume.shape_kji, dtype=np.float32)

    def job(self, change: Callable[[Volume], Volume] = lambda each: each, *, overlaps: bool = False) -> ExportJob:
        liver, spleen = np.uint8(self.liver), 2 * np.uint8(self.spleen)
        labels = [liver, spleen] if overlaps else [np.where(self.spleen, spleen, liver)]
        files = [self.write(f"labels-{n}", each, change) for n, each in enumerate(labels)]
        doubts = self.write("uncertainty", self.uncertainty, change)
        return ExportJob(self.folder, tuple(self.files), tuple(files), doubts, STRUCTURES)

    def write(self, name: str, voxels: np.ndarray, change: Callable[[Volume], Volume]) -> VolumeFile:
        return VolumeFile.write(self.folder / f"{name}.npy", change(self.stack.volume.with_voxels(voxels)))

    def export(self, job: ExportJob) -> tuple[Path, Path]:
        written = []
        for name, write in export_dicom(job, UNWATCHED).items():
            write(self.folder / name)
            written.append(self.folder / name)
        assert [each.name for each in written] == ["segmentation.dcm", "uncertainty.dcm"]
        return written[0], written[1]

    def check(self, paths: tuple[Path, Path], *, overlaps: bool = False) -> None:
        """Compare each frame with the slice whose file states the same place."""
        seg, pm = highdicom.seg.segread(paths[0]), highdicom.imread(paths[1])
        segments = by_place(seg, np.atleast_3d(seg.pixel_array))
        maps = by_place(pm, np.frombuffer(pm.FloatPixelData, "<f4").reshape(self.uncertainty.shape))
        masks = (self.liver if overlaps else self.liver & ~self.spleen), self.spleen
        for k, frame in enumerate(self.stack.frames):
            header = dcmread(frame.pixels.path, stop_before_pixels=True)
            if frame.pixels.frame_count > 1:
                header = header.PerFrameFunctionalGroupsSequence[frame.index].PlanePositionSequence[0]
            place = str(header.ImagePositionPatient)
            for number, mask in enumerate(masks, start=1):
                assert np.array_equal(segments[place, number], mask[k])
            assert np.array_equal(maps[place, 0], self.uncertainty[k])


def by_place(made: Dataset, frames: np.ndarray) -> dict[tuple[str, int], np.ndarray]:
    placed = {}
    for item, frame in zip(made.PerFrameFunctionalGroupsSequence, frames, strict=True):
        segments = item.get("SegmentIdentificationSequence")
        number = segments[0].ReferencedSegmentNumber if segments else 0
        placed[str(item.PlanePositionSequence[0].ImagePositionPatient), number] = frame
    return placed


def case_of(tmp_path: Path, kind: str = "oblique") -> Case:
    if kind == "many frames":
        image = save_frames(tmp_path / "ct.dcm", grid=GRIDS["oblique"], order=[3, 1, 0, 2, 4], edit_header=clinical)
    else:
        image = save_slices(tmp_path / "ct", grid=GRIDS[kind], edit=lambda _n, header: clinical(header))
    (tmp_path / "job").mkdir()
    return Case(tmp_path / "job", image)


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        *(("oblique", way) for way in ("as it is", "slices", "rows and slices", "order", "order and rows and slices")),
        *((kind, "order and rows and slices") for kind in ("axial", "sagittal", "many frames")),
    ],
)
def test_every_voxel_comes_back_in_its_place_however_the_volume_counts_them(
    kind: str, way: str, tmp_path: Path
) -> None:
    case = case_of(tmp_path, kind)

    case.check(case.export(case.job(lambda each: turned(each, way))))


def test_structures_that_overlap_keep_all_their_voxels(tmp_path: Path) -> None:
    case = case_of(tmp_path)

    case.check(case.export(case.job(lambda each: turned(each, "slices"), overlaps=True)), overlaps=True)


def test_files_in_another_order_are_the_same_series(tmp_path: Path) -> None:
    case = case_of(tmp_path)
    job = case.job()

    case.check(case.export(replace(job, images=tuple(case.files[each] for each in (3, 0, 4, 1, 2)))))


def test_each_structure_says_what_it_is_and_who_made_it(tmp_path: Path) -> None:
    case = case_of(tmp_path)
    segmentation, uncertainty = case.export(case.job())

    seg, pm = highdicom.seg.segread(segmentation), dcmread(uncertainty)
    liver, spleen = seg.get_segment_description(1), seg.get_segment_description(2)
    assert (liver.SegmentLabel, liver.segmented_property_type.value) == ("my liver", "10200004")
    assert (spleen.SegmentLabel, spleen.segmented_property_type.value) == ("spleen", "78961009")
    for each, wanted in ((liver, (220, 60, 10)), (spleen, (10, 200, 250))):
        color = highdicom.color.CIELabColor.from_dicom_value(each.RecommendedDisplayCIELabValue).to_rgb()
        assert np.abs(np.subtract(color, wanted)).max() <= 2
    first, second = (each.SegmentationAlgorithmIdentificationSequence[0] for each in (liver, spleen))
    assert (first.AlgorithmVersion, second.AlgorithmVersion) == ("0.1", "0.2")
    assert f"model_sha256={SHA256}" in first.AlgorithmParameters
    assert "foundation_model_license=Apache-2.0" in second.AlgorithmParameters
    assert "model_sha256" not in second.AlgorithmParameters
    for made in (seg, pm):
        assert made.DeviceSerialNumber == SHA256
        assert made.SoftwareVersions == __version__
        assert (
            made.ContentDescription == f"Research use only. UnCoL {__version__}, model {SHA256[:12]}, LiteMedSAM"[:64]
        )


def test_what_is_not_known_of_an_origin_is_not_made_up(tmp_path: Path) -> None:
    case = case_of(tmp_path)
    unknown = tuple(replace(each, origin={}) for each in STRUCTURES)

    seg = highdicom.seg.segread(case.export(replace(case.job(), structures=unknown))[0])

    assert seg.DeviceSerialNumber == "unknown"
    algorithm = seg.get_segment_description(1).SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmVersion == "unknown"


def cropped(volume: Volume) -> Volume:
    return Volume(volume.voxels[1:], volume.ijk_to_ras)


def resampled(volume: Volume) -> Volume:
    return Volume(volume.voxels.repeat(2, axis=2), volume.ijk_to_ras @ np.diag([0.5, 1, 1, 1]))


def moved(volume: Volume) -> Volume:
    return Volume(volume.voxels, np.linalg.inv(to_ras(np.eye(4))) @ grid_lps(origin=(0.1, 0, 0)))


def turned_a_little(volume: Volume) -> Volume:
    return Volume(
        volume.voxels, to_ras(grid_lps(turn=(0, 0, 3))) @ np.linalg.inv(to_ras(grid_lps())) @ volume.ijk_to_ras
    )


@pytest.mark.parametrize("change", [cropped, resampled, moved, turned_a_little])
def test_other_voxels_than_those_of_the_images_are_refused(change: Callable[[Volume], Volume], tmp_path: Path) -> None:
    case = case_of(tmp_path)

    with pytest.raises(
        GeometryError, match=r"^The volume does not have the voxels of its DICOM images any more, .*\.$"
    ):
        export_dicom(case.job(change), UNWATCHED)


def without_a_file(case: Case) -> None:
    case.files[1].unlink()


def cut_off(case: Case) -> None:
    case.files[1].write_bytes(case.files[1].read_bytes()[:300])


def no_image(case: Case) -> None:
    case.files[1].write_text("canary")


def of_another_place(case: Case) -> None:
    header = dcmread(case.files[1])
    header.ImagePositionPatient = [1, 2, 3]
    header.save_as(case.files[1])


def of_the_same_place(case: Case) -> None:
    header = dcmread(case.files[1])
    header.ImagePositionPatient = dcmread(case.files[2]).ImagePositionPatient
    header.save_as(case.files[1])


def of_another_series(case: Case) -> None:
    header = dcmread(case.files[1])
    header.SeriesInstanceUID = "1.2.3"
    header.save_as(case.files[1])


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (without_a_file, "The DICOM series lacks 1 of its 5 files: they were moved or deleted. Import it again."),
        (cut_off, "The DICOM series has images that cannot be used (1 of 5: "),
        (no_image, "The DICOM series has images that cannot be used (1 of 5: no DICOM file). Import it again."),
        (of_another_place, "The DICOM series is no straight stack of slices at even distances"),
        (of_the_same_place, "The DICOM series has images that do not lie in one stack"),
        (
            of_another_series,
            "The DICOM series has slices of different patients, studies or series: they differ in",
        ),
    ],
)
def test_files_that_are_not_as_they_were_are_one_sentence_that_names_none(
    harm: Callable[[Case], None], sentence: str, tmp_path: Path
) -> None:
    case = case_of(tmp_path)
    job = case.job()
    harm(case)

    with pytest.raises(UncolError) as caught:
        export_dicom(job, UNWATCHED)

    assert str(caught.value).startswith(sentence)
    assert ".dcm" not in str(caught.value)


def test_labels_and_maps_that_fit_no_structure_are_refused(tmp_path: Path) -> None:
    case = case_of(tmp_path)
    job = case.job()

    with pytest.raises(DataError, match="values that no structure has"):
        export_dicom(replace(job, structures=STRUCTURES[:1]), UNWATCHED)
    for wrong in (np.float32(1.5), np.float32(np.nan)):
        case.uncertainty[0, 0, 0] = wrong
        with pytest.raises(DataError, match="outside 0 to 1"):
            export_dicom(case.job(), UNWATCHED)
    with pytest.raises(GeometryError, match="do not lie on one grid"):
        export_dicom(replace(case.job(), labels=(case.write("other", np.uint8(case.liver), cropped),)), UNWATCHED)


@pytest.mark.parametrize("overlaps", [False, True])
def test_dciodvfy_finds_no_error(overlaps: bool, tmp_path: Path) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("no dciodvfy: on Debian and Ubuntu, install dicom3tools")
    case = case_of(tmp_path)

    for path in case.export(case.job(overlaps=overlaps)):
        said = subprocess.run([program, "-new", str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in said.stdout + said.stderr
        assert said.returncode == 0
