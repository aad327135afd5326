"""What a run may see: scaled images, consecutive labels, and never the reference of a test case."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from small_benchmark import TEST, small_set, write_case

from uncol.benchmark.cases import CaseReader, annotated_indices, check_values, scale_by_itself, select_structures
from uncol.benchmark.suites import BENCHMARKS, Annotation
from uncol.core.errors import DataError
from uncol.core.jobs import AnnotatedSlices, Structure

HIPPOCAMPUS = BENCHMARKS["hippocampus"]
LIVER = replace(BENCHMARKS["sparse-slices-liver"], folder="hippocampus", structures=(Structure(2, "liver"),))


def test_percentiles_of_a_volume_become_0_and_1_and_what_lies_beyond_is_cut() -> None:
    voxels = np.arange(1001, dtype=np.int16).reshape(7, 11, 13)  # percentiles 0.5 and 99.5 are 5 and 995

    scaled = scale_by_itself(voxels)

    assert scaled.dtype == np.float32
    assert scaled.ravel()[[0, 5, 500, 995, 1000]].tolist() == pytest.approx([0, 0, 0.5, 1, 1])


def test_a_volume_of_nearly_nothing_is_scaled_by_its_extremes() -> None:
    voxels = np.zeros((10, 20, 30), dtype=np.float32)
    voxels[5, 5, 5] = 8

    scaled = scale_by_itself(voxels)

    assert (scaled.max(), scaled.sum()) == (1, 1)


def test_chosen_structures_are_renumbered_and_others_become_background() -> None:
    voxels = np.array([[[0, 52, 4, 1, 255]]], dtype=np.uint8)

    selected = select_structures(voxels, (Structure(1, "spleen"), Structure(52, "aorta")))

    assert selected.tolist() == [[[0, 2, 0, 1, 255]]]


def test_labels_that_are_not_consecutive_are_refused_with_what_they_are() -> None:
    voxels = np.array([[[0, 1, 4, 255]]], dtype=np.uint8)
    message = 'Labels of case "a" are not consecutive: they are 0, 1, 4, where 0 to 2 are expected.'

    with pytest.raises(DataError, match=re.escape(message)):
        check_values(voxels, 2, "a")


def test_a_run_sees_labeled_and_unlabeled_training_cases_and_the_images_of_the_test_cases(reader: CaseReader) -> None:
    cases = reader.cases(2)

    assert list(cases.labeled) == ["hippocampus_001", "hippocampus_004"]
    assert list(cases.unlabeled) == ["hippocampus_002", "hippocampus_003", "hippocampus_005", "hippocampus_006"]
    assert list(cases.test) == ["hippocampus_101", "hippocampus_102"]
    assert [each.name for each in cases.structures] == ["anterior", "posterior"]
    assert np.unique(cases.labeled["hippocampus_001"].labels.voxels).tolist() == [0, 1, 2]
    assert all(0 <= image.voxels.min() < image.voxels.max() <= 1 for image in cases.unlabeled.values())


def test_with_all_labels_nothing_is_unlabeled(reader: CaseReader) -> None:
    cases = reader.cases(6)

    assert len(cases.labeled) == 6
    assert cases.unlabeled == {}


def test_every_nth_slice_of_a_volume_is_known_and_the_others_are_scored(phantom_data: Path) -> None:
    reader = CaseReader(replace(LIVER, volume="hippocampus_001"), phantom_data)

    cases = reader.cases(4)

    (case,) = cases.labeled.values()
    reference = reader.reference("hippocampus_001").voxels
    unknown = [bool((each == 255).all()) for each in case.labels.voxels]
    assert unknown == [False, True, True, True, False, True, True, True]
    assert (case.labels.voxels[4] == reference[4]).all()
    assert np.unique(reference).tolist() == [0, 1]  # 2 in the file is the only structure, 1 is background
    assert cases.unlabeled == {}
    assert reader.annotated("hippocampus_001", 4) == AnnotatedSlices("K", (0, 4))
    assert cases.test["hippocampus_001"].voxels.max() > 90  # a CT keeps its own scale


def test_a_structure_in_no_annotated_slice_is_named_as_in_the_file_with_what_helps(phantom_data: Path) -> None:
    reader = CaseReader(replace(LIVER, volume="hippocampus_001"), phantom_data)  # 2 is in slices 2 to 5
    message = (
        'No annotated slice of "hippocampus_001" holds "liver" (label 2) with 1 slice in 8. Choose another --labeled.'
    )

    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        reader.cases(8)


SHOWN = np.zeros((10, 1, 4), dtype=np.uint8)
SHOWN[1:8, 0, 1], SHOWN[4:6, 0, 2], SHOWN[9, 0, 3] = 1, 2, 255
TWO = (Structure(5, "liver"), Structure(6, "cyst"))


@pytest.mark.parametrize(
    ("annotation", "ends", "labeled", "indices"),
    [
        pytest.param("every n-th", False, 4, (0, 4, 8), id="every fourth"),
        pytest.param("n spread evenly", False, 3, (0, 4, 9), id="three: 9 / 2 = 4.5 goes to the even neighbor"),
        pytest.param("n spread evenly", False, 4, (0, 3, 6, 9), id="four"),
        pytest.param("every n-th", True, 4, (0, 1, 4, 5, 7, 8), id="with both ends of both structures"),
    ],
)
def test_which_slices_are_annotated_follows_from_their_number_and_from_ends_where_these_are_known(
    annotation: Annotation, ends: bool, labeled: int, indices: tuple[int, ...]
) -> None:
    benchmark = replace(LIVER, structures=TWO, annotation=annotation, ends_annotated=ends)

    assert annotated_indices(SHOWN, labeled, benchmark) == indices


def test_every_volume_of_several_is_a_task_of_its_own_with_its_own_slices(phantom_data: Path) -> None:
    several = replace(LIVER, volume="", subjects="test", modality="MR", structures=(Structure(2, "liver"),))
    reader = CaseReader(several, phantom_data)

    cases = reader.cases(4)

    assert list(cases.labeled) == list(cases.test) == reader.test_case_ids == TEST
    assert cases.unlabeled == {}
    for case_id, case in cases.labeled.items():
        reference = reader.reference(case_id).voxels
        assert reader.annotated(case_id, 4) == AnnotatedSlices("K", (0, 4))
        assert (case.labels.voxels[[0, 4]] == reference[[0, 4]]).all()
        assert (case.labels.voxels[[1, 2, 3, 5, 6, 7]] == 255).all()
        assert (case.image.voxels.min(), case.image.voxels.max()) == (0, 1)


def test_a_structure_in_no_slice_at_all_is_a_matter_of_the_label_map(phantom_data: Path) -> None:
    spleen = replace(LIVER, volume="hippocampus_001", structures=(Structure(3, "spleen"),))
    message = 'Label map of "hippocampus_001" holds no "spleen" (label 3). Check the label map.'

    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        CaseReader(spleen, phantom_data).cases(4)


def test_reading_everything_tells_the_part_that_has_been_read(reader: CaseReader) -> None:
    assert list(reader.read_all([2])) == pytest.approx([number / 8 for number in range(8)])


@pytest.mark.parametrize("spoiled", ["b", "c"])
def test_reading_everything_finds_a_wrong_label_map_of_any_count_and_of_a_test_case(
    tmp_path: Path, spoiled: str
) -> None:
    data = small_set(tmp_path)
    write_case(data / "hippocampus", spoiled, np.arange(24.0).reshape(2, 3, 4), np.arange(24).reshape(2, 3, 4) % 5)
    message = f'Labels of case "{spoiled}" are not consecutive: they are 0, 1, 2, 3, 4, where 0 to 2 are expected.'

    with pytest.raises(DataError, match=re.escape(message)):
        list(CaseReader(HIPPOCAMPUS, data).read_all([1, 2]))


def test_reading_everything_does_not_ask_for_labels_that_no_run_needs(tmp_path: Path) -> None:
    data = small_set(tmp_path)
    (data / "hippocampus" / "labels" / "b.nii.gz").write_bytes(b"damaged")

    assert list(CaseReader(HIPPOCAMPUS, data).read_all([1])) == pytest.approx([0, 1 / 3, 2 / 3])


def test_cases_are_scored_everywhere(reader: CaseReader) -> None:
    assert reader.annotated("hippocampus_101", 2) is None


@pytest.mark.parametrize(("folder", "kind"), [("labels", "label map"), ("images", "image")])
def test_a_case_without_its_label_map_or_image_is_named(tmp_path: Path, folder: str, kind: str) -> None:
    data = small_set(tmp_path)
    (data / "hippocampus" / folder / "c.nii.gz").unlink()

    with pytest.raises(DataError, match=f'Case "c" has no {kind}: there is no ".*c.nii.gz". Add the file or'):
        CaseReader(HIPPOCAMPUS, data)


def test_a_structure_that_no_labeled_case_shows_is_named(tmp_path: Path) -> None:
    data = small_set(tmp_path)
    labels = np.zeros((2, 3, 4))
    labels[0] = 2
    write_case(data / "hippocampus", "a", np.arange(24.0).reshape(2, 3, 4), labels)

    with pytest.raises(DataError, match='no labeled case holds label 1, "anterior"; they hold 0, 2'):
        CaseReader(HIPPOCAMPUS, data).cases(1)


def test_an_image_with_more_channels_than_the_others_is_named(tmp_path: Path) -> None:
    data = small_set(tmp_path)
    two_channels = sitk.GetImageFromArray(np.random.default_rng(0).random((2, 3, 4, 2)), isVector=True)
    sitk.WriteImage(two_channels, str(data / "hippocampus" / "images" / "b.nii.gz"))

    with pytest.raises(DataError, match=r'Image "b.nii.gz" .* a single real number is needed'):
        CaseReader(HIPPOCAMPUS, data).cases(1)
