"""Tests of the moving average: how far it moves, what it copies, that it is never trained itself, and its masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from uncol.core.volume import UNKNOWN_LABEL, SliceView
from uncol.data.cases import FramedCase, SliceIndex
from uncol.data.patch_dataset import PatchDataset
from uncol.training.specialized_teacher import (
    SpecializedSlices,
    make_specialized_teacher,
    update_specialized_teacher,
)


class Scale(nn.Module):
    """One weight and one buffer."""

    def __init__(self, weight: float, steps_seen: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))
        self.register_buffer("steps_seen", torch.tensor(steps_seen))

    def forward(self, value: Tensor) -> Tensor:
        return self.weight * value


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param(0, 2.0, id="first update: 1 - 1/1 = 0 of the old value"),
        pytest.param(1, 6.0, id="second update: 1/2 * 10 + 1/2 * 2"),
        pytest.param(3, 8.0, id="fourth update: 3/4 * 10 + 1/4 * 2"),
        pytest.param(9, 9.2, id="tenth update: 0.9 * 10 + 0.1 * 2"),
        pytest.param(99, 9.92, id="hundredth update: 0.99 * 10 + 0.01 * 2"),
        pytest.param(5000, 9.92, id="later: never slower than the decay"),
    ],
)
def test_an_update_moves_the_weights_by_one_minus_the_decay(step: int, expected: float) -> None:
    teacher, student = make_specialized_teacher(Scale(10.0, 0)), Scale(2.0, 0)

    update_specialized_teacher(teacher, student, step, ema_decay=0.99)

    assert teacher.weight.item() == pytest.approx(expected, abs=1e-5)


def test_the_first_update_copies_the_student_exactly() -> None:
    teacher, student = make_specialized_teacher(nn.Linear(5, 7)), nn.Linear(5, 7)

    update_specialized_teacher(teacher, student, 0, ema_decay=0.99)

    assert torch.equal(teacher.weight, student.weight)
    assert torch.equal(teacher.bias, student.bias)


def test_decay_0_copies_the_student_at_every_step() -> None:
    teacher, student = make_specialized_teacher(Scale(10.0, 0)), Scale(2.0, 0)

    update_specialized_teacher(teacher, student, 500, ema_decay=0.0)

    assert torch.equal(teacher.weight, student.weight)


def test_buffers_are_copied_whatever_the_decay() -> None:
    teacher, student = make_specialized_teacher(Scale(10.0, 3)), Scale(2.0, 41)

    update_specialized_teacher(teacher, student, 500, ema_decay=0.99)

    assert teacher.steps_seen.item() == 41


def test_batch_statistics_of_the_student_reach_the_teacher() -> None:
    student = nn.BatchNorm2d(2)
    teacher = make_specialized_teacher(student)
    student(torch.randn(4, 2, 3, 3))

    update_specialized_teacher(teacher, student, 7, ema_decay=0.99)

    assert torch.equal(teacher.running_mean, student.running_mean)
    assert torch.equal(teacher.running_var, student.running_var)
    assert teacher.num_batches_tracked.item() == 1


def test_an_update_leaves_the_student_as_it_is() -> None:
    teacher, student = make_specialized_teacher(Scale(10.0, 0)), Scale(2.0, 5)

    update_specialized_teacher(teacher, student, 3, ema_decay=0.99)

    assert (student.weight.item(), student.steps_seen.item()) == (2.0, 5)


def test_a_new_teacher_is_a_copy_of_its_own() -> None:
    student = Scale(2.0, 5)
    teacher = make_specialized_teacher(student)

    with torch.no_grad():
        student.weight.fill_(3.0)

    assert (teacher.weight.item(), teacher.steps_seen.item()) == (2.0, 5)


def test_the_teacher_stays_in_evaluation_mode_without_gradients() -> None:
    student = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    teacher = make_specialized_teacher(student)

    update_specialized_teacher(teacher, student, 1, ema_decay=0.9)

    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher(torch.randn(1, 1, 4, 4)).requires_grad


def test_making_a_teacher_leaves_the_student_in_training() -> None:
    student = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout(0.5)).train()

    make_specialized_teacher(student)

    assert all(module.training for module in student.modules())
    assert all(parameter.requires_grad for parameter in student.parameters())


VIEW = SliceView("axial", (0, 1, 2), (False, False, False), (2.0, 1.0, 1.0))


class CountingNetwork(nn.Module):
    """Says structure 1 where the image is above one half, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return torch.cat([0.5 - images, images - 0.5], 1) * 100


def pool_with_two_volumes() -> tuple[PatchDataset, list[FramedCase]]:
    """Volumes of 16 slices from 32 of the image; the upper half is bright, in the second one the lower half."""
    images = torch.zeros(16, 16, 16)
    images[8:] = 1
    native = np.full((32, 16, 16), UNKNOWN_LABEL, dtype=np.uint8)
    native[0] = 1
    labels = torch.from_numpy(native[::2].copy())
    stacks = [FramedCase(VIEW, each, labels, native) for each in (images, 1 - images)]
    return PatchDataset(stacks, 2, (16, 16, 16)), stacks


def test_a_slice_of_a_volume_is_the_nearest_one_that_was_predicted():
    pool, stacks = pool_with_two_volumes()
    specialized = SpecializedSlices(CountingNetwork(), pool, stacks, torch.device("cpu"))

    first, last = specialized([SliceIndex(0, 15), SliceIndex(0, 16)])

    assert first.shape == (2, 16, 16)
    assert (first.argmax(0) == 0).all()
    assert (last.argmax(0) == 1).all()


def test_a_volume_is_predicted_once_for_all_its_slices():
    pool, stacks = pool_with_two_volumes()
    network = CountingNetwork()
    specialized = SpecializedSlices(network, pool, stacks, torch.device("cpu"))

    for case, index in [(0, 1), (0, 2), (0, 30), (1, 1), (1, 2)]:
        specialized([SliceIndex(case, index)])

    assert network.calls == 2
