"""The convolutional parts of the paper's students: a U-Net in 2D, a V-Net in 3D, of MONAI's blocks.

MONAI's `BasicUNet` and `VNet` have no place for attention at the bottleneck, and its V-Net has kernels of five
voxels, batch norm and skips that are concatenated.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from monai.networks.blocks import Convolution, UpSample
from torch import Tensor, cat, nn

from uncol.models.paper_config import PaperStudentConfig

_CONVOLUTIONS_PER_LEVEL = (1, 2, 3, 3, 3)
"""Of the V-Net, from full resolution down; its decoder has as many on each level, at full resolution in each head."""


class UNetBackbone(nn.Module):
    """Two convolutions on each level, max-pooling down, bilinear up, skips concatenated (method, section 1.1)."""

    def __init__(self, config: PaperStudentConfig, input_channels: int) -> None:
        super().__init__()
        channels = config.channels
        widths = pairwise((input_channels, *channels))
        self.down = nn.ModuleList(
            _unet_block(before, after, part) for (before, after), part in zip(widths, config.dropout, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        upward = list(pairwise(reversed(channels)))
        self.up = nn.ModuleList(UpSample(2, low, high, 2, mode="nontrainable") for low, high in upward)
        self.merge = nn.ModuleList(_unet_block(2 * high, high, 0.0) for _, high in upward)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return the features of every level, full resolution first, the bottleneck last."""
        features = [self.down[0](image)]
        for block in self.down[1:]:
            features.append(block(self.pool(features[-1])))
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Return features (B, channels[0], H, W)."""
        *skips, decoded = features
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            decoded = merge(cat([skip, up(decoded)], dim=1))
        return decoded


class VNetBackbone(nn.Module):
    """Strided convolutions down, transposed ones up, skips added, instance norm (method, section 1.2)."""

    def __init__(self, config: PaperStudentConfig, input_channels: int) -> None:
        super().__init__()
        channels = config.channels
        self.down = nn.ModuleList(
            [nn.Identity(), *(_vnet_convolution(high, low, halve=True) for high, low in pairwise(channels))]
        )
        self.convolutions = nn.ModuleList(
            _vnet_level(input_channels if level == 0 else width, width, level) for level, width in enumerate(channels)
        )
        self.up = nn.ModuleList(_vnet_convolution(low, high, double=True) for low, high in pairwise(channels[::-1]))
        coarse = list(enumerate(channels))[-2:0:-1]
        self.merge = nn.ModuleList([*(_vnet_level(width, width, level) for level, width in coarse), nn.Identity()])

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return the features of every level, full resolution first, the bottleneck last."""
        features = [image]
        for down, convolutions in zip(self.down, self.convolutions, strict=True):
            features.append(convolutions(down(features[-1])))
        return features[1:]

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Return features (B, channels[0], D, H, W)."""
        *skips, decoded = features
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            decoded = merge(up(decoded) + skip)
        return decoded


def unet_heads(width: int, output_channels: int) -> nn.Module:
    """Return the U-Net's parallel heads, each a 3 x 3 convolution, as one convolution."""
    return nn.Conv2d(width, output_channels, kernel_size=3, padding=1)


def vnet_heads(width: int, output_channels: int, head_count: int) -> nn.Module:
    """Return the V-Net's parallel heads, each a convolution block and a 1 x 1 x 1 convolution, as one.

    The blocks stand side by side in one convolution; groups keep each head's last one to its own block.
    """
    return nn.Sequential(
        _vnet_convolution(width, head_count * width),
        PointwiseInGroups(head_count * width, output_channels, kernel_size=1, groups=head_count),
    )


class PointwiseInGroups(nn.Conv3d):
    """A 1 x 1 x 1 convolution in groups, computed as a product of matrices: the same numbers and weights.

    torch 2.14 has no fast kernel for it on a CPU, where it took about a fifth of a training step.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Return features (B, out_channels, D, H, W) from (B, in_channels, D, H, W)."""
        grouped = features.flatten(2).unflatten(1, (self.groups, -1))  # (B, groups, channels, voxels)
        product = (self.weight.view(self.groups, -1, grouped.shape[2]) @ grouped).flatten(1, 2)
        if self.bias is not None:
            product = product + self.bias[:, None]
        return product.unflatten(2, features.shape[2:])


def _unet_block(before: int, after: int, dropout: float) -> nn.Sequential:
    act = ("leakyrelu", {"negative_slope": 0.01, "inplace": True})
    return nn.Sequential(
        Convolution(2, before, after, adn_ordering="NAD", act=act, norm="batch", dropout=dropout or None),
        Convolution(2, after, after, adn_ordering="NAD", act=act, norm="batch"),
    )


def _vnet_level(before: int, after: int, level: int) -> nn.Sequential:
    count = _CONVOLUTIONS_PER_LEVEL[level]
    return nn.Sequential(*(_vnet_convolution(after if index else before, after) for index in range(count)))


def _vnet_convolution(before: int, after: int, *, halve: bool = False, double: bool = False) -> Convolution:
    strides, kernel_size, padding = (2, 2, 0) if halve or double else (1, 3, 1)
    return Convolution(
        3, before, after, strides, kernel_size, padding=padding, output_padding=0, is_transposed=double,
        adn_ordering="NA", act="relu", norm=("instance", {"affine": False}),
    )  # fmt: skip
