"""The images and label maps of a benchmark, brought to one scale and one set of label values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uncol.benchmark.moving_part import Window, cut, moving_window, put_back
from uncol.benchmark.prediction import Prediction
from uncol.benchmark.splits import splits_of
from uncol.benchmark.suites import Benchmark
from uncol.core.errors import DataError
from uncol.core.jobs import AnnotatedSlices, Structure
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.data.cases import LabeledCase
from uncol.data.io import read_image, read_labels

_ENDING = ".nii.gz"
_PERCENTILES = (0.5, 99.5)
"""Grey values of an MR volume that become 0 and 1; the same habit as nnU-Net's clipping."""


@dataclass(frozen=True)
class Cases:
    """What one run may see. References of test cases are not in it.

    Attributes:
        benchmark: Where they come from.
        structures: What to segment, with label values 1, 2, 3, ...
        labeled: Image and label map of each labeled case by its name; 255 is unknown. With slices, each of them is a
            task of its own, and also to be segmented.
        unlabeled: Images without labels by their names.
        test: Images to segment by their names.
    """

    benchmark: Benchmark
    structures: tuple[Structure, ...]
    labeled: Mapping[str, LabeledCase]
    unlabeled: Mapping[str, Volume]
    test: Mapping[str, Volume]


class CaseReader:
    """Reads the cases of one benchmark, each file once.

    Args:
        benchmark: What to read.
        data: Folder that holds the benchmark's folder.

    Raises:
        DataError: If the splits or a file that they name are missing.
    """

    def __init__(self, benchmark: Benchmark, data: Path) -> None:
        self.benchmark, self.splits = benchmark, splits_of(benchmark, data)
        self._folder = data / benchmark.folder
        self._whole_image, self._labels = cache(self._read_image), cache(self._read_labels)
        self._image, self._window = cache(self._cut_image), cache(self._find_window)
        for case_id in self._case_ids((*self.splits.train, *self.splits.test)):
            self._check_files(case_id)

    def cases(self, labeled: int) -> Cases:
        """Return what a run with a number of labeled subjects may see.

        With slices, `labeled` says every how manieth slice of a volume is annotated, or how many are.

        Raises:
            ConfigError: If there is no list of so many.
            DataError: If an image or label map cannot be used.
        """
        subjects = self.splits.labeled_subjects(labeled)
        structures = self.benchmark.learned_structures
        if self.benchmark.supervision == "slices":
            known = {each: self._case_of_slices(each, labeled) for each in self.test_case_ids}
            rest: list[str] = []
        else:
            known = {each: self._labeled_case(each) for each in self._case_ids(subjects)}
            rest = [subject for subject in self.splits.train if subject not in subjects]
            check_all_labeled(known, structures)
        unlabeled = {each: self._image(each) for each in self._case_ids(rest)}
        test = {each: self._image(each) for each in self.test_case_ids}
        return Cases(self.benchmark, structures, known, unlabeled, test)

    def read_all(self, labeled_counts: Collection[int]) -> Iterator[float]:
        """Read and check what runs with these label counts need, and the references that they are scored by.

        Yields:
            Before each case the part that has been read, in [0, 1].

        Raises:
            ConfigError: If there is no list of so many.
            DataError: If an image or label map cannot be used.
        """
        labeled = [subject for count in labeled_counts for subject in self.splits.labeled_subjects(count)]
        with_labels = set(self._case_ids((*labeled, *self.splits.test)))
        case_ids = self._case_ids((*self.splits.train, *self.splits.test))
        for number, case_id in enumerate(case_ids):
            yield number / len(case_ids)
            (self._labels if case_id in with_labels else self._image)(case_id)
        for count in labeled_counts:
            self.cases(count)

    @property
    def test_case_ids(self) -> list[str]:
        """Names of all test cases."""
        return self._case_ids(self.splits.test)

    def image(self, case_id: str) -> Volume:
        """Return the image of a case as a run sees it."""
        return self._image(case_id)

    def reference(self, case_id: str) -> Volume:
        """Return the label map that a test case is scored by, all of it, with label values 1, 2, 3, ..."""
        return self._labels(case_id)

    def in_whole_image(self, case_id: str, prediction: Prediction) -> Prediction:
        """Return what was found in the image of a test case on the grid of its reference."""
        window, whole = self._window(case_id), self._whole_image(case_id)
        if window is None:
            return prediction
        labels, uncertainty = prediction.labels, prediction.uncertainty
        return Prediction(
            put_back(labels, whole, window), None if uncertainty is None else put_back(uncertainty, whole, window)
        )

    def annotated(self, case_id: str, labeled: int) -> AnnotatedSlices | None:
        """Return the annotated slices of a test case, which are not scored; None where whole cases are labeled."""
        if self.benchmark.supervision == "cases":
            return None
        return AnnotatedSlices("K", annotated_indices(self._labels(case_id).voxels, labeled, self.benchmark))

    def _case_of_slices(self, case_id: str, labeled: int) -> LabeledCase:
        labels = self._labels(case_id)
        check_all_annotated(labels.voxels, labeled, self.benchmark, case_id)
        known, annotated = np.full_like(labels.voxels, UNKNOWN_LABEL), self.annotated(case_id, labeled)
        if annotated is not None:
            known[list(annotated.indices)] = labels.voxels[list(annotated.indices)]
        return LabeledCase(self._image(case_id), labels.with_voxels(known))

    def _labeled_case(self, case_id: str) -> LabeledCase:
        labels, window = self._labels(case_id), self._window(case_id)
        return LabeledCase(self._image(case_id), labels if window is None else cut(labels, window))

    def _case_ids(self, subjects: Iterable[str]) -> list[str]:
        return [case_id for subject in subjects for case_id in self.splits.case_ids[subject]]

    def _check_files(self, case_id: str) -> None:
        for kind, folder in (("image", "images"), ("label map", "labels")):
            path = self._folder / folder / f"{case_id}{_ENDING}"
            if not path.exists():
                message = f'Case "{case_id}" has no {kind}: there is no "{path}". Add the file or correct the splits.'
                raise DataError(message)

    def _read_image(self, case_id: str) -> Volume:
        image = read_image(self._folder / "images" / f"{case_id}{_ENDING}")
        return image if self.benchmark.modality == "CT" else image.with_voxels(scale_by_itself(image.voxels))

    def _cut_image(self, case_id: str) -> Volume:
        image, window = self._whole_image(case_id), self._window(case_id)
        return image if window is None else cut(image, window)

    def _find_window(self, case_id: str) -> Window | None:
        """Return the part of a subject's images in which most moves, where the benchmark asks for it."""
        side = self.benchmark.moving_side_vox
        if not side:
            return None
        phases = next(ids for ids in self.splits.case_ids.values() if case_id in ids)
        first, last = (self._whole_image(each).voxels for each in (phases[0], phases[-1]))
        if first.shape != last.shape:
            message = f'The phases "{phases[0]}" and "{phases[-1]}" differ in size, so that nothing tells what moves.'
            raise DataError(message)
        return moving_window(first, last, side)

    def _read_labels(self, case_id: str) -> Volume:
        labels = read_labels(self._folder / "labels" / f"{case_id}{_ENDING}", self._whole_image(case_id), case_id)
        if self.benchmark.supervision == "slices":
            return labels.with_voxels(select_structures(labels.voxels, self.benchmark.structures))
        check_values(labels.voxels, len(self.benchmark.structures), case_id)
        return labels


def scale_by_itself(voxels: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return grey values (K, J, I) in [0, 1]: 0 and 1 are the 0.5th and 99.5th percentile of the volume.

    Where these are alike (nearly all is background), the smallest and largest grey value take their place.
    """
    numbers = voxels.astype(np.float32)
    low, high = np.percentile(numbers, _PERCENTILES)
    if low == high:
        low, high = numbers.min(), numbers.max()
    return np.clip((numbers - low) / (high - low), 0, 1).astype(np.float32)


def select_structures(voxels: NDArray[np.uint8], structures: tuple[Structure, ...]) -> NDArray[np.uint8]:
    """Return labels (K, J, I) with the structures as 1, 2, 3, ... and everything else as background."""
    new_values = np.zeros(UNKNOWN_LABEL + 1, dtype=np.uint8)
    new_values[UNKNOWN_LABEL] = UNKNOWN_LABEL
    for value, structure in enumerate(structures, start=1):
        new_values[structure.value] = value
    return new_values[voxels]


def check_values(voxels: NDArray[np.uint8], structure_count: int, case_id: str) -> None:
    """Make sure that labels (K, J, I) are 0, 1, ... up to the number of structures, or 255.

    Raises:
        DataError: If there is another value.
    """
    values = [value for value in np.unique(voxels).tolist() if value != UNKNOWN_LABEL]
    if values and values[-1] > structure_count:
        wanted = " to ".join(map(str, (0, structure_count)))
        message = (
            f'Labels of case "{case_id}" are not consecutive: they are {", ".join(map(str, values))}, '
            f"where {wanted} are expected. Renumber the label map."
        )
        raise DataError(message)


def check_all_labeled(labeled: Mapping[str, LabeledCase], structures: tuple[Structure, ...]) -> None:
    """Make sure that every structure is labeled somewhere.

    Raises:
        DataError: If one is not.
    """
    values = sorted({value for case in labeled.values() for value in np.unique(case.labels.voxels).tolist()})
    for structure in structures:
        if structure.value not in values:
            message = (
                f'Labels are not consecutive: no labeled case holds label {structure.value}, "{structure.name}"; they '
                f"hold {', '.join(str(value) for value in values if value != UNKNOWN_LABEL)}. Check the label maps."
            )
            raise DataError(message)


def annotated_indices(voxels: NDArray[np.uint8], labeled: int, benchmark: Benchmark) -> tuple[int, ...]:
    """Return which slices of labels (K, J, I) a benchmark takes as annotated, first ones first.

    Every n-th is slice 0, n, 2n, ...; n spread evenly are slices round((K - 1) i / (n - 1)) for i = 0, ..., n - 1 (a
    half goes to the even neighbor). What a slice shows has no part in it, unless the ends of structures are annotated
    besides: then the first and the last slice of every structure are.
    """
    count = len(voxels)
    if benchmark.annotation == "every n-th":
        chosen = set(range(0, count, labeled))
    else:
        chosen = {round((count - 1) * number / (labeled - 1)) for number in range(labeled)}
    if benchmark.ends_annotated:
        for structure in benchmark.learned_structures:
            shown = np.flatnonzero((voxels == structure.value).any(axis=(1, 2))).tolist()
            chosen.update((*shown[:1], *shown[-1:]))
    return tuple(sorted(chosen))


def check_all_annotated(voxels: NDArray[np.uint8], labeled: int, benchmark: Benchmark, case_id: str) -> None:
    """Make sure that every structure is in one of the annotated slices of labels (K, J, I).

    Raises:
        DataError: If one is not; it is told with its value in the file.
    """
    annotated = voxels[list(annotated_indices(voxels, labeled, benchmark))]
    for structure, learned in zip(benchmark.structures, benchmark.learned_structures, strict=True):
        what = f'"{structure.name}" (label {structure.value})'
        if not (voxels == learned.value).any():
            message = f'Label map of "{case_id}" holds no {what}. Check the label map.'
            raise DataError(message)
        if not (annotated == learned.value).any():
            few = benchmark.label_text(labeled)
            message = f'No annotated slice of "{case_id}" holds {what} with {few}. Choose another --labeled.'
            raise DataError(message)
