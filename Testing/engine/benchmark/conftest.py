"""The small set of images on the disk, and the reader of its cases."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_benchmark import TEST, TRAIN, phantom_case, write_case, write_splits

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.suites import BENCHMARKS


@pytest.fixture(scope="session")
def phantom_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose `hippocampus` has six training and two test cases; two or four are labeled."""
    data = tmp_path_factory.mktemp("data")
    for seed, case_id in enumerate([*TRAIN, *TEST]):
        write_case(data / "hippocampus", case_id, *phantom_case(seed))
    write_splits(data / "hippocampus", train=TRAIN, test=TEST, labeled_2=TRAIN[::3], labeled_4=TRAIN[:4])
    return data


@pytest.fixture
def reader(phantom_data: Path) -> CaseReader:
    """The cases of the small set."""
    return CaseReader(BENCHMARKS["hippocampus"], phantom_data)
