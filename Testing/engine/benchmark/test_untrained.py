"""Shape interpolation as a method of the benchmark, and who trains nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.runs import RunSpec
from uncol.benchmark.scores import score_predictions
from uncol.benchmark.suites import BENCHMARKS
from uncol.benchmark.untrained import interpolate, untrained
from uncol.core.jobs import Structure
from uncol.core.progress import UNWATCHED
from uncol.foundation.loading import LITE_MEDSAM

LIVER = BENCHMARKS["sparse-slices-liver"]


def test_a_straight_block_is_interpolated_exactly_up_to_its_ends(phantom_data: Path, tmp_path: Path) -> None:
    structures = (Structure(1, "anterior"), Structure(2, "posterior"))
    block = replace(LIVER, folder="hippocampus", volume="hippocampus_001", structures=structures, labeled_counts=(2,))
    reader = CaseReader(block, phantom_data)
    spec = RunSpec(LIVER.name, "shape-interpolation", 2, 0, 1, {})

    trained = interpolate(spec, reader.cases(2), tmp_path, UNWATCHED)
    predictions = dict(trained.predictions)

    # Slices 0, 2, 4 and 6 are annotated, blocks lie in 2 to 5: 3 is between two alike, 5 on the way to nothing at 6.
    found = predictions["hippocampus_001"].labels.voxels
    reference = reader.reference("hippocampus_001").voxels
    assert (found[2:5] == reference[2:5]).all()
    assert 0 < np.count_nonzero(found[5]) < np.count_nonzero(reference[5])
    assert trained.record["steps"] == 0
    assert all(score.dice > 0.7 for score in score_predictions(predictions.items(), reader, 2).labels)


@pytest.mark.parametrize(
    ("benchmark", "method", "trains"),
    [
        ("sparse-slices-liver", "shape-interpolation", False),
        ("sparse-slices-liver", "frozen-teacher", False),
        ("sparse-slices-liver", "uncol", True),
        ("acdc", "frozen-teacher", True),  # its prompts come from a supervised student
    ],
)
def test_methods_without_training_are_those_of_annotated_slices(benchmark: str, method: str, trains: bool) -> None:
    assert (untrained(BENCHMARKS[benchmark], method, None, LITE_MEDSAM) is None) is trains
