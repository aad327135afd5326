"""Labels and uncertainty as DICOM: what was written comes back from three readers, and a validator finds no error."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
from highdicom.color import CIELabColor
from pydicom import Dataset, dcmread
from results_in_dicom import (
    GRIDS,
    MAKER,
    OBLIQUE,
    SEGMENTS,
    SHA256,
    STRUCTURES,
    check_with_dciodvfy,
    converted,
    found_in,
    saved,
    stack_in,
    written,
)
from written_dicom import clinical, save_frames

from uncol.core.errors import DataError
from uncol.core.jobs import DicomChoice, Structure
from uncol.formats.dicom import Stack
from uncol.formats.dicom_results import Maker, Segment, color_of, dicom_results, source_of, write_dicom
from uncol.formats.read import read_volume


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
    if way == "many frames":
        stack = stack_in(save_frames(tmp_path / "ct.dcm", edit_header=clinical))
    else:
        stack = stack_in(saved(tmp_path / "ct", GRIDS.get(way, OBLIQUE)))
    labels, uncertainty = found_in(stack)
    if way == "nothing found":
        labels = labels.with_voxels(np.zeros_like(labels.voxels))

    check_with_dciodvfy(written(stack, tmp_path / "out", (labels, uncertainty)))


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


@pytest.mark.parametrize("number", ["2147483647", "-2147483648", "4"])
def test_whatever_a_structure_a_model_and_a_series_are_called_results_are_valid(number: str, tmp_path: Path) -> None:
    stack = stack_in(saved(tmp_path / "ct", edit=lambda _n, header: setattr(header, "SeriesNumber", number)))
    labels = np.full(stack.volume.shape_kji, 3, np.uint8)
    odd = "a\tb\x1b[2J\\c\u2028d" + "e" * 80
    maker = Maker("1", odd, odd, {"model": odd})
    source = source_of(stack.frames, 'Image "ct"')
    made = dicom_results(source, [labels], labels / np.float32(9), [Segment(Structure(3, odd), maker)], maker)

    paths = tmp_path / "segmentation.dcm", tmp_path / "uncertainty.dcm"
    for dataset, path in zip(made, paths, strict=True):
        write_dicom(dataset, path)
    check_with_dciodvfy(paths)
    numbers = [dcmread(path).SeriesNumber for path in paths]
    assert numbers == ([1004, 2004] if number == "4" else [1000, 2000])


def test_a_map_says_what_made_it(tmp_path: Path) -> None:
    _, path = written(stack_in(saved(tmp_path / "ct")), tmp_path / "out")

    equipment = dcmread(path).ContributingEquipmentSequence[-1]
    assert (equipment.Manufacturer, equipment.SoftwareVersions, equipment.DeviceSerialNumber) == (
        "UnCoL",
        MAKER.version,
        SHA256,
    )
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Equipment"
    assert equipment.ContributionDescription == f"model_sha256={SHA256},steps=7"


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
