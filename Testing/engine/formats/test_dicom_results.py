"""Labels and uncertainty as DICOM: what was written comes back from three readers, and a validator finds no error."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from highdicom.color import CIELabColor
from pydicom import Dataset, dcmread
from written_dicom import clinical, grid_lps, save_frames, save_slices

from uncol.core.errors import DataError
from uncol.core.jobs import DicomChoice, Structure
from uncol.core.volume import Volume
from uncol.formats.dicom import Stack, read_stack
from uncol.formats.dicom_results import Maker, Segment, color_of, dicom_results, source_of, write_dicom
from uncol.formats.dicom_source import refers_to
from uncol.formats.read import read_volume

SHA256 = "0123456789abcdef" * 4
MAKER = Maker("0.2.0", SHA256, "Research use only. UnCoL, model 0123456789ab", {"model_sha256": SHA256, "steps": "7"})
STRUCTURES = (Structure(2, "left kidney"), Structure(7, "Läsion \\ 肝"), Structure(9, "never found"))
SEGMENTS = [Segment(each, MAKER) for each in STRUCTURES]
OBLIQUE = grid_lps(turn=(10, 20, 30))
GRIDS = {
    "axial": grid_lps(),
    "oblique": OBLIQUE,
    "tipped": grid_lps(turn=(-37, 0, 0)),
    "sagittal": grid_lps(turn=(90, 0, 90)),
}
Edit = Callable[[int, Dataset], Any]


def saved(folder: Path, grid: np.ndarray = OBLIQUE, *, edit: Edit = lambda _n, _h: None, **settings: Any) -> Path:
    """A clinical series whose files are named against their places."""

    def edited(number: int, header: Dataset) -> Any:
        clinical(header)
        return edit(number, header)

    return save_slices(folder, grid=grid, edit=edited, **settings)


def stack_in(path: Path) -> Stack:
    return read_stack(path, 'Image "ct"', DicomChoice())


def found_in(stack: Stack) -> tuple[Volume, Volume]:
    """Labels 0, 2 and 7 and an uncertainty, no two slices alike."""
    draw = np.random.default_rng(5)
    shape = stack.volume.shape_kji
    labels = draw.choice(np.array([0, 2, 7], dtype=np.uint8), shape)
    labels[2] = 0  # a slice without a structure has no frame
    return stack.volume.with_voxels(labels), stack.volume.with_voxels(draw.random(shape, dtype=np.float32))


def written(stack: Stack, folder: Path, found: tuple[Volume, Volume] | None = None) -> tuple[Path, Path]:
    labels, uncertainty = found or found_in(stack)
    source = source_of(stack.frames, 'Image "ct"')
    made = dicom_results(source, [labels.voxels], uncertainty.voxels, SEGMENTS, MAKER)
    paths = folder / "segmentation.dcm", folder / "uncertainty.dcm"
    folder.mkdir()
    for dataset, path in zip(made, paths, strict=True):
        write_dicom(dataset, path)
    return paths


@pytest.fixture(params=[*GRIDS, "many frames"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Stack:
    if request.param == "many frames":
        path = save_frames(tmp_path / "ct.dcm", grid=OBLIQUE, order=[3, 1, 0, 2, 4], edit_header=clinical)
        return stack_in(path)
    return stack_in(saved(tmp_path / "ct", GRIDS[request.param]))


def frames_by_place(dataset: Dataset, frames: np.ndarray) -> dict[tuple[str, int], np.ndarray]:
    """Frames by the text of their position and their segment, 0 where there are no segments."""
    placed = {}
    for item, frame in zip(dataset.PerFrameFunctionalGroupsSequence, frames, strict=True):
        segments = item.get("SegmentIdentificationSequence")
        segment = segments[0].ReferencedSegmentNumber if segments else 0
        placed[str(item.PlanePositionSequence[0].ImagePositionPatient), segment] = frame
    return placed


def source_positions(stack: Stack) -> list[str]:
    """What the file of each slice says of its place, as text."""
    texts = []
    for frame in stack.frames:
        header = dcmread(frame.pixels.path, stop_before_pixels=True)
        if frame.pixels.frame_count > 1:
            header = header.PerFrameFunctionalGroupsSequence[frame.index].PlanePositionSequence[0]
        texts.append(str(header.ImagePositionPatient))
    return texts


def test_highdicom_reads_every_voxel_back_at_the_place_that_the_image_states(stack: Stack, tmp_path: Path) -> None:
    labels, uncertainty = found_in(stack)
    segmentation, parametric_map = written(stack, tmp_path / "out")
    seg, pm = highdicom.seg.segread(segmentation), highdicom.imread(parametric_map)

    segments = frames_by_place(seg, np.atleast_3d(seg.pixel_array))
    maps = frames_by_place(pm, np.frombuffer(pm.FloatPixelData, "<f4").reshape(-1, *uncertainty.shape_kji[1:]))
    for k, place in enumerate(source_positions(stack)):
        for number, structure in enumerate(STRUCTURES, start=1):
            mask = labels.voxels[k] == structure.value
            assert np.array_equal(segments.get((place, number), np.zeros_like(mask)), mask)
        assert np.array_equal(maps[place, 0], uncertainty.voxels[k])
    assert (place, 3) not in segments
    for made in (seg, pm):
        shared = made.SharedFunctionalGroupsSequence[0]
        directions = np.ravel([*stack.frames[0].orientation])
        assert np.allclose(shared.PlaneOrientationSequence[0].ImageOrientationPatient, directions, atol=1e-9)
        assert shared.PixelMeasuresSequence[0].PixelSpacing == list(stack.frames[0].pixel_spacing_mm)


def test_names_colors_terms_and_origin_come_back(tmp_path: Path) -> None:
    stack = stack_in(saved(tmp_path / "ct"))
    seg = highdicom.seg.segread(written(stack, tmp_path / "out")[0])

    kidney, lesion, missing = (seg.get_segment_description(number) for number in (1, 2, 3))
    assert [each.SegmentLabel for each in (kidney, lesion, missing)] == ["left kidney", "Läsion / 肝", "never found"]
    assert lesion.SegmentDescription == "Läsion \\ 肝"
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("64033007", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert kidney.segmented_property_category.meaning == "Anatomical Structure"
    assert lesion.segmented_property_type.meaning == "Tissue"
    for description, structure in zip((kidney, lesion, missing), STRUCTURES, strict=True):
        lab = CIELabColor.from_dicom_value(description.RecommendedDisplayCIELabValue)
        assert np.abs(np.subtract(lab.to_rgb(), color_of(structure.value))).max() <= 1
    algorithm = kidney.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("UnCoL", "0.2.0")
    assert algorithm.AlgorithmParameters == f"model_sha256={SHA256},steps=7"
    assert (seg.ContentDescription, seg.DeviceSerialNumber) == (MAKER.description, SHA256)


@pytest.mark.parametrize(("length", "told"), [(10240, {"first", "last"}), (10241, {"first"})])
def test_facts_are_told_as_far_as_dicom_has_room(length: int, told: set[str], tmp_path: Path) -> None:
    source = source_of(stack_in(saved(tmp_path / "ct")).frames, 'Image "ct"')
    maker = replace(MAKER, facts={"first": "1", "last": "x" * (length - len("first=1,last="))})
    labels = np.zeros((len(source.order), 6, 8), np.uint8)

    made, _ = dicom_results(source, [labels], labels.astype(np.float32), [Segment(STRUCTURES[0], maker)], maker)

    (algorithm,) = made.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert {each.split("=")[0] for each in algorithm.AlgorithmParameters.split(",")} == told
    assert len(algorithm.AlgorithmParameters) <= 10240


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_thickness_that_is_not_stated_is_the_distance_between_slices(is_empty: bool, tmp_path: Path) -> None:
    def edit(_number: int, header: Dataset) -> None:
        header.SliceThickness = None
        if not is_empty:
            del header.SliceThickness

    stack = stack_in(saved(tmp_path / "ct", edit=edit))
    segmentation, parametric_map = written(stack, tmp_path / "out")

    for made in (highdicom.seg.segread(segmentation), highdicom.imread(parametric_map)):
        measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        assert abs(measures.SliceThickness - stack.volume.spacing_mm[2]) < 1e-6


@pytest.mark.parametrize(
    "tag", ["PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"]
)
def test_a_result_refers_to_its_own_images_and_to_no_others(tag: str, tmp_path: Path) -> None:
    stack = stack_in(saved(tmp_path / "ct"))
    source = source_of(stack.frames, 'Image "ct"')
    for path in written(stack, tmp_path / "out"):
        assert refers_to(path, source)

        setattr(source.headers[0], tag, "1.2.3.4")
        assert not refers_to(path, source)
        source = source_of(stack.frames, 'Image "ct"')


def test_results_belong_to_the_patient_and_the_study_and_refer_to_the_images(stack: Stack, tmp_path: Path) -> None:
    image = dcmread(stack.frames[0].pixels.path, stop_before_pixels=True)
    wanted = {dcmread(each.pixels.path, stop_before_pixels=True).SOPInstanceUID for each in stack.frames}

    for path in written(stack, tmp_path / "out"):
        made = dcmread(path)
        for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID"):
            assert made[name].value == image[name].value
        series = made.ReferencedSeriesSequence[0]
        assert series.SeriesInstanceUID == image.SeriesInstanceUID
        assert {each.ReferencedSOPInstanceUID for each in series.ReferencedInstanceSequence} == wanted
        assert made.SeriesInstanceUID != image.SeriesInstanceUID


@pytest.mark.parametrize("way", ["axial", "oblique", "many frames", "nothing found"])
def test_dciodvfy_finds_no_error(way: str, tmp_path: Path) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("no dciodvfy: on Debian and Ubuntu, install dicom3tools")
    if way == "many frames":
        stack = stack_in(save_frames(tmp_path / "ct.dcm", edit_header=clinical))
    else:
        stack = stack_in(saved(tmp_path / "ct", GRIDS.get(way, OBLIQUE)))
    labels, uncertainty = found_in(stack)
    if way == "nothing found":
        labels = labels.with_voxels(np.zeros_like(labels.voxels))

    for path in written(stack, tmp_path / "out", (labels, uncertainty)):
        said = subprocess.run([program, "-new", str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in said.stdout + said.stderr
        assert said.returncode == 0


def converted(program: str, path: Path, folder: Path, *options: str) -> Path:
    """What dcmqi makes of a DICOM file, which is what 3D Slicer shows."""
    command = Path(sys.executable).parent / program
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [str(command), "--inputDICOM", str(path), "--outputDirectory", str(folder), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_dcmqi_reads_both_back_identically(stack: Stack, tmp_path: Path) -> None:
    labels, uncertainty = found_in(stack)
    segmentation, parametric_map = written(stack, tmp_path / "out")
    folder = converted("segimage2itkimage", segmentation, tmp_path / "seg", "--mergeSegments")
    maps = converted("paramap2itkimage", parametric_map, tmp_path / "map")

    seg = read_volume(folder / "1.nrrd", "SEG", DicomChoice())
    told = read_volume(maps / "pmap.nrrd", "map", DicomChoice())
    numbers = np.select([labels.voxels == each.value for each in STRUCTURES], [1, 2, 3])
    assert np.array_equal(seg.voxels, numbers)
    assert np.array_equal(told.voxels, uncertainty.voxels)
    for each in (seg, told):
        assert each.shares_grid_with(stack.volume)
    segments = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["segmentAttributes"][0]
    assert [each["SegmentLabel"] for each in segments][:2] == ["left kidney", "Läsion / 肝"]
    for each, structure in zip(segments, STRUCTURES, strict=False):
        assert np.abs(np.subtract(each["recommendedDisplayRGBValue"], color_of(structure.value))).max() <= 1


def test_frames_lie_as_slices_do_although_positions_differ_in_their_last_digit(tmp_path: Path) -> None:
    """Sorting the text of positions, as highdicom does, would shuffle slices whose first coordinates are rounded."""
    jitter = [0.0, 3e-6, -2e-6, 1e-6, -1e-6]

    def shifted(number: int, header: Dataset) -> None:
        x, y, z = (float(each) for each in header.ImagePositionPatient)
        header.ImagePositionPatient = [f"{x + jitter[number]:.6f}", f"{y}", f"{z}"]

    stack = stack_in(saved(tmp_path / "ct", GRIDS["axial"], edit=shifted))
    _, uncertainty = found_in(stack)
    _, parametric_map = written(stack, tmp_path / "out")

    maps = converted("paramap2itkimage", parametric_map, tmp_path / "map")
    assert np.array_equal(read_volume(maps / "pmap.nrrd", "map", DicomChoice()).voxels, uncertainty.voxels)


@pytest.mark.parametrize("tag", ["FrameOfReferenceUID", "StudyInstanceUID"])
def test_an_image_without_what_results_refer_to_is_refused_by_the_tags_name(tag: str, tmp_path: Path) -> None:
    stack = stack_in(saved(tmp_path / "ct", edit=lambda _n, header: delattr(header, tag)))

    with pytest.raises(
        DataError, match=rf'^Image "ct" has no {tag} \(\w{{4}},\w{{4}}\), which .* do without a DICOM result\.$'
    ):
        source_of(stack.frames, 'Image "ct"')


def test_slices_of_two_frames_of_reference_are_refused(tmp_path: Path) -> None:
    def other(number: int, header: Dataset) -> None:
        if number == 3:
            header.FrameOfReferenceUID = "1.2.3"

    stack = stack_in(saved(tmp_path / "ct", edit=other))

    with pytest.raises(DataError, match="different studies, series or frames of reference"):
        source_of(stack.frames, 'Image "ct"')


def test_some_frames_of_a_file_alone_are_refused(tmp_path: Path) -> None:
    order = [0, 0, 1, 2, 3, 4]  # the second frame is a copy in the same place
    stack = stack_in(save_frames(tmp_path / "ct.dcm", order=order, edit_header=clinical))

    assert len(stack.frames) == 5
    with pytest.raises(DataError, match="all frames of one file: do without it"):
        source_of(stack.frames, 'Image "ct"')


def test_what_is_not_valid_of_a_patient_is_left_empty_and_told_without_its_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_number: int, header: Dataset) -> None:
        header.PatientSex = "CANARY"
        del header.PatientBirthDate, header.StudyID

    with caplog.at_level(logging.WARNING):
        segmentation, _ = written(stack_in(saved(tmp_path / "ct", edit=broken)), tmp_path / "out")

    assert dcmread(segmentation).PatientSex == ""
    assert [each.getMessage() for each in caplog.records] == [
        'Image "ct" holds what is not valid in PatientSex (0010,0040); it is left empty in DICOM results.'
    ]


def test_names_of_patients_in_other_letters_come_back(tmp_path: Path) -> None:
    def japanese(_number: int, header: Dataset) -> None:
        header.SpecificCharacterSet = "ISO_IR 100"
        header.PatientName = "Müller^Jörg"

    for path in written(stack_in(saved(tmp_path / "ct", edit=japanese)), tmp_path / "out"):
        assert str(dcmread(path).PatientName) == "Müller^Jörg"


def test_what_highdicom_refuses_is_one_sentence_without_the_value(tmp_path: Path) -> None:
    stack = stack_in(saved(tmp_path / "ct"))
    source = source_of(stack.frames, 'Image "ct"')
    source.headers[0].PatientSex = "CANARY"
    labels, uncertainty = found_in(stack)

    with pytest.raises(DataError) as caught:
        dicom_results(source, [labels.voxels], uncertainty.voxels, SEGMENTS, MAKER)
    assert str(caught.value) == (
        'The headers of Image "ct" do not fit a DICOM result (ValueError in highdicom). '
        "Export the images from the archive again, or do without a DICOM result."
    )
