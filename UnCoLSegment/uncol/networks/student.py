"""The 2D student with neighboring slices: a prompt-free U-Net."""

from __future__ import annotations

from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from uncol.config import StudentConfig

SIZE_MULTIPLE = 16
"""Rows and columns of the input must be multiples of this: four times halved."""


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
        """Return logits (B, C, H, W) for slices (B, neighbors, H, W); H and W are multiples of 16."""
        logits: Tensor = self.unet(slices)
        return logits


def _normalize_channel_by_channel(network: nn.Module) -> None:
    """Compute instance norm as group norm with one channel a group: the same numbers and weights.

    torch 2.14 has a channels-last kernel for group norm only; a training step on a CPU takes a fifth less time
    (benchmarks/training_step.py).
    """
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.InstanceNorm2d):
                same = nn.GroupNorm(child.num_features, child.num_features, eps=child.eps)
                same.load_state_dict(child.state_dict())
                setattr(module, name, same)
