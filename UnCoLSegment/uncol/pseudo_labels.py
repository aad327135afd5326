"""Two teachers' opinions become one pseudo-label and the region where it counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from uncol.uncertainty import normalized_entropy

_RAMP_STEEPNESS = 5.0
_SIGNS_OF_A_STRUCTURE = 0.1
"""Probability from which the specialized teacher is taken to see signs of a structure."""


def trust_threshold(progress: float, start: float, end: float) -> float:
    """Return the entropy up to which a teacher is trusted.

    `start + (end - start) * exp(-5 (1 - t/T)^2)` (method, section 5, item 3).

    Args:
        progress: t/T of stage 2, in [0, 1].
        start: Asymptote at the beginning.
        end: Threshold at the end.
    """
    return start + (end - start) * math.exp(-_RAMP_STEEPNESS * (1 - progress) ** 2)


def entropy_between_two(probabilities: Tensor) -> Tensor:
    """Return the entropy as a fraction of the largest possible between two classes, at most 1.

    With two classes this is the method's `H / ln C`. With more, `H / ln C` calls a voxel that is torn between
    two of eight classes certain (0.33), so that a threshold of 0.75 trusts everything; `H / ln 2` keeps the
    threshold's meaning: 0.75 is a winning probability of about 0.79.

    Args:
        probabilities: Class probabilities (B, C, ...).
    """
    in_bits = normalized_entropy(probabilities) * math.log2(probabilities.shape[1])
    return in_bits.clamp(max=1.0)


@dataclass(frozen=True)
class PseudoLabel:
    """What the student is asked to learn from an unannotated slice.

    Attributes:
        label: Class indices (B, ...), int64.
        trust_mask: Where at least one teacher is trusted (B, ...), bool.
    """

    label: Tensor
    trust_mask: Tensor


def fuse_pseudo_labels(
    generalized: Tensor,
    specialized: Tensor,
    threshold: float,
    reliability: Tensor | None = None,
    silent: Tensor | None = None,
) -> PseudoLabel:
    """Fuse two teachers' class probabilities, each voxel by the certainty of both.

    Both trusted: `w_g P_g + (1 - w_g) P_s` with `w_g = exp(-U_g) / (exp(-U_g) + exp(-U_s))`; one
    trusted: that one; none: the voxel does not count (method, section 5, items 4 and 5).

    Args:
        generalized: Class probabilities of the foundation teacher (B, C, ...).
        specialized: Class probabilities of the moving average (B, C, ...).
        threshold: Entropy between two classes up to which a teacher is trusted, in [0, 1].
        reliability: For each class (C,) the Dice that the generalized teacher reached on held-out
            annotated slices: its certainty is multiplied by that of the class it votes for. None
            takes 1 for all.
        silent: Where the generalized teacher was not asked about a class that the specialized
            teacher sees (B, ...), bool: there it has no vote. None takes nowhere.
    """
    generalized_entropy = entropy_between_two(generalized)
    specialized_entropy = entropy_between_two(specialized)
    trust_generalized = torch.ones_like(generalized_entropy, dtype=torch.bool)
    if reliability is not None:
        of_vote = reliability[generalized.argmax(1)]
        generalized_entropy = 1 - of_vote * (1 - generalized_entropy)
        trust_generalized = of_vote > 0
    trust_generalized &= generalized_entropy <= threshold
    if silent is not None:
        trust_generalized = trust_generalized & ~silent
    trust_specialized = specialized_entropy <= threshold

    weight = torch.sigmoid(specialized_entropy - generalized_entropy)
    weight = torch.where(trust_generalized & trust_specialized, weight, trust_generalized.float())[:, None]
    fused = weight * generalized + (1 - weight) * specialized
    return PseudoLabel(fused.argmax(1), trust_generalized | trust_specialized)


def trust_one_teacher(specialized: Tensor, threshold: float) -> PseudoLabel:
    """Take the specialized teacher's word (B, C, ...) where its entropy is at most the threshold."""
    return PseudoLabel(specialized.argmax(1), entropy_between_two(specialized) <= threshold)


def where_unasked(specialized: Tensor, asked: Tensor) -> Tensor:
    """Return where the generalized teacher cannot have a vote, because it was not asked.

    Without a box the foundation model cannot see a structure, so its "background" says nothing where the
    specialized teacher sees signs of that structure, nor anywhere in a slice without a single box
    (method, section 7, row 14).

    Args:
        specialized: Class probabilities (B, C, H, W).
        asked: Which structures the generalized teacher was asked about (B, C - 1), bool.

    Returns:
        (B, H, W), bool.
    """
    signs = (specialized[:, 1:] > _SIGNS_OF_A_STRUCTURE) & ~asked[:, :, None, None]
    return signs.any(1) | ~asked.any(1)[:, None, None]
