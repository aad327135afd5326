from __future__ import annotations

import pytest

from uncol.core.reliability import ReliabilityBin, calibration_error


def test_the_calibration_error_is_the_mean_gap_over_all_voxels() -> None:
    assert calibration_error([ReliabilityBin(0.6, 0.7, 100), ReliabilityBin(0.95, 0.9, 300)]) == pytest.approx(25 / 400)


def test_without_voxels_there_is_none() -> None:
    assert calibration_error([]) is None
