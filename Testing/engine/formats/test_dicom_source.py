"""What a result repeats of its DICOM images: where they lie, whose they are, and which they are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from results_in_dicom import check_with_dciodvfy, converted, found_in, saved, stack_in, written
from written_dicom import clinical, grid_lps, group, save_frames, values

from uncol.core.errors import DataError
from uncol.core.jobs import DicomChoice
from uncol.formats.dicom import Stack
from uncol.formats.dicom_results import source_of
from uncol.formats.dicom_source import refers_to
from uncol.formats.dicom_tags import tag_name
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


@pytest.mark.parametrize(
    ("tag", "value", "said"),
    [
        ("FrameOfReferenceUID", "1.2.3", r"they differ in FrameOfReferenceUID \(0020,0052\)\. Export one series"),
        ("PatientID", "CANARY-2", r"they differ in PatientID \(0010,0020\)\. Export one series again"),
        ("PatientBirthDate", "19000101", r"of different patients, studies or series: they differ in PatientBirthDate"),
        ("SOPInstanceUID", "1.2.826.0.1.3680043.8.498.77.1.1", r"different slices with the same SOPInstanceUID \("),
    ],
)
def test_slices_of_which_nobody_knows_whose_or_which_they_are_are_refused(
    tag: str, value: str, said: str, tmp_path: Path
) -> None:
    def other(number: int, header: Dataset) -> None:
        if number == 3:
            setattr(header, tag, value)

    stack = stack_in(saved(tmp_path / "ct", edit=other))

    with pytest.raises(DataError, match=said) as caught:
        source_of(stack.frames, 'Image "ct"')
    assert value not in str(caught.value)


@pytest.mark.parametrize("tag", ["StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"])
def test_a_text_in_place_of_an_identifier_is_refused_by_the_tags_name(tag: str, tmp_path: Path) -> None:
    stack = stack_in(saved(tmp_path / "ct", edit=lambda n, header: setattr(header, tag, f"CANARY-{n}")))

    with pytest.raises(DataError, match=rf'^Image "ct" has a {tag} \(.*\) that is no identifier of DICOM') as caught:
        source_of(stack.frames, 'Image "ct"')
    assert "CANARY" not in str(caught.value)


def test_images_of_a_private_class_are_refused_in_a_sentence(tmp_path: Path) -> None:
    def private(_number: int, header: Dataset) -> None:
        header.SOPClassUID = "1.3.46.670589.11.0.0.12.4"

    stack = stack_in(saved(tmp_path / "ct", edit=private))
    with pytest.raises(DataError, match=r"of a private or retired kind of DICOM images \(SOPClassUID \(0008,0016\)\)"):
        source_of(stack.frames, 'Image "ct"')


def test_some_frames_of_a_file_alone_are_refused(tmp_path: Path) -> None:
    order = [0, 0, 1, 2, 3, 4]  # the second frame is a copy in the same place
    stack = stack_in(save_frames(tmp_path / "ct.dcm", order=order, edit_header=clinical))

    assert len(stack.frames) == 5
    with pytest.raises(DataError, match="all frames of one file: do without it"):
        source_of(stack.frames, 'Image "ct"')


def test_several_files_of_a_kind_with_many_frames_are_refused_although_each_has_one(tmp_path: Path) -> None:
    for n in range(3):

        def of_one_series(header: Dataset, number: int = n) -> None:
            clinical(header)
            header.SOPInstanceUID = f"1.2.3.{number + 1}"

        lifted = grid_lps(origin=(0, 0, 2.5 * n))
        save_frames(tmp_path / "ct" / f"{n}.dcm", values(1), lifted, edit_header=of_one_series)
    stack = stack_in(tmp_path / "ct")

    assert len(stack.frames) == 3
    with pytest.raises(DataError, match=r"spread over several files of a kind with many frames"):
        source_of(stack.frames, 'Image "ct"')


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("PatientID", "CANARY-" + "0" * 58),
        ("PatientID", "CANARY\\2"),
        ("PatientID", "CANARY\t2"),
        ("PatientName", "CANARY^b^c^d^e^f"),
        ("AccessionNumber", "CANARY-0123456789"),
        ("StudyDate", "20260231"),
        ("StudyTime", "CANARY"),
        ("StudyID", "CANARY-0123456789"),
        ("PatientAge", "45"),
        ("PatientWeight", "70.1234567890123456"),
        ("PatientSex", "CANARY"),
        ("StudyDescription", "CANARY" * 11),
        ("ProcedureCodeSequence", "CANARY" * 11),
        ("StationName", "CANARY-0123456789"),
        ("PositionReferenceIndicator", "CANARY\nCANARY"),
    ],
)
def test_what_is_not_valid_is_left_empty_and_told_by_its_name(
    tag: str, value: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(_number: int, header: Dataset) -> None:
        is_sequence = tag.endswith("Sequence")
        setattr(header, tag, group(CodeValue="1", CodeMeaning=value) if is_sequence else value)

    stack = stack_in(saved(tmp_path / "ct", edit=edit))
    with caplog.at_level(logging.WARNING):
        paths = written(stack, tmp_path / "out")

    assert [each.getMessage() for each in caplog.records] == [
        f'Image "ct" holds what is not valid in {tag_name(tag)}; it is left empty in DICOM results.'
    ]
    check_with_dciodvfy(paths)
    for path in paths:
        assert not dcmread(path).get(tag)


EMPTY = ("OtherPatientIDsSequence", "ReferencedStudySequence", "ProcedureCodeSequence", "ReferencedPatientSequence")


@pytest.mark.parametrize("items", [[], [Dataset()]], ids=["no items", "an empty item"])
def test_sequences_in_which_nothing_is_said_are_not_repeated(
    items: list[Dataset], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(_number: int, header: Dataset) -> None:
        for name in EMPTY:
            setattr(header, name, items)

    paths = written(stack_in(saved(tmp_path / "ct", edit=edit)), tmp_path / "out")

    check_with_dciodvfy(paths)
    assert not any(name in dcmread(path) for path in paths for name in EMPTY)
    assert caplog.records == []


NAMED = {"ClinicalTrialSponsorName": "S", "ClinicalTrialProtocolID": "P", "ClinicalTrialSubjectID": "7"}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({**NAMED, "ClinicalTrialTimePointDescription": "first"}, ""),
        ({**NAMED, "ClinicalTrialProtocolID": ""}, "ClinicalTrialSponsorName (0012,0010)"),
        ({**NAMED, "ClinicalTrialProtocolID": "P" * 65}, "ClinicalTrialProtocolID (0012,0020)"),
        ({"ClinicalTrialSiteName": "CANARY"}, "ClinicalTrialSiteName (0012,0031)"),
        ({"ResponsiblePerson": "CANARY^A", "ResponsiblePersonRole": "PARENT"}, ""),
        ({"ResponsiblePerson": "CANARY^A"}, "ResponsiblePerson (0010,2297)"),
    ],
)
def test_what_anonymization_left_of_a_trial_or_a_person_is_repeated_only_where_it_is_valid(
    said: dict[str, str], told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(_number: int, header: Dataset) -> None:
        for name, value in said.items():
            setattr(header, name, value)

    paths = written(stack_in(saved(tmp_path / "ct", edit=edit)), tmp_path / "out")

    check_with_dciodvfy(paths)
    for path in paths:
        made = dcmread(path)
        assert {name: made.get(name) for name in said} == (dict.fromkeys(said) if told else said)
    assert told in caplog.text
    assert bool(told) is bool(caplog.records)


def test_letters_of_no_known_alphabet_are_left_empty(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved(tmp_path / "ct", edit=lambda _n, header: setattr(header, "PatientName", "XXXX^Y"))
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"XXXX", b"M\xfcl "))
    written(stack_in(folder), tmp_path / "out")

    assert dcmread(tmp_path / "out" / "segmentation.dcm").PatientName == ""
    assert "not valid in PatientName (0010,0010)" in caplog.text


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_names_of_patients_in_other_letters_come_back(charset: Any, name: str, tmp_path: Path) -> None:
    def edit(_number: int, header: Dataset) -> None:
        header.SpecificCharacterSet, header.PatientName = charset, name

    paths = written(stack_in(saved(tmp_path / "ct", edit=edit)), tmp_path / "out")
    for path in paths:
        made = dcmread(path)
        assert (made.SpecificCharacterSet, str(made.PatientName)) == ("ISO_IR 192", name)
    check_with_dciodvfy(paths)
