"""The four losses of the four heads, by hand on two to four voxels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from uncol.training.losses import (
    cross_entropy,
    focal,
    four_head_loss,
    known_region,
    soft_dice,
    soft_iou,
    twice_softmaxed_dice,
)

LN3 = math.log(3)
# Softmax of (0, ln 3) is (1/4, 3/4): two voxels, the first says class 1 by 3/4, the second class 0 by 3/4.
LOGITS = torch.tensor([[[[0.0, LN3]], [[LN3, 0.0]]]])
TARGET = torch.tensor([[[1, 1]]])
EVERYWHERE = torch.ones(1, 1, 2, dtype=torch.bool)
FIRST_VOXEL = torch.tensor([[[True, False]]])
NOWHERE = torch.zeros(1, 1, 2, dtype=torch.bool)

# The target's probability is 3/4 in the first and 1/4 in the second voxel.
CE = (-math.log(0.75) - math.log(0.25)) / 2
FOCAL = (0.25**2 * -math.log(0.75) + 0.75**2 * -math.log(0.25)) / 2
# Class 0: sum p = 1/4 + 3/4 = 1, truth 0, both 0: Dice 0. Class 1: p 1, truth 2, both 1: Dice 2/3, IoU 1/2.
DICE = 1 - (0 + 2 / 3) / 2
IOU = 1 - (0 + 1 / 2) / 2


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        pytest.param(cross_entropy, CE, id="cross-entropy"),
        pytest.param(soft_dice, DICE, id="Dice"),
        pytest.param(focal, FOCAL, id="focal"),
        pytest.param(soft_iou, IOU, id="soft IoU"),
    ],
)
def test_each_loss_by_hand(loss, expected: float) -> None:
    assert loss(LOGITS, TARGET, EVERYWHERE).item() == pytest.approx(expected, abs=2e-5)  # smoothing 1e-5


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        pytest.param(cross_entropy, -math.log(0.75), id="cross-entropy"),
        # Class 0: p 1/4, truth 0: Dice 0. Class 1: p 3/4, truth 1, both 3/4: Dice 1.5 / 1.75, IoU 0.75 / 1.
        pytest.param(soft_dice, 1 - 1.5 / 1.75 / 2, id="Dice"),
        pytest.param(focal, 0.25**2 * -math.log(0.75), id="focal"),
        pytest.param(soft_iou, 1 - 0.75 / 2, id="soft IoU"),
    ],
)
def test_only_the_region_counts(loss, expected: float) -> None:
    assert loss(LOGITS, TARGET, FIRST_VOXEL).item() == pytest.approx(expected, abs=3e-5)


@pytest.mark.parametrize("loss", [cross_entropy, soft_dice, focal, soft_iou])
def test_an_empty_region_costs_nothing(loss) -> None:
    assert loss(LOGITS, TARGET, NOWHERE).item() == 0


@pytest.mark.parametrize("loss", [soft_dice, soft_iou])
def test_overlap_is_counted_sample_by_sample(loss) -> None:
    other_logits, other_target = LOGITS.flip(1), torch.tensor([[[0, 1]]])
    both = loss(torch.cat([LOGITS, other_logits]), torch.cat([TARGET, other_target]), EVERYWHERE.expand(2, 1, 2))

    alone = [loss(LOGITS, TARGET, EVERYWHERE), loss(other_logits, other_target, EVERYWHERE)]
    assert both.item() == pytest.approx(sum(each.item() for each in alone) / 2)


def test_l_seg_is_a_quarter_of_each_heads_own_loss() -> None:
    heads = (LOGITS, LOGITS, LOGITS, LOGITS)

    assert four_head_loss(heads, TARGET, EVERYWHERE).item() == pytest.approx((CE + DICE + FOCAL + IOU) / 4, abs=1e-5)


@pytest.mark.parametrize("head", range(4))
def test_each_head_learns_from_one_loss(head: int) -> None:
    certain = torch.tensor([[[[-30.0, -30.0]], [[30.0, 30.0]]]])  # right everywhere: three losses are 0
    heads = [certain] * 4
    heads[head] = LOGITS

    expected = (CE, DICE, FOCAL, IOU)[head] / 4
    # Dice and IoU of a class that is neither there nor predicted are 1
    assert four_head_loss(heads, TARGET, EVERYWHERE).item() == pytest.approx(expected, abs=1e-5)


def test_the_focal_factor_carries_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()

    focal(logits, TARGET, FIRST_VOXEL).backward()

    # d CE / d logits = p - truth = (1/4, -1/4) in the first voxel, times the factor (1 - 3/4)^2 = 1/16
    expected = torch.tensor([[[[1 / 64, 0.0]], [[-1 / 64, 0.0]]]])
    torch.testing.assert_close(logits.grad, expected)


def test_softmax_twice_is_a_named_ablation_of_the_dice_head_alone() -> None:
    certain = torch.tensor([[[[-30.0, -30.0]], [[30.0, 30.0]]]])

    released = four_head_loss([certain] * 4, TARGET, EVERYWHERE, double_softmax_dice=True)

    # softmax of (0, 1) is (0.2689, 0.7311). Class 0: Dice 0; class 1: 2 x 1.4621 / (1.4621 + 2) = 0.8446
    floor = 1 - 2 * 1.4621 / 3.4621 / 2
    assert twice_softmaxed_dice(certain, TARGET, EVERYWHERE).item() == pytest.approx(floor, abs=1e-4)
    assert released.item() == pytest.approx(floor / 4, abs=1e-4)


def test_unknown_voxels_do_not_count() -> None:
    labels = torch.tensor([[[1, 255]]], dtype=torch.uint8)
    target, region = known_region(labels, unknown=255)
    heads = (LOGITS,) * 4
    changed: tuple[Tensor, ...] = tuple(
        each + torch.tensor([0.0, 5.0]) * torch.tensor([[[1.0]], [[0.0]]]) for each in heads
    )

    assert four_head_loss(heads, target, region) == four_head_loss(changed, target, region)
    assert four_head_loss(heads, target, region) == four_head_loss(heads, TARGET, FIRST_VOXEL)


def test_volumes_are_one_more_axis() -> None:
    heads = (LOGITS[:, :, None],) * 4

    as_volume = four_head_loss(heads, TARGET[:, None], EVERYWHERE[:, None])

    assert as_volume.item() == pytest.approx(four_head_loss((LOGITS,) * 4, TARGET, EVERYWHERE).item())


def test_one_head_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
        four_head_loss((LOGITS,) * 3, TARGET, EVERYWHERE)
