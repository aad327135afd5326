"""The students, prompt-free U-Nets: in 2D over a slice with its neighbors, in 3D over a patch of a volume."""

from __future__ import annotations

from monai.networks.nets import BasicUNet, UNet
from torch import Tensor, nn

from uncol.core.config import StudentConfig
from uncol.models.cpu_layers import with_cpu_layers

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
        with_cpu_layers(self.unet)

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
        with_cpu_layers(self.unet)

    def forward(self, patches: Tensor) -> Tensor:
        """Return logits (B, C, D, H, W) for patches (B, 1, D, H, W); D, H and W are multiples of 16, not all 16."""
        return self.unet(patches)
