"""The students, prompt-free U-Nets: in 2D over a slice with its neighbors, in 3D over a patch of a volume."""

from __future__ import annotations

import torch
from monai.networks.nets import BasicUNet, UNet
from torch import Tensor, nn
from torch.nn import functional

from uncol.core.config import StudentConfig

SIZE_MULTIPLE = 16
"""Every side of the input must be a multiple of this: four times halved; one side at least twice as long."""
_HALVINGS = 4


class Student2D(nn.Module):
    """A U-Net over one slice whose input channels are the slice and its neighbors.

    Args:
        config: Feature channels and dropout.
        neighbor_count: Input channels.
        class_count: Output channels, background first.
    """

    def __init__(self, config: StudentConfig, neighbor_count: int, class_count: int) -> None:
        super().__init__()
        channels = config.channels
        self.unet = BasicUNet(
            spatial_dims=2,
            in_channels=neighbor_count,
            out_channels=class_count,
            features=(*channels, channels[0]),
            norm=("instance", {"affine": True}),
            dropout=config.dropout,
        )
        _normalize_channel_by_channel(self.unet)

    def forward(self, slices: Tensor) -> Tensor:
        """Return logits (B, C, H, W) for slices (B, neighbors, H, W); H and W are multiples of 16, not both 16."""
        return self.unet(slices)


class Student3D(nn.Module):
    """A residual U-Net over one patch, whose features begin at half of the resolution: fast enough for a CPU.

    Args:
        config: Feature channels, from half resolution down, and dropout.
        class_count: Output channels, background first.
    """

    def __init__(self, config: StudentConfig, class_count: int) -> None:
        super().__init__()
        self.unet = UNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=class_count,
            channels=config.channels,
            strides=(2,) * _HALVINGS,
            num_res_units=1,
            norm=("instance", {"affine": True}),
            dropout=config.dropout,
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Return logits (B, C, D, H, W) for patches (B, 1, D, H, W); D, H and W are multiples of 16, not all 16."""
        return self.unet(patches)


class ChannelNorm(nn.GroupNorm):
    """Instance norm by the faster of torch's two kernels: the same numbers and weights.

    On a CPU, torch 2.14 has a channels-last kernel for group norm only, which takes a fifth off a training step in
    float32 and adds three quarters to one in bfloat16 (performance/training_step.py).
    """

    def __init__(self, like: nn.InstanceNorm2d) -> None:
        super().__init__(like.num_features, like.num_features, eps=like.eps)
        self.load_state_dict(like.state_dict())

    def forward(self, features: Tensor) -> Tensor:
        """Return features (B, C, H, W) with mean 0 and deviation 1 in every channel of every sample, then scaled."""
        if features.dtype is torch.bfloat16 and features.device.type == "cpu":
            return functional.instance_norm(features, weight=self.weight, bias=self.bias, eps=self.eps)
        return super().forward(features)


def _normalize_channel_by_channel(network: nn.Module) -> None:
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.InstanceNorm2d):
                setattr(module, name, ChannelNorm(child))
