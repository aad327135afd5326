"""Temperatures from annotated slices that were left out: found again, growing with the distance, or none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uncol.core.jobs import Structure
from uncol.inference.calibration import BESIDE, LeftOutSlice, calibrate, sharpened

CONE, RARE = Structure(1, "cone"), Structure(2, "rare")
ROWS, COLUMNS = np.mgrid[:64, :64].astype(np.float32)


def left_out(distance: int, temperature: float, seed: int) -> LeftOutSlice:
    """A disk whose edge is claimed to be sharp by a sigmoid of width 1, and lies elsewhere by as much as it says."""
    random = np.random.default_rng(seed)
    depth = 20 - np.hypot(ROWS - 32, COLUMNS - 32)
    truth = random.random(depth.shape) < 1 / (1 + np.exp(-depth / temperature))
    claimed = 1 / (1 + np.exp(-depth))
    return LeftOutSlice(distance, np.stack([claimed, np.zeros_like(claimed)]), np.stack([truth, np.zeros_like(truth)]))


def test_sharpened_by_hand() -> None:
    """The odds of 0.8 are 4: at temperature 0.5 they are 16, at 2 they are 2; one half stays."""
    found = sharpened(torch.tensor([[[0.8, 0.5]], [[0.8, 0.5]]]), np.array([0.5, 2.0]))

    np.testing.assert_allclose(found[:, 0], [[16 / 17, 0.5], [2 / 3, 0.5]], rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 0.9, 1.3])
def test_the_temperature_of_left_out_slices_is_found_at_their_distance(temperature: float) -> None:
    found = calibrate([left_out(8, temperature, seed) for seed in range(4)], [CONE, RARE], (1.0, 1.0))

    cone, rare = found.structures
    assert found.temperatures(8)[0] == pytest.approx(temperature, rel=0.12)
    assert found.temperatures(0)[0] == BESIDE
    assert found.temperatures(4)[0] == pytest.approx((BESIDE + found.temperatures(8)[0]) / 2)
    assert (cone.slices, cone.distance, rare.slices) == (4, 8.0, 0)
    check = found.left_out[0]
    assert check is not None
    assert check.foreseen == pytest.approx(check.found, abs=0.01)


def test_it_is_better_calibrated_after_than_before() -> None:
    found = calibrate([left_out(8, 0.5, seed) for seed in range(4)], [CONE, RARE], (1.0, 1.0)).structures[0]

    before, after = (
        sum(each.voxels * abs(each.confidence - each.accuracy) for each in bins) / sum(each.voxels for each in bins)
        for bins in (found.before, found.after)
    )
    assert after < 0.02 < before


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_slices_leave_a_structure_as_it_is_and_that_is_said(count: int) -> None:
    found = calibrate([left_out(8, 0.5, 0)] * count, [CONE, RARE], (1.0, 1.0))
    probabilities = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(found.apply(probabilities, 3), probabilities, rtol=0, atol=1e-5)
    assert found.left_out == (None, None)
    assert found.structures[0].beside is None
    sentence = f'"cone" is not calibrated and has no promise: {count} of the annotated slices between others '
    assert found.structures[0].sentence.startswith(sentence)


def test_slices_in_which_a_structure_was_lost_say_nothing_of_sharpness() -> None:
    """Predicted where it is not: two such slices do not change what two others say, and alone they say nothing."""
    lost = LeftOutSlice(8, np.roll(left_out(8, 0.5, 0).probabilities, 40, axis=-1), left_out(8, 0.5, 0).truth)
    lost.truth[0] &= lost.probabilities[0] < 1e-3
    seen = [left_out(8, 0.5, seed) for seed in range(2)]

    alone, among = (calibrate(each, [CONE, RARE], (1.0, 1.0)) for each in ([lost] * 3, [*seen, lost, lost]))

    assert among.temperatures(8)[0] == calibrate(seen, [CONE, RARE], (1.0, 1.0)).temperatures(8)[0]
    assert np.isnan(alone.per_slice[0])
    assert "3 of the annotated slices between others show it, and left out it was found in fewer than two" in (
        alone.structures[0].sentence
    )
