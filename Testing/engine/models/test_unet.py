"""The student: sizes, and faster layers that compute the same numbers."""

from __future__ import annotations

import torch
from monai.networks.nets import BasicUNet, UNet
from torch import nn

from uncol.core.config import StudentConfig
from uncol.models.unet import SIZE_MULTIPLE, Student2D, Student3D

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


def test_the_3d_student_computes_what_the_same_network_with_instance_norm_computes() -> None:
    student = Student3D(SMALL, class_count=3)
    norm = ("instance", {"affine": True})
    plain = UNet(3, 1, 3, SMALL.channels, (2, 2, 2, 2), num_res_units=1, norm=norm)
    for weights in student.parameters():
        nn.init.normal_(weights, std=0.2)
    plain.load_state_dict(student.unet.state_dict())
    patches = torch.rand(2, 1, 16, 32, 48)

    torch.testing.assert_close(student(patches), plain(patches), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(each, nn.InstanceNorm3d) for each in student.modules())


def test_the_3d_student_gives_one_logit_for_each_class_and_voxel() -> None:
    student = Student3D(SMALL, class_count=3)

    assert student(torch.rand(2, 1, SIZE_MULTIPLE, 2 * SIZE_MULTIPLE, 3 * SIZE_MULTIPLE)).shape == (2, 3, 16, 32, 48)
