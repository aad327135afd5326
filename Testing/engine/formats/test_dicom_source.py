"""What a result repeats of its DICOM images: where they lie, whose they are, and which they are."""

from __future__ import annotations

import logging
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from results_in_dicom import check_with_dciodvfy, converted, found_in, saved, stack_in, written
from written_dicom import clinical, group, save_frames

from uncol.core.errors import DataError
from uncol.core.jobs import DicomChoice
from uncol.formats.dicom import Stack
from uncol.formats.dicom_results import source_of
from uncol.formats.dicom_source import refers_to
from uncol.formats.read import read_volume


def check_read_back(stack: Stack, folder: Path) -> None:
    """Results of the images are valid, and 3D Slicer and highdicom read them where the voxels lie."""
    labels, uncertainty = found_in(stack)
    segmentation, parametric_map = written(stack, folder, (labels, uncertainty))

    seg = converted("segimage2itkimage", segmentation, folder / "seg", "--mergeSegments") / "1.nrrd"
    pmap = converted("paramap2itkimage", parametric_map, folder / "map") / "pmap.nrrd"
    told = [read_volume(path, path.name, DicomChoice()) for path in (seg, pmap)]
    assert all(each.shares_grid_with(stack.volume) for each in told)
    assert np.array_equal(told[0].voxels > 0, labels.voxels > 0)
    assert np.array_equal(told[1].voxels, uncertainty.voxels)
    assert highdicom.seg.segread(segmentation).get_volume_geometry(allow_missing_positions=True) is not None
    check_with_dciodvfy((segmentation, parametric_map))


@pytest.mark.parametrize("thickness", [None, "0", "-2.5", "", "deleted"])
@pytest.mark.parametrize("has_many_frames", [False, True])
def test_a_thickness_that_is_not_stated_is_the_distance_between_slices(
    thickness: str | None, has_many_frames: bool, tmp_path: Path
) -> None:
    def edit(header: Dataset) -> None:
        header.SliceThickness = thickness if thickness != "deleted" else None
        if thickness == "deleted":
            del header.SliceThickness

    if has_many_frames:
        shared = {"edit_shared": lambda each: edit(each.PixelMeasuresSequence[0])}
        stack = stack_in(save_frames(tmp_path / "ct.dcm", edit_header=clinical, **shared))
    else:
        stack = stack_in(saved(tmp_path / "ct", edit=lambda _number, header: edit(header)))
    check_read_back(stack, tmp_path / "out")

    measures = dcmread(tmp_path / "out" / "segmentation.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == pytest.approx((2.5, 2.5))


def test_a_thickness_that_is_stated_stays_whatever_the_distance_is(tmp_path: Path) -> None:
    def thick(_number: int, header: Dataset) -> None:
        header.SliceThickness, header.SpacingBetweenSlices = "3.75", "0"

    written(stack_in(saved(tmp_path / "ct", edit=thick)), tmp_path / "out")

    measures = dcmread(tmp_path / "out" / "segmentation.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == pytest.approx((3.75, 2.5))


def test_slices_whose_orientation_and_spacing_differ_in_the_last_digit_have_a_result(tmp_path: Path) -> None:
    def rounded(number: int, header: Dataset) -> None:
        header.ImageOrientationPatient = [
            f"{float(each) + number * 1e-6:.7f}" for each in header.ImageOrientationPatient
        ]
        header.PixelSpacing = [f"{float(each) + number * 1e-6:.7f}" for each in header.PixelSpacing]

    check_read_back(stack_in(saved(tmp_path / "ct", edit=rounded)), tmp_path / "out")


def test_a_file_that_says_of_each_frame_where_it_lies_has_a_result(tmp_path: Path) -> None:
    def of_each(number: int, item: Dataset) -> None:
        item.PixelMeasuresSequence = group(PixelSpacing=["0.9", "0.8"], SliceThickness="2.5")
        item.PlaneOrientationSequence = group(ImageOrientationPatient=["1", f"{number * 1e-6:.7f}", "0", "0", "1", "0"])

    def of_none(shared: Dataset) -> None:
        del shared.PixelMeasuresSequence, shared.PlaneOrientationSequence

    path = save_frames(tmp_path / "ct.dcm", edit=of_each, edit_shared=of_none, edit_header=clinical)
    check_read_back(stack_in(path), tmp_path / "out")


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
