"""Where knowledge enters the student: cross-attention at the bottleneck of its convolutional part."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

_NOMINAL_HEADS = 4
"""The released code divides the width by this in the scale, but attends with one head (method, section 7, row 13)."""


class KnowledgeAttention(nn.Module):
    """Residual single-head cross-attention `x + W_o softmax(Q K^T s) V` with `s = (channels / 4)^-0.5`.

    Queries come from the features, keys and values from the knowledge: the student's own prior, or the
    generalized teacher's features in stage 1. The grids may differ. MONAI's nearest relative,
    `CrossAttentionBlock`, knows no other scale than that of its heads' width.

    Args:
        channels: Channels of the features.
        knowledge_channels: Channels of the knowledge.

    Source:
        Method, section 1.1 (UnCoL, IEEE TMI 2026, doi:10.1109/TMI.2026.3664940).
    """

    def __init__(self, channels: int, knowledge_channels: int) -> None:
        super().__init__()
        self.scale = (channels / _NOMINAL_HEADS) ** -0.5
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(knowledge_channels, channels)
        self.value = nn.Linear(knowledge_channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, features: Tensor, knowledge: Tensor) -> Tensor:
        """Return features (B, channels, ...) that have looked at knowledge (B, knowledge_channels, ...)."""
        asking, known = features.flatten(2).transpose(1, 2), knowledge.flatten(2).transpose(1, 2)
        attended = functional.scaled_dot_product_attention(
            self.query(asking), self.key(known), self.value(known), scale=self.scale
        )
        return features + self.out(attended).transpose(1, 2).reshape(features.shape)
