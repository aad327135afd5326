"""Which cases are trained on, which are labeled and which are tested, read from `splits.json` and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uncol.benchmark.suites import Benchmark
from uncol.core.errors import ConfigError, DataError
from uncol.core.files import read_limited
from uncol.core.strict_json import read_json

_LARGEST_FILE_BYTES = 256 << 20
SPLITS_FILE = "splits.json"
_LABELED = "labeled_"


def _labeled_cases(count: int) -> str:
    return "1 labeled case" if count == 1 else f"{count} labeled cases"


@dataclass(frozen=True)
class Splits:
    """Subjects by their use.

    Attributes:
        train: Subjects that may be trained on; all but the labeled ones are the unlabeled pool. With slices: none.
        test: Subjects that are scored and serve nothing else.
        labeled: For each label count the labeled subjects, all of them in `train`.
        case_ids: For each subject its images: file names without ending.
        same_subject: For a case that shows the same subject as an earlier one of the lists: that one.
        label_text: Says a label count in words.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    labeled: Mapping[int, tuple[str, ...]]
    case_ids: Mapping[str, tuple[str, ...]]
    same_subject: Mapping[str, str] = field(default_factory=dict)
    label_text: Callable[[int], str] = _labeled_cases

    def labeled_subjects(self, count: int) -> tuple[str, ...]:
        """Return the labeled subjects of a count; the number of training subjects itself stands for all.

        Raises:
            ConfigError: If there is no list of so many.
        """
        counts = {**self.labeled, len(self.train): self.train} if self.train else self.labeled
        if count not in counts:
            known = ", ".join(map(str, sorted(counts)))
            message = (
                f"There is no list for {self.label_text(count)}, only for {known}. Give one of these with --labeled."
            )
            raise ConfigError(message)
        return counts[count]

    def subject_of(self, case_id: str) -> str:
        """Return whose image a case is."""
        listed = next(subject for subject, ids in self.case_ids.items() if case_id in ids)
        return self.same_subject.get(listed, listed)


def splits_of(benchmark: Benchmark, data: Path) -> Splits:
    """Return the splits of a benchmark: from its file, or of its volumes, whose slices are split.

    Of a subject with several images, as the two phases of a heart, slices are split in the first one.

    Raises:
        DataError: If the file is missing, unreadable or contradicts itself.
    """
    path = data / benchmark.folder / SPLITS_FILE
    if benchmark.supervision == "cases":
        listed = read_splits(path)
        return in_fold(listed, benchmark.fold, path) if benchmark.fold else listed
    if benchmark.volume:
        only = (benchmark.volume,)
        return _splits_of_slices(benchmark, {benchmark.volume: only}, {})
    listed = read_splits(path)
    subjects = {"train": listed.train, "test": listed.test, "all": (*listed.train, *listed.test)}[benchmark.subjects]
    return _splits_of_slices(benchmark, {each: listed.case_ids[each][:1] for each in subjects}, listed.same_subject)


def in_fold(listed: Splits, fold: int, path: Path) -> Splits:
    """Return the splits of one fold, each of which tests as many subjects as the file does, every subject once.

    In the order of the file (tested, labeled, others) each fold tests the subjects after those of the fold before, and
    the next ones are labeled: in the first fold those of the file.

    Args:
        listed: What the file lists.
        fold: Number of the fold, from 1 on.
        path: The file.

    Raises:
        DataError: If subjects are left over, or two sides of one subject would be on both sides.
    """
    labeled = [subject for _, subjects in sorted(listed.labeled.items()) for subject in subjects]
    order, size = tuple(dict.fromkeys((*listed.test, *labeled, *listed.train))), len(listed.test)
    if len(order) % size:
        raise _unusable(path, f"lists {len(order)} subjects, which are not tested in folds of {size}")
    start = (fold - 1) * size
    test, train = order[start : start + size], (*order[start + size :], *order[:start])
    splits = replace(listed, train=train, test=test, labeled={count: train[:count] for count in listed.labeled})
    _check(splits, path)
    return splits


def _splits_of_slices(
    benchmark: Benchmark, case_ids: Mapping[str, tuple[str, ...]], same_subject: Mapping[str, str]
) -> Splits:
    subjects = tuple(case_ids)
    every = dict.fromkeys(benchmark.labeled_counts, subjects)
    return Splits((), subjects, every, case_ids, same_subject, benchmark.label_text)


def read_splits(path: Path) -> Splits:
    """Read a `splits.json`.

    It holds the lists `train`, `test` and `labeled_N`, and optionally `frames`: for each subject its images, and
    `same_subject_pairs`: cases that are listed one by one, but show two sides of one subject.

    Raises:
        DataError: If the file is missing, unreadable or contradicts itself.
    """
    if not path.exists():
        message = f'The splits are missing: there is no "{path}". Give the folder that holds "{path.parent.name}".'
        raise DataError(message)
    try:
        document = read_json(read_limited(path, _LARGEST_FILE_BYTES))
    except (OSError, ValueError) as error:
        raise _unusable(path, "cannot be read as JSON") from error
    if not isinstance(document, dict):
        raise _unusable(path, "holds no JSON object")
    train, test = _names(document, "train", path), _names(document, "test", path)
    counts = (key.removeprefix(_LABELED) for key in document if key.startswith(_LABELED))
    labeled = {int(each): _names(document, f"{_LABELED}{each}", path) for each in counts if each.isdecimal()}
    case_ids, same_subject = _case_ids(document, (*train, *test), path), _same_subject(document, path)
    splits = Splits(train, test, labeled, case_ids, same_subject)
    _check(splits, path)
    return splits


def _case_ids(document: dict[str, Any], subjects: tuple[str, ...], path: Path) -> dict[str, tuple[str, ...]]:
    if "frames" not in document:
        return {subject: (subject,) for subject in subjects}
    frames = document["frames"]
    missing = [subject for subject in subjects if not isinstance(frames, dict) or subject not in frames]
    if missing:
        raise _unusable(path, f'names no images of "{missing[0]}" in its "frames"')
    return {subject: _names(frames, subject, path) for subject in subjects}


def _same_subject(document: dict[str, Any], path: Path) -> dict[str, str]:
    pairs = document.get("same_subject_pairs", [])
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise _unusable(path, 'needs pairs of names in "same_subject_pairs"')
    return {str(second): str(first) for first, second in pairs}


def _check(splits: Splits, path: Path) -> None:
    both = sorted(set(splits.train) & set(splits.test))
    if both:
        raise _unusable(path, f'lists "{both[0]}" in train and in test')
    _check_images(splits, path)
    for second, first in splits.same_subject.items():
        if (first in splits.train and second in splits.test) or (first in splits.test and second in splits.train):
            raise _unusable(path, f'has "{first}" and "{second}" of one subject on both sides of train and test')
    _check_labeled(splits, path)


def _check_images(splits: Splits, path: Path) -> None:
    owners: dict[str, str] = {}
    for subject, case_ids in splits.case_ids.items():
        for case_id in case_ids:
            if case_id in owners:
                raise _unusable(path, f'lists image "{case_id}" with "{owners[case_id]}" and with "{subject}"')
            owners[case_id] = subject


def _check_labeled(splits: Splits, path: Path) -> None:
    if not splits.labeled:
        raise _unusable(path, f'has no list "{_LABELED}N"')
    for count, subjects in splits.labeled.items():
        strangers = sorted(set(subjects) - set(splits.train))
        if strangers:
            raise _unusable(path, f'lists "{strangers[0]}" in {_LABELED}{count} but not in train')
        if len(subjects) != count:
            few = "few" if len(subjects) < count else "many"
            raise _unusable(path, f"has too {few} labeled cases: {_LABELED}{count} lists {len(subjects)}")


def _names(document: dict[str, Any], key: str, path: Path) -> tuple[str, ...]:
    names = document.get(key)
    if not isinstance(names, list) or not names or not all(isinstance(each, str) for each in names):
        raise _unusable(path, f'needs a list "{key}" of names that is not empty')
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise _unusable(path, f'lists "{repeated[0]}" more than once in "{key}"')
    return tuple(names)


def _unusable(path: Path, why: str) -> DataError:
    return DataError(f'"{path}" {why}. Correct the file, or copy the data folder again.')
