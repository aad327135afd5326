"""Mean Teacher, UA-MT and BCP: their losses and labels by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from uncol.baselines import add_noise, agreement, dropping_out, is_sure

# Two voxels, two classes: (1, 2, 1, 2).
STUDENT = torch.tensor([[[[0.9, 0.5]], [[0.1, 0.5]]]])
TEACHER = torch.tensor([[[[0.7, 0.0]], [[0.3, 1.0]]]])


def test_agreement_is_the_mean_squared_difference_over_classes_and_voxels():
    # Voxel 1: (0.2^2 + 0.2^2) / 2 = 0.04; voxel 2: (0.5^2 + 0.5^2) / 2 = 0.25; their mean is 0.145.
    everywhere = torch.ones(1, 1, 2, dtype=torch.bool)

    assert float(agreement(STUDENT, TEACHER, everywhere)) == pytest.approx(0.145)


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        pytest.param([True, False], 0.04, id="first voxel only"),
        pytest.param([False, True], 0.25, id="second voxel only"),
        pytest.param([False, False], 0.0, id="empty region"),
    ],
)
def test_agreement_counts_inside_its_region_only(region: list[bool], expected: float):
    assert float(agreement(STUDENT, TEACHER, torch.tensor([[region]]))) == pytest.approx(expected)


class Repeater(nn.Module):
    """A network whose logits are its input."""

    def forward(self, images: Tensor) -> Tensor:
        return images


def logits_of(*probabilities: float) -> Tensor:
    """Logits (1, 2, 1, N) of two classes with these probabilities of the second one."""
    second = torch.tensor(probabilities)
    return torch.stack([(1 - second).log(), second.log()])[None, :, None]


def test_sure_is_where_the_mean_of_the_passes_has_a_low_entropy():
    # Means of the two passes: 0.95, 0.5 (although each pass is certain), 0.8.
    # Entropy in bits: 0.286, 1, 0.722. Below 0.75 are the first and the last.
    passes = iter([logits_of(0.94, 0.99, 0.9), logits_of(0.96, 0.01, 0.7)])

    assert is_sure(Repeater(), passes, 0.75).tolist() == [[[True, False, True]]]


def test_the_threshold_itself_is_not_sure():
    # p = 0.5: one bit exactly.
    assert is_sure(Repeater(), iter([logits_of(0.5)]), 1.0).tolist() == [[[False]]]


def test_noise_is_cut_at_a_fifth():
    noise = add_noise(torch.zeros(1, 1, 100, 100), torch.Generator().manual_seed(0))

    assert float(noise.abs().max()) == pytest.approx(0.2)
    # Normal with deviation 0.1, cut at two deviations: 0.0880 (variance 1 - 2 * 2 * 0.05399 / 0.9545 of what is
    # inside, and 4.55 % lie on the two edges: 0.9545 * 0.7737 + 0.0455 * 4 = 0.9205; its root is 0.9594).
    assert float(noise.std()) == pytest.approx(0.09594, rel=0.02)
    assert abs(float(noise.mean())) < 4 * 0.1 / math.sqrt(10_000)


def test_dropout_works_inside_and_rests_outside():
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3)).eval()

    with dropping_out(network):
        assert network[0].training
        assert not network[1].training
    assert not network[0].training
