"""How large the paper's students are; the defaults are the paper's, smaller ones are for small images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

from uncol.core.errors import ConfigError

LEVEL_COUNT = 5
"""Resolutions of the convolutional part: the lowest one is four times halved."""
_HALVINGS_FACTOR = 2 ** (LEVEL_COUNT - 1)
_NO_DROPOUT = (0.0,) * LEVEL_COUNT
_SMALL: dict[str, Any] = {"patch": 8, "token_dim": 64, "head_dim": 16, "mlp_dim": 128}


@dataclass(frozen=True, kw_only=True)
class PaperStudentConfig:
    """Size of a student with side encoder (method, sections 1.1 and 1.2).

    Source:
        Lu, Hong & Yang, "Harmonizing Generalization and Specialization" (UnCoL),
        IEEE TMI 2026, doi:10.1109/TMI.2026.3664940.
    """

    dims: Literal[2, 3] = 2
    """2: U-Net over slices; 3: V-Net over volumes."""
    channels: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Feature channels of the convolutional part, from full resolution down."""
    dropout: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.5)
    """Part of the features that the U-Net's encoder drops in training, level by level; the V-Net drops none."""
    patch: int = 16
    """Side of the patches that the side encoder turns into tokens, in voxels."""
    token_dim: int = 128
    """Width of a token."""
    depth: int = 4
    """Transformer layers."""
    heads: int = 4
    """Attention heads of a layer."""
    head_dim: int = 64
    """Width of an attention head."""
    mlp_dim: int = 256
    """Hidden width of a layer's perceptron."""

    def __post_init__(self) -> None:
        if self.dims not in (2, 3):
            raise ConfigError(_unusable("dims must be 2 or 3", self.dims))
        for name in ("channels", "dropout"):
            if len(getattr(self, name)) != LEVEL_COUNT:
                raise ConfigError(_unusable(f"{name} needs {LEVEL_COUNT} numbers", getattr(self, name)))
        sizes = (*self.channels, self.patch, self.token_dim, self.depth, self.heads, self.head_dim, self.mlp_dim)
        if min(sizes) < 1:
            raise ConfigError(_unusable("every size must be at least 1", sizes))
        if not all(0 <= part < 1 for part in self.dropout):
            raise ConfigError(_unusable("dropout must be in [0, 1)", self.dropout))
        if self.token_dim < 2 * self.dims:
            raise ConfigError(_unusable(f"token_dim must be at least {2 * self.dims}", self.token_dim))

    @classmethod
    def paper_2d(cls) -> Self:
        """Return the paper's 2D student, for slices of 256 x 256 pixels."""
        return cls()

    @classmethod
    def paper_3d(cls) -> Self:
        """Return the paper's 3D student, for patches of 128 x 128 x 128 voxels."""
        return cls(dims=3, dropout=_NO_DROPOUT, token_dim=256, mlp_dim=1024)

    @classmethod
    def small_2d(cls) -> Self:
        """Return a 2D student for slices of 100 to 200 pixels, trained in minutes on a CPU."""
        return cls(channels=(16, 32, 64, 96, 128), dropout=(0.0, 0.0, 0.0, 0.1, 0.2), **_SMALL)

    @classmethod
    def small_3d(cls) -> Self:
        """Return a 3D student for patches of about 48 x 64 x 48 voxels, trained in minutes on a CPU."""
        return cls(dims=3, channels=(8, 16, 32, 48, 64), dropout=_NO_DROPOUT, **_SMALL)

    @property
    def size_multiple(self) -> int:
        """Each side of the input must be a multiple of this many voxels."""
        return math.lcm(_HALVINGS_FACTOR, self.patch)

    @property
    def prior_channels(self) -> int:
        """Channels of the prior, and of any knowledge that takes its place."""
        return self.channels[-1] if self.dims == 2 else self.token_dim


def _unusable(rule: str, got: object) -> str:
    return f"The paper's student cannot be built: {rule}, got {got!r}. Start from one of the ready-made sizes."
