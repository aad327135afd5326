"""The paper's students: a convolutional network and a side encoder that meet at the bottleneck; no prompt needed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from uncol.models.paper_backbones import UNetBackbone, VNetBackbone, unet_heads, vnet_heads
from uncol.models.paper_config import PaperStudentConfig
from uncol.models.prior_encoder import PriorEncoder

HEAD_COUNT = 4
"""One head for each loss of stage 1; their mean is the prediction (method, section 1.1)."""
_SMALLEST_LONGEST_SIDE = 32
"""Leaves two voxels at the bottleneck: instance norm has nothing to normalize in a single one."""
_NOMINAL_HEADS = 4
"""The released code divides the width by this in the scale, but attends with one head (method, section 7, row 13)."""


@dataclass(frozen=True)
class StudentOutput:
    """What a student predicts, and what distillation compares with the generalized teacher.

    Attributes:
        head_logits: Logits of each head (B, C, ...).
        token_maps: Tokens after each layer of the side encoder (B, token_dim, ...).
        prior: What the student knows without a prompt (B, prior_channels, ...).
    """

    head_logits: tuple[Tensor, ...]
    token_maps: tuple[Tensor, ...]
    prior: Tensor

    @property
    def logits(self) -> Tensor:
        """The prediction (B, C, ...): the mean of the heads."""
        return torch.stack(self.head_logits).mean(0)


class PaperStudent(nn.Module):
    """The student of the paper, in 2D or 3D (method, sections 1.1 and 1.2).

    Args:
        config: Its size.
        input_channels: A slice and its neighbors in 2D, 1 in 3D.
        class_count: Classes, background first.

    Source:
        Lu, Hong & Yang, "Harmonizing Generalization and Specialization" (UnCoL),
        IEEE TMI 2026, doi:10.1109/TMI.2026.3664940.
    """

    def __init__(self, config: PaperStudentConfig, input_channels: int, class_count: int) -> None:
        super().__init__()
        self.config = config
        self.class_count = class_count
        self.side_encoder = PriorEncoder(config, input_channels)
        self.backbone: UNetBackbone | VNetBackbone
        if config.dims == 2:
            self.backbone = UNetBackbone(config, input_channels)
            self.heads = unet_heads(config.channels[0], HEAD_COUNT * class_count)
        else:
            self.backbone = VNetBackbone(config, input_channels)
            self.heads = vnet_heads(config.channels[0], HEAD_COUNT * class_count, HEAD_COUNT)
        self.attention = KnowledgeAttention(config.channels[-1], config.prior_channels)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, C, ...) for images (B, channels, ...): the prediction, without any prompt."""
        return self.explain(image).logits

    def explain(self, image: Tensor, knowledge: Tensor | None = None) -> StudentOutput:
        """Return the prediction head by head, with the features that distillation needs.

        Args:
            image: Images (B, channels, ...) whose sides are multiples of `core.config.size_multiple`.
            knowledge: The generalized teacher's aligned features (B, prior_channels, ...) in stage 1;
                None, in stage 2 and in prediction, lets the student use its own prior.

        Raises:
            ValueError: If a side is no such multiple, or if the bottleneck would have a single voxel.
        """
        self._check_sides(image)
        encoding = self.side_encoder(image)
        *skips, bottleneck = self.backbone.encode(image)
        bottleneck = self.attention(bottleneck, encoding.prior if knowledge is None else knowledge)
        logits: Tensor = self.heads(self.backbone.decode([*skips, bottleneck]))
        head_logits = logits.unflatten(1, (HEAD_COUNT, self.class_count)).unbind(1)
        return StudentOutput(head_logits, encoding.token_maps, encoding.prior)

    def _check_sides(self, image: Tensor) -> None:
        dims, multiple, sides = self.config.dims, self.config.size_multiple, tuple(image.shape[2:])
        if len(sides) != dims or any(side % multiple for side in sides) or max(sides) < _SMALLEST_LONGEST_SIDE:
            message = (
                f"The {dims}D student needs images with {dims} sides that are multiples of {multiple} voxels, the "
                f"longest at least {_SMALLEST_LONGEST_SIDE}; got {sides}. Pad or resample the images."
            )
            raise ValueError(message)


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
