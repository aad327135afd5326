"""The side encoder: a small vision transformer that is taught to see as the foundation model sees.

MONAI's `ViT` and `SABlock` are the nearest relatives. They need the package einops and one fixed image size, and
`TransformerBlock` ties the heads' width to the tokens'; so attention and positions are a few lines of our own here.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.networks.blocks import MLPBlock
from torch import Tensor, nn
from torch.nn import functional

from uncol.models.paper_config import PaperStudentConfig

_LONGEST_WAVE = 10_000.0
"""Ratio of the longest to the shortest wave of the positions (Vaswani et al., 2017)."""


@dataclass(frozen=True)
class SideEncoding:
    """What the side encoder sees in an image.

    Attributes:
        token_maps: Tokens after every layer, each (B, token_dim, ...) with one voxel for every patch.
        prior: What the student knows without a prompt (B, prior_channels, ...), on the same grid.
    """

    token_maps: tuple[Tensor, ...]
    prior: Tensor


class PriorEncoder(nn.Module):
    """A SimpleViT: patches, fixed positions, layers with the norm in front; in 2D a neck makes the prior.

    Args:
        config: Patch, width, depth and heads.
        input_channels: Channels of the image.

    Source:
        Beyer, Zhai & Kolesnikov, "Better plain ViT baselines for ImageNet-1k" (2022); the neck is that of
        Segment Anything's image encoder; sizes from method, sections 1.1 and 1.2.
    """

    def __init__(self, config: PaperStudentConfig, input_channels: int) -> None:
        super().__init__()
        self.patch = config.patch
        voxels = input_channels * config.patch**config.dims
        self.embedding = nn.Sequential(
            nn.LayerNorm(voxels), nn.Linear(voxels, config.token_dim), nn.LayerNorm(config.token_dim)
        )
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.token_dim)
        self.neck = _neck(config.token_dim, config.prior_channels) if config.dims == 2 else nn.Identity()

    def forward(self, image: Tensor) -> SideEncoding:
        """Encode images (B, channels, ...) whose sides are multiples of the patch."""
        patches = split_into_patches(image, self.patch)
        grid = patches.shape[1:-1]
        tokens: Tensor = self.embedding(patches.flatten(1, -2))
        tokens = tokens + sincos_positions(grid, tokens.shape[-1]).to(tokens)
        token_maps = []
        for layer in self.layers:
            tokens = layer(tokens)
            token_maps.append(_as_map(tokens, grid))
        return SideEncoding(tuple(token_maps), self.neck(_as_map(self.norm(tokens), grid)))


def split_into_patches(image: Tensor, patch: int) -> Tensor:
    """Cut images (B, C, ...) into patches (B, ..., C * patch^dims), one voxel of the grid for every patch."""
    dims = image.ndim - 2
    sides = itertools.chain.from_iterable((side // patch, patch) for side in image.shape[2:])
    cut = image.reshape(*image.shape[:2], *sides)  # (B, C, D, patch, H, patch, ...)
    grid_axes, voxel_axes = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
    return cut.permute(0, *grid_axes, 1, *voxel_axes).flatten(1 + dims)


def sincos_positions(grid: Sequence[int], width: int) -> Tensor:
    """Return a fixed code of every place of a grid, (places, width), axis after axis: sines, then cosines.

    Every axis gets `width // (2 * axes)` waves, from 1 radian per step to 1/10,000 of it; what is left
    of the width is 0. MONAI's `build_sincos_position_embedding` asks for a width divisible by 6 in 3D.
    """
    wave_count = width // (2 * len(grid))
    waves = _LONGEST_WAVE ** -torch.linspace(0, 1, wave_count)
    places = torch.cartesian_prod(*(torch.arange(side) for side in grid)).reshape(-1, len(grid))
    angles = places[:, :, None] * waves  # (places, axes, waves)
    code = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return functional.pad(code, (0, width - code.shape[1]))


class _Layer(nn.Module):
    """Attention and a perceptron, each added to the tokens that it has seen normalized."""

    def __init__(self, config: PaperStudentConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.token_dim)
        self.attention = _SelfAttention(config.token_dim, config.heads, config.head_dim)
        self.mlp_norm = nn.LayerNorm(config.token_dim)
        self.mlp = MLPBlock(config.token_dim, config.mlp_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.attention_norm(tokens))
        return tokens + self.mlp(self.mlp_norm(tokens))


class _SelfAttention(nn.Module):
    """Attention of tokens (B, N, width) to one another in several heads."""

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.shape = (3, heads, head_dim)
        self.query_key_value = nn.Linear(width, 3 * heads * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        split = self.query_key_value(tokens).unflatten(-1, self.shape)  # (B, N, 3, heads, head_dim)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)  # (B, heads, N, head_dim)
        return self.out(attended.transpose(1, 2).flatten(2))


def _neck(width: int, prior_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, prior_channels, kernel_size=1, bias=False),
        _ChannelNorm(prior_channels),
        nn.Conv2d(prior_channels, prior_channels, kernel_size=3, padding=1, bias=False),
        _ChannelNorm(prior_channels),
    )


class _ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of maps (B, C, H, W), pixel by pixel."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.movedim(1, -1)).movedim(-1, 1)


def _as_map(tokens: Tensor, grid: Sequence[int]) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, tuple(grid))
