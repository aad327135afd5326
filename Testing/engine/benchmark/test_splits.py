"""Splits are read as they stand in the file, and a file that would let a test case into training is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from small_benchmark import write_splits

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.splits import read_splits, splits_of
from uncol.benchmark.suites import BENCHMARKS, Subjects
from uncol.core.errors import ConfigError, DataError

GOOD = {"train": ["a", "b", "c"], "test": ["t"], "labeled_1": ["a"], "labeled_2": ["a", "c"]}
FRAMES = {name: [f"{name}-1", f"{name}-2"] for name in "abct"}


def test_lists_of_the_file_are_taken_as_they_are(tmp_path: Path) -> None:
    write_splits(tmp_path, **GOOD)

    splits = read_splits(tmp_path / "splits.json")

    assert splits.train == ("a", "b", "c")
    assert splits.test == ("t",)
    assert splits.labeled == {1: ("a",), 2: ("a", "c")}
    assert splits.case_ids["c"] == ("c",)


def test_a_patient_is_the_subject_of_both_frames(tmp_path: Path) -> None:
    write_splits(tmp_path, **GOOD, frames=FRAMES)

    splits = read_splits(tmp_path / "splits.json")

    assert splits.case_ids["a"] == ("a-1", "a-2")
    assert splits.subject_of("t-2") == "t"


def test_two_sides_of_a_subject_are_listed_apart_and_count_as_one(tmp_path: Path) -> None:
    write_splits(tmp_path, **GOOD, same_subject_pairs=[["a", "b"]])

    splits = read_splits(tmp_path / "splits.json")

    assert splits.labeled_subjects(1) == ("a",)
    assert [splits.subject_of(case_id) for case_id in "abct"] == ["a", "a", "c", "t"]


def test_the_number_of_training_subjects_stands_for_all_labels(tmp_path: Path) -> None:
    write_splits(tmp_path, **GOOD)
    splits = read_splits(tmp_path / "splits.json")

    assert splits.labeled_subjects(2) == ("a", "c")
    assert splits.labeled_subjects(3) == ("a", "b", "c")


def test_a_label_count_without_a_list_is_refused_with_those_that_have_one(tmp_path: Path) -> None:
    write_splits(tmp_path, **GOOD)
    splits = read_splits(tmp_path / "splits.json")

    with pytest.raises(ConfigError, match=re.escape("no list for 5 labeled cases, only for 1, 2, 3.")):
        splits.labeled_subjects(5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"test": ["t", "b"]}, 'lists "b" in train and in test', id="test case in train"),
        pytest.param({"labeled_2": ["a", "t"]}, 'lists "t" in labeled_2 but not in train', id="labeled test case"),
        pytest.param({"labeled_2": ["a"]}, "has too few labeled cases: labeled_2 lists 1", id="too few"),
        pytest.param({"labeled_2": ["a", "b", "c"]}, "has too many labeled cases: labeled_2 lists 3", id="too many"),
        pytest.param({"labeled_2": ["a", "a"]}, 'lists "a" more than once in "labeled_2"', id="labeled twice"),
        pytest.param({"test": ["t", "t"]}, 'lists "t" more than once in "test"', id="tested twice"),
        pytest.param({"labeled_2": []}, 'needs a list "labeled_2" of names that is not empty', id="none"),
        pytest.param({"train": None}, 'needs a list "train" of names', id="no training cases"),
        pytest.param({"same_subject_pairs": [["t", "c"]]}, '"t" and "c" of one subject on both sides', id="split pair"),
        pytest.param({"same_subject_pairs": ["tc"]}, 'needs pairs of names in "same_subject_pairs"', id="no pairs"),
        pytest.param({"frames": {"a": ["a-1"]}}, 'names no images of "b" in its "frames"', id="no frames"),
        pytest.param({"frames": FRAMES | {"t": ["t-1", "t-1"]}}, 'lists "t-1" more than once in "t"', id="frame twice"),
        pytest.param(
            {"frames": FRAMES | {"t": ["t-1", "a-1"]}}, 'lists image "a-1" with "a" and with "t"', id="tested frame"
        ),
        pytest.param(
            {"frames": FRAMES | {"b": ["a-1"]}}, 'lists image "a-1" with "a" and with "b"', id="frame of two subjects"
        ),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_splits(tmp_path, **(GOOD | change))

    with pytest.raises(DataError, match=re.escape(message)):
        read_splits(tmp_path / "splits.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read as JSON"), ("[]", "holds no JSON object"), ('{"train": ["a"], "test": ["t"]}', "labeled_N")],
)
def test_a_file_that_is_no_list_of_splits_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "splits.json").write_text(text)

    with pytest.raises(DataError, match=message):
        read_splits(tmp_path / "splits.json")


def test_missing_splits_are_named_with_the_folder_to_give(tmp_path: Path) -> None:
    message = f'The splits are missing: there is no "{tmp_path / "acdc" / "splits.json"}"'

    with pytest.raises(DataError, match=re.escape(message)):
        splits_of(BENCHMARKS["acdc"], tmp_path)


def test_a_volume_of_annotated_slices_needs_no_file_and_has_no_count_that_annotates_everything(tmp_path: Path) -> None:
    splits = splits_of(BENCHMARKS["sparse-slices-liver"], tmp_path)

    assert splits.test == ("chaos_ct_liver",)
    with pytest.raises(ConfigError, match=r"no list for 1 slice in 5, only for 4, 8, 16\."):
        splits.labeled_subjects(5)


@pytest.mark.parametrize(
    ("subjects", "images"), [("train", ["a-1", "b-1", "c-1"]), ("test", ["t-1"]), ("all", ["a-1", "b-1", "c-1", "t-1"])]
)
def test_several_volumes_of_annotated_slices_are_the_first_images_of_listed_subjects(
    tmp_path: Path, subjects: Subjects, images: list[str]
) -> None:
    write_splits(tmp_path / "acdc", **GOOD, frames=FRAMES, same_subject_pairs=[["a", "b"]])
    benchmark = replace(BENCHMARKS["sparse-slices-acdc"], subjects=subjects)

    splits = splits_of(benchmark, tmp_path)

    assert [image for subject in splits.labeled_subjects(3) for image in splits.case_ids[subject]] == images
    assert (splits.train, splits.test) == ((), splits.labeled_subjects(3))
    assert [splits.subject_of(image) for image in images] == [{"b": "a"}.get(each[0], each[0]) for each in images]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "images", "subjects"),
    [("sparse-slices-la", 16, 16), ("sparse-slices-acdc", 30, 30), ("sparse-slices-hippocampus", 44, 27)],
)
def test_the_volumes_of_annotated_slices_are_those_of_the_shared_sets(
    shared_data: Path, name: str, images: int, subjects: int
) -> None:
    reader = CaseReader(BENCHMARKS[name], shared_data)

    assert len(reader.test_case_ids) == images
    assert len({reader.splits.subject_of(each) for each in reader.test_case_ids}) == subjects
    assert all(each.endswith("_frame01") for each in reader.test_case_ids if each.startswith("patient"))


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "train", "test", "images"), [("hippocampus", 160, 44, 204), ("acdc", 30, 10, 80), ("la2018", 12, 4, 16)]
)
def test_the_shared_sets_have_the_sizes_of_their_descriptions(
    shared_data: Path, name: str, train: int, test: int, images: int
) -> None:
    splits = splits_of(BENCHMARKS[name], shared_data)

    assert (len(splits.train), len(splits.test)) == (train, test)
    assert sum(len(ids) for ids in splits.case_ids.values()) == images
    assert set(splits.labeled) >= set(BENCHMARKS[name].labeled_counts)


FOLDED = replace(BENCHMARKS["la2018-fold1"], folder="la")
SIX = {"train": ["c", "a", "d", "b"], "test": ["t", "u"], "labeled_1": ["b"], "labeled_2": ["a", "b"]}


def test_folds_test_every_subject_once_and_label_those_that_are_tested_next(tmp_path: Path) -> None:
    write_splits(tmp_path / "la", **SIX)

    folds = [splits_of(replace(FOLDED, fold=number), tmp_path) for number in (1, 2, 3)]

    assert [each.test for each in folds] == [("t", "u"), ("b", "a"), ("c", "d")]
    assert [each.labeled[2] for each in folds] == [("b", "a"), ("c", "d"), ("t", "u")]
    assert [each.labeled[1] for each in folds] == [("b",), ("c",), ("t",)]
    assert all(sorted((*each.test, *each.train)) == ["a", "b", "c", "d", "t", "u"] for each in folds)
    listed = read_splits(tmp_path / "la" / "splits.json")
    assert (folds[0].test, set(folds[0].labeled[1])) == (listed.test, set(listed.labeled[1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"train": ["c", "a", "b"]}, "5 subjects, which are not tested in folds of 2", id="left over"),
        pytest.param({"same_subject_pairs": [["c", "a"]]}, '"c" and "a" of one subject on both sides', id="split pair"),
    ],
)
def test_folds_that_would_leave_subjects_out_or_tear_them_apart_are_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    write_splits(tmp_path / "la", **(SIX | change))

    with pytest.raises(DataError, match=re.escape(message)):
        splits_of(replace(FOLDED, fold=2), tmp_path)
