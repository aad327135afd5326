"""The student: sizes, and a faster norm that computes the same numbers."""

from __future__ import annotations

import torch
from monai.networks.nets import BasicUNet
from torch import nn

from uncol.core.config import StudentConfig
from uncol.models.unet import SIZE_MULTIPLE, ChannelNorm, Student2D, Student3D

SMALL = StudentConfig(channels=(8, 8, 16, 16, 16))


def test_it_gives_one_logit_for_each_class_and_pixel() -> None:
    student = Student2D(SMALL, neighbor_count=3, class_count=4)

    assert student(torch.rand(2, 3, 2 * SIZE_MULTIPLE, 3 * SIZE_MULTIPLE)).shape == (2, 4, 32, 48)


def test_it_computes_what_the_same_network_with_instance_norm_computes() -> None:
    student = Student2D(SMALL, neighbor_count=3, class_count=2).eval()
    with_instance_norm = BasicUNet(2, 3, 2, (*SMALL.channels, 8), norm=("instance", {"affine": True})).eval()
    for weights in student.parameters():
        nn.init.normal_(weights, std=0.2)
    with_instance_norm.load_state_dict(student.unet.state_dict())
    slices = torch.rand(2, 3, 32, 48)

    torch.testing.assert_close(student(slices), with_instance_norm(slices))
    assert not any(isinstance(each, nn.InstanceNorm2d) for each in student.modules())


def test_the_3d_student_gives_one_logit_for_each_class_and_voxel() -> None:
    student = Student3D(SMALL, class_count=3)

    assert student(torch.rand(2, 1, SIZE_MULTIPLE, 2 * SIZE_MULTIPLE, 3 * SIZE_MULTIPLE)).shape == (2, 3, 16, 32, 48)


def test_its_norm_in_bfloat16_is_that_in_float32_within_rounding() -> None:
    norm = ChannelNorm(nn.InstanceNorm2d(4, affine=True))
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    features = 5 + 3 * torch.randn(2, 4, 16, 16)

    rounded = norm(features.bfloat16())

    assert rounded.dtype is torch.bfloat16
    torch.testing.assert_close(rounded.float(), norm(features), atol=0.05, rtol=0.02)
