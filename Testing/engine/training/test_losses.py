"""Tests of the losses over a region, and of the four heads' losses, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from uncol.core.volume import UNKNOWN_LABEL
from uncol.training.losses import (
    class_dice,
    class_weights,
    cross_entropy,
    focal,
    four_head_loss,
    known_region,
    region_cross_entropy,
    region_dice,
    region_loss,
    soft_dice,
    soft_iou,
    twice_softmaxed_dice,
)

EVEN = torch.ones(2)
# Probability of class 1 in a slice of 2 x 2 pixels, and what is there.
PROBABILITY = [[0.5, 0.25], [0.8, 0.1]]
TARGET = torch.tensor([[[1, 0], [1, 0]]])
THREE_PIXELS = torch.tensor([[[True, True], [True, False]]])


def logits_of(class_1: list[list[float]]) -> Tensor:
    """Logits (1, 2, H, W) whose softmax gives class 1 these probabilities (H, W)."""
    probability = torch.tensor(class_1)
    return torch.stack([1 - probability, probability]).log()[None]


class TestClassWeights:
    def test_a_weight_is_the_root_of_how_much_rarer_than_background_a_class_is(self) -> None:
        # sqrt(100 / 25) = 2, sqrt(100 / 4) = 5
        assert class_weights(torch.tensor([100.0, 25.0, 4.0]), cap=12).tolist() == pytest.approx([1, 2, 5])

    def test_a_class_commoner_than_background_counts_less(self) -> None:
        # sqrt(25 / 100) = 0.5
        assert class_weights(torch.tensor([25.0, 100.0]), cap=12).tolist() == pytest.approx([1, 0.5])

    def test_no_weight_exceeds_the_cap(self) -> None:
        assert class_weights(torch.tensor([1e6, 1.0, 2.5e5]), cap=12).tolist() == pytest.approx([1, 12, 2])

    @pytest.mark.parametrize("background", [100.0, 1e6])
    def test_a_class_without_voxels_gets_the_cap(self, background: float) -> None:
        assert class_weights(torch.tensor([background, 25.0, 0.0]), cap=12)[2] == 12

    def test_weights_stay_finite_without_background(self) -> None:
        assert class_weights(torch.tensor([0.0, 25.0]), cap=12).isfinite().all()


class TestCrossEntropy:
    def test_it_is_the_weighted_mean_over_the_region(self) -> None:
        loss = region_cross_entropy(logits_of(PROBABILITY), TARGET, THREE_PIXELS, torch.tensor([1.0, 3.0]))

        # 3 * -ln 0.5 + 1 * -ln 0.75 + 3 * -ln 0.8 = 2.079442 + 0.287682 + 0.669431 = 3.036554, weights 3 + 1 + 3
        assert loss.item() == pytest.approx(3.036554 / 7, abs=1e-6)

    def test_even_weights_give_the_plain_mean(self) -> None:
        loss = region_cross_entropy(logits_of(PROBABILITY), TARGET, torch.ones_like(THREE_PIXELS), EVEN)

        # -(ln 0.5 + ln 0.75 + ln 0.8 + ln 0.9) / 4
        assert loss.item() == pytest.approx(-math.log(0.5 * 0.75 * 0.8 * 0.9) / 4, abs=1e-6)

    def test_the_mean_runs_over_all_voxels_of_the_batch_not_over_images(self) -> None:
        logits = torch.cat([logits_of(PROBABILITY), logits_of(PROBABILITY)])
        region = torch.tensor([[[True, False], [False, False]], [[False, True], [True, True]]])

        loss = region_cross_entropy(logits, torch.cat([TARGET, TARGET]), region, EVEN)

        # one pixel of the first image, three of the second: the four of the test before
        assert loss.item() == pytest.approx(-math.log(0.5 * 0.75 * 0.8 * 0.9) / 4, abs=1e-6)

    def test_an_empty_region_costs_nothing(self) -> None:
        logits = logits_of(PROBABILITY).requires_grad_()

        loss = region_cross_entropy(logits, TARGET, torch.zeros_like(THREE_PIXELS), EVEN)
        loss.backward()

        assert loss.item() == 0
        assert logits.grad is not None
        assert not logits.grad.any()


class TestDice:
    def test_it_is_the_mean_over_classes_of_one_minus_dice_inside_the_region(self) -> None:
        loss = region_dice(logits_of(PROBABILITY), TARGET, THREE_PIXELS)

        # class 0: predicted 0.5 + 0.75 + 0.2 = 1.45, true 1, common 0.75: 1.5 / 2.45 = 0.612245
        # class 1: predicted 0.5 + 0.25 + 0.8 = 1.55, true 2, common 1.3: 2.6 / 3.55 = 0.732394
        # (0.387755 + 0.267606) / 2
        assert loss.item() == pytest.approx(0.327680, abs=1e-5)

    def test_a_class_that_is_not_there_does_not_enter_the_mean(self) -> None:
        # two pixels side by side: background and class 1; class 2 is only imagined
        probabilities = torch.tensor([[0.5, 0.25], [0.3, 0.5], [0.2, 0.25]]).reshape(1, 3, 1, 2)

        loss = region_dice(probabilities.log(), torch.tensor([[[0, 1]]]), torch.ones(1, 1, 2, dtype=torch.bool))

        # class 0: 2 * 0.5 / (0.75 + 1) = 0.571429; class 1: 2 * 0.5 / (0.8 + 1) = 0.555556
        assert loss.item() == pytest.approx((0.428571 + 0.444444) / 2, abs=1e-5)

    def test_a_class_that_is_only_outside_the_region_does_not_enter_the_mean(self) -> None:
        region = torch.tensor([[[True, False], [True, False]]])

        loss = region_dice(logits_of(PROBABILITY), TARGET, region)

        # only class 1 inside: 2 * 1.3 / (1.3 + 2) = 0.787879
        assert loss.item() == pytest.approx(1 - 0.787879, abs=1e-5)

    def test_sums_run_over_the_whole_batch(self) -> None:
        logits = torch.cat([logits_of([[0.6]]), logits_of([[0.2]])])

        loss = region_dice(logits, torch.ones(2, 1, 1, dtype=torch.int64), torch.ones(2, 1, 1, dtype=torch.bool))

        # 2 * (0.6 + 0.2) / (0.8 + 2) = 0.571429; the mean over images would be (0.75 + 1/3) / 2 = 0.541667
        assert loss.item() == pytest.approx(1 - 0.571429, abs=1e-5)

    def test_an_empty_region_costs_nothing(self) -> None:
        logits = logits_of(PROBABILITY).requires_grad_()

        loss = region_dice(logits, TARGET, torch.zeros_like(THREE_PIXELS))
        loss.backward()

        assert loss.item() == 0
        assert logits.grad is not None
        assert not logits.grad.any()

    def test_a_perfect_prediction_costs_nothing(self) -> None:
        logits = 100 * torch.nn.functional.one_hot(TARGET, 2).movedim(-1, 1).float()

        assert region_dice(logits, TARGET, torch.ones_like(THREE_PIXELS)).item() == pytest.approx(0, abs=1e-6)


class TestClassDice:
    def test_a_class_that_is_not_there_has_none(self) -> None:
        logits = torch.tensor([[[[2.0, 0, 0, 0]], [[0.0, 2, 2, 2]], [[1.0, 1, 1, 1]]]])  # found: 0 1 1 1
        labels = torch.tensor([[[0, 0, 1, UNKNOWN_LABEL]]])

        dice = class_dice(logits, labels)

        assert dice[:2].tolist() == pytest.approx([2 * 1 / (1 + 2), 2 * 1 / (2 + 1)])
        assert dice[2].isnan()

    def test_nothing_known_is_nothing_found(self) -> None:
        assert class_dice(torch.zeros(1, 2, 1, 3), torch.full((1, 1, 3), UNKNOWN_LABEL)).isnan().all()


class TestRegionLoss:
    def test_it_is_dice_plus_cross_entropy(self) -> None:
        loss = region_loss(logits_of(PROBABILITY), TARGET, THREE_PIXELS, torch.tensor([1.0, 3.0]))

        assert loss.item() == pytest.approx(0.327680 + 3.036554 / 7, abs=1e-5)

    def test_it_is_computed_in_float32_whatever_the_network_gives(self) -> None:
        assert region_loss(logits_of(PROBABILITY).bfloat16(), TARGET, THREE_PIXELS, EVEN).dtype == torch.float32

    def test_volumes_are_scored_like_slices(self) -> None:
        flat = region_loss(logits_of(PROBABILITY), TARGET, THREE_PIXELS, EVEN)

        deep = region_loss(logits_of(PROBABILITY)[:, :, None], TARGET[:, None], THREE_PIXELS[:, None], EVEN)

        assert deep.item() == pytest.approx(flat.item())

    @pytest.mark.parametrize("change", [-7.0, 30.0, 1e4])
    def test_logits_at_unknown_voxels_change_neither_the_loss_nor_its_gradient(self, change: float) -> None:
        labels = torch.tensor([[[1, 0], [1, UNKNOWN_LABEL]]], dtype=torch.uint8)
        first = logits_of(PROBABILITY)
        second = first.clone()
        second[0, 1, 1, 1] += change
        losses, gradients = [], []
        for logits in (first.requires_grad_(), second.requires_grad_()):
            target, known = known_region(labels)
            loss = region_loss(logits, target, known, torch.tensor([1.0, 3.0]))
            loss.backward()
            losses.append(loss.item())
            gradients.append(logits.grad)

        assert losses[0] == losses[1]
        assert torch.equal(*gradients)
        assert not gradients[0][0, :, 1, 1].any()
        assert gradients[0][0, :, 0, 0].all()


class TestKnownRegion:
    def test_unknown_voxels_are_told_apart_and_become_a_valid_class(self) -> None:
        target, known = known_region(torch.tensor([[[0, 2], [255, 1]]], dtype=torch.uint8))

        assert known.tolist() == [[[True, True], [False, True]]]
        assert target.tolist() == [[[0, 2], [0, 1]]]
        assert target.dtype == torch.int64


LN3 = math.log(3)
# Softmax of (0, ln 3) is (1/4, 3/4): two voxels, the first says class 1 by 3/4, the second class 0 by 3/4.
LOGITS = torch.tensor([[[[0.0, LN3]], [[LN3, 0.0]]]])
HEADS_TARGET = torch.tensor([[[1, 1]]])
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
    assert loss(LOGITS, HEADS_TARGET, EVERYWHERE).item() == pytest.approx(expected, abs=2e-5)  # smoothing 1e-5


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
    assert loss(LOGITS, HEADS_TARGET, FIRST_VOXEL).item() == pytest.approx(expected, abs=3e-5)


@pytest.mark.parametrize("loss", [cross_entropy, soft_dice, focal, soft_iou])
def test_an_empty_region_costs_nothing(loss) -> None:
    assert loss(LOGITS, HEADS_TARGET, NOWHERE).item() == 0


@pytest.mark.parametrize("loss", [soft_dice, soft_iou])
def test_overlap_is_counted_sample_by_sample(loss) -> None:
    other_logits, other_target = LOGITS.flip(1), torch.tensor([[[0, 1]]])
    both = loss(torch.cat([LOGITS, other_logits]), torch.cat([HEADS_TARGET, other_target]), EVERYWHERE.expand(2, 1, 2))

    alone = [loss(LOGITS, HEADS_TARGET, EVERYWHERE), loss(other_logits, other_target, EVERYWHERE)]
    assert both.item() == pytest.approx(sum(each.item() for each in alone) / 2)


def test_l_seg_is_a_quarter_of_each_heads_own_loss() -> None:
    heads = (LOGITS, LOGITS, LOGITS, LOGITS)

    assert four_head_loss(heads, HEADS_TARGET, EVERYWHERE).item() == pytest.approx(
        (CE + DICE + FOCAL + IOU) / 4, abs=1e-5
    )


@pytest.mark.parametrize("head", range(4))
def test_each_head_learns_from_one_loss(head: int) -> None:
    certain = torch.tensor([[[[-30.0, -30.0]], [[30.0, 30.0]]]])  # right everywhere: three losses are 0
    heads = [certain] * 4
    heads[head] = LOGITS

    expected = (CE, DICE, FOCAL, IOU)[head] / 4
    # Dice and IoU of a class that is neither there nor predicted are 1
    assert four_head_loss(heads, HEADS_TARGET, EVERYWHERE).item() == pytest.approx(expected, abs=1e-5)


def test_the_focal_factor_carries_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()

    focal(logits, HEADS_TARGET, FIRST_VOXEL).backward()

    # d CE / d logits = p - truth = (1/4, -1/4) in the first voxel, times the factor (1 - 3/4)^2 = 1/16
    expected = torch.tensor([[[[1 / 64, 0.0]], [[-1 / 64, 0.0]]]])
    torch.testing.assert_close(logits.grad, expected)


def test_softmax_twice_is_a_named_ablation_of_the_dice_head_alone() -> None:
    certain = torch.tensor([[[[-30.0, -30.0]], [[30.0, 30.0]]]])

    released = four_head_loss([certain] * 4, HEADS_TARGET, EVERYWHERE, double_softmax_dice=True)

    # softmax of (0, 1) is (0.2689, 0.7311). Class 0: Dice 0; class 1: 2 x 1.4621 / (1.4621 + 2) = 0.8446
    floor = 1 - 2 * 1.4621 / 3.4621 / 2
    assert twice_softmaxed_dice(certain, HEADS_TARGET, EVERYWHERE).item() == pytest.approx(floor, abs=1e-4)
    assert released.item() == pytest.approx(floor / 4, abs=1e-4)


def test_unknown_voxels_do_not_count() -> None:
    labels = torch.tensor([[[1, 255]]], dtype=torch.uint8)
    target, region = known_region(labels)
    heads = (LOGITS,) * 4
    changed: tuple[Tensor, ...] = tuple(
        each + torch.tensor([0.0, 5.0]) * torch.tensor([[[1.0]], [[0.0]]]) for each in heads
    )

    assert four_head_loss(heads, target, region) == four_head_loss(changed, target, region)
    assert four_head_loss(heads, target, region) == four_head_loss(heads, HEADS_TARGET, FIRST_VOXEL)


def test_volumes_are_one_more_axis() -> None:
    heads = (LOGITS[:, :, None],) * 4

    as_volume = four_head_loss(heads, HEADS_TARGET[:, None], EVERYWHERE[:, None])

    assert as_volume.item() == pytest.approx(four_head_loss((LOGITS,) * 4, HEADS_TARGET, EVERYWHERE).item())


def test_one_head_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
        four_head_loss((LOGITS,) * 3, HEADS_TARGET, EVERYWHERE)
