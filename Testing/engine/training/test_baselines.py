"""Mean Teacher, UA-MT and BCP: their losses and labels by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from given import a_setup, begun_state
from torch import Tensor, nn
from torch.nn import functional

from uncol.core.config import DataConfig
from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.data.cases import LabeledCase, SliceIndex
from uncol.training.baselines import (
    add_noise,
    bcp_pseudo_labels,
    consistency,
    consistency_loss,
    dropping_out,
    is_certain,
)
from uncol.training.state import TrainingState
from uncol.training.train import start_stage2, total

# Two voxels, two classes: (1, 2, 1, 2).
STUDENT = torch.tensor([[[[0.9, 0.5]], [[0.1, 0.5]]]])
TEACHER = torch.tensor([[[[0.7, 0.0]], [[0.3, 1.0]]]])


def test_consistency_is_the_mean_squared_difference_over_classes_and_voxels():
    # Voxel 1: (0.2^2 + 0.2^2) / 2 = 0.04; voxel 2: (0.5^2 + 0.5^2) / 2 = 0.25; their mean is 0.145.
    everywhere = torch.ones(1, 1, 2, dtype=torch.bool)

    assert float(consistency(STUDENT, TEACHER, everywhere)) == pytest.approx(0.145)


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        pytest.param([True, False], 0.04, id="first voxel only"),
        pytest.param([False, True], 0.25, id="second voxel only"),
        pytest.param([False, False], 0.0, id="empty region"),
    ],
)
def test_consistency_counts_inside_its_region_only(region: list[bool], expected: float):
    assert float(consistency(STUDENT, TEACHER, torch.tensor([[region]]))) == pytest.approx(expected)


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

    assert is_certain(Repeater(), passes, 0.75).tolist() == [[[True, False, True]]]


def test_the_threshold_itself_is_not_sure():
    # p = 0.5: one bit exactly.
    assert is_certain(Repeater(), iter([logits_of(0.5)]), 1.0).tolist() == [[[False]]]


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


def begin(method: str, labels: np.ndarray, class_count: int) -> TrainingState:
    """A run of 20 steps over one grey image with these labels (K, J, I)."""
    grey, ijk_to_ras = np.full(labels.shape, 0.5, dtype=np.float32), np.diag([-1.0, -1.0, 1.0, 1.0])
    case = LabeledCase(Volume(grey, ijk_to_ras), Volume(labels.astype(np.uint8), ijk_to_ras))
    structures = tuple(Structure(value, f"structure {value}") for value in range(1, class_count))
    data = DataConfig(window=(0.0, 1.0), neighbor_count=1)
    return begun_state(a_setup([case], structures=structures, method=method, data=data, stage1_part=0.8))


class Says(nn.Module):
    """A network that sees nothing: the probability of class 1 of 2 in the left and right half, new at every call."""

    def __init__(self, *answers: tuple[float, float]) -> None:
        super().__init__()
        self.answers, self.received = list(answers), []

    def forward(self, images: Tensor) -> Tensor:
        self.received.append(images)
        left, right = self.answers.pop(0)
        first = torch.full((len(images), 1, *images.shape[2:]), left)
        first[..., images.shape[-1] // 2 :] = right
        return torch.cat([1 - first, first], 1).log()


def run_that_agrees(method: str, step: int, teacher: Says) -> TrainingState:
    """A run at a step of 20; annotated slices show class 1 everywhere, to which its student gives 3/4 everywhere."""
    labels = np.full((4, 16, 32), UNKNOWN_LABEL)
    labels[:2] = 1
    run = begin(method, labels, class_count=2)
    start_stage2(run)
    run.step, run.student, run.specialized_teacher = step, Says((3 / 4, 3 / 4)), teacher
    return run


# Dice 2 p / (p + 1) = 6/7 and cross-entropy -ln p of p = 3/4.
SUPERVISED = (1 - 6 / 7) + math.log(4 / 3)


@pytest.mark.parametrize(
    ("step", "ramp"),
    [
        pytest.param(0, math.exp(-5), id="start"),
        pytest.param(10, math.exp(-1.25), id="half: exp(-5 / 4)"),
        pytest.param(20, 1, id="end"),
    ],
)
def test_mean_teacher_adds_a_tenth_of_the_ramp_of_the_consistency_loss(step: int, ramp: float):
    # Student 3/4 and 1/4, teacher 1/4 and 3/4: a difference of 1/2 in both classes.
    run = run_that_agrees("mean-teacher", step, Says((1 / 4, 1 / 4)))

    losses = consistency_loss(run)

    assert float(losses["supervised"]) == pytest.approx(SUPERVISED)
    assert float(losses["consistency"]) == pytest.approx((1 / 2) ** 2)
    assert float(total(run, losses)) == pytest.approx(SUPERVISED + 0.1 * ramp * (1 / 2) ** 2)


def test_ua_mt_agrees_only_where_eight_other_noisy_passes_are_sure_on_the_whole():
    # Left, the mean of eight passes is (6 * 0.9 + 2 * 0.5) / 8 = 0.8, with an entropy of 0.722 bit; right it is 1 bit.
    # Halfway, the threshold is 0.75 + 0.25 exp(-5 / 4) = 0.822: only the left half counts, where the target is 1/4.
    passes = [(0.9, 0.5)] * 6 + [(0.5, 0.5)] * 2
    teacher = Says((1 / 4, 0.999), *passes)
    run = run_that_agrees("ua-mt", 10, teacher)

    losses = consistency_loss(run)

    assert teacher.answers == []  # one target and eight passes
    assert len({float(each.sum()) for each in teacher.received}) == 9  # each under noise of its own
    assert float(losses["consistency"]) == pytest.approx((1 / 2) ** 2)
    assert float(total(run, losses)) == pytest.approx(SUPERVISED + 0.1 * math.exp(-1.25) * (1 / 2) ** 2)


class Paints(nn.Module):
    """A network that is certain of the same class map (B, H, W) whatever it is shown; nothing where that ends."""

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, images: Tensor) -> Tensor:
        missing = [images.shape[3] - self.labels.shape[2], images.shape[2] - self.labels.shape[1]]
        whole = functional.pad(self.labels, (0, missing[0], 0, missing[1]))
        return 9.0 * functional.one_hot(whole, 3).movedim(-1, 1)


def test_bcp_keeps_the_largest_piece_of_each_class_and_what_is_annotated():
    found = torch.tensor(
        [
            [
                [1, 1, 0, 0, 0, 2, 2, 0],
                [1, 1, 0, 1, 0, 0, 2, 0],
                [0, 0, 0, 1, 0, 0, 0, 0],
                [2, 2, 0, 0, 0, 0, 1, 1],
            ],
            [
                [0, 0, 0, 0, 0, 0, 0, 0],
                [0, 2, 2, 0, 1, 0, 0, 0],
                [0, 2, 2, 0, 0, 0, 0, 0],
                [0, 0, 0, 0, 0, 2, 2, 2],
            ],
        ]
    )
    labels = np.full((2, 4, 8), UNKNOWN_LABEL)
    labels[0, 3, 7] = 2  # annotated: the teacher is wrong there
    labels[1, 0, 0] = 1
    run = begin("bcp", labels, class_count=3)
    run.specialized_teacher = Paints(found)
    addresses = [SliceIndex(0, 0), SliceIndex(0, 1)]

    kept = bcp_pseudo_labels(run, addresses)

    assert kept[:, :4, :8].tolist() == [
        [
            [1, 1, 0, 0, 0, 2, 2, 0],
            [1, 1, 0, 0, 0, 0, 2, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 2],
        ],
        [
            [1, 0, 0, 0, 0, 0, 0, 0],
            [0, 2, 2, 0, 1, 0, 0, 0],
            [0, 2, 2, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ],
    ]
    assert (kept[:, 4:] == UNKNOWN_LABEL).all()  # padding
    assert (kept[:, :, 8:] == UNKNOWN_LABEL).all()
