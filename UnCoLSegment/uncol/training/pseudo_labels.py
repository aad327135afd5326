"""Two teachers' predictions become one pseudo-label and the region where it counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from uncol.inference.result import with_background
from uncol.inference.uncertainty import entropy_between_two

# On a CPU, `max(1).indices` takes a tenth of the time of `argmax(1)`; among equals both take the first.

_RAMP_STEEPNESS = 5.0
_SIGNS_OF_A_STRUCTURE = 0.1
"""Probability from which the specialized teacher is taken to see signs of a structure."""


def ramp_up(progress: float) -> float:
    """Return `exp(-5 (1 - t/T)^2)`: 0.0067 at the start, 1 at the end, steep in between.

    Args:
        progress: t/T, in [0, 1].
    """
    return math.exp(-_RAMP_STEEPNESS * (1 - progress) ** 2)


def trust_threshold(progress: float, start: float, end: float) -> float:
    """Return the entropy up to which a teacher is trusted.

    `start + (end - start) * exp(-5 (1 - t/T)^2)` (method, section 5, item 3).

    Args:
        progress: t/T of stage 2, in [0, 1].
        start: Asymptote at the beginning.
        end: Threshold at the end.
    """
    return start + (end - start) * ramp_up(progress)


@dataclass(frozen=True)
class PseudoLabel:
    """What the student has to learn from an unannotated slice.

    Attributes:
        label: Class indices (B, ...), int64.
        trust_mask: Where at least one teacher is trusted (B, ...), bool.
        probabilities: What the teachers predict (B, C, ...), weighed as for the label, but with their own certainty and
            not the discounted one.
    """

    label: Tensor
    trust_mask: Tensor
    probabilities: Tensor


@dataclass(frozen=True)
class Reliability:
    """How reliable each teacher is, for every class: its certainty is discounted by that.

    Attributes:
        generalized: Dice (B, C) of the foundation teacher on each slice; at 0 its prediction does not count.
        specialized: The same (B, C) of the moving average. Background stands first and is not looked at.
    """

    generalized: Tensor
    specialized: Tensor


def equally_reliable(reliability: Reliability) -> Reliability:
    """Discount nothing wherever there is a prediction: the paper's fusion."""
    return Reliability((reliability.generalized > 0).float(), torch.ones_like(reliability.specialized))


def fuse_pseudo_labels(
    generalized: Tensor, specialized: Tensor, threshold: float, reliability: Reliability, unprompted: Tensor
) -> PseudoLabel:
    """Fuse two teachers' class probabilities, each voxel by the discounted certainty of both.

    First each teacher's certainty is discounted: `P <- r P + (1 - r) / C`, with its reliability r for the structure
    that is the candidate at the voxel; r = 1 is the paper's fusion. Then, both trusted:
    `w_g P_g + (1 - w_g) P_s` with `w_g = exp(-U_g) / (exp(-U_g) + exp(-U_s))`; one trusted: that one; none: the
    voxel does not count (method, section 5, items 4 and 5, and section 8).

    Args:
        generalized: Class probabilities of the foundation teacher (B, C, ...).
        specialized: Class probabilities of the moving average (B, C, ...).
        threshold: Entropy between two classes up to which a teacher is trusted, in [0, 1].
        reliability: How reliable both teachers are on each slice, from what they reached on annotated ones.
        unprompted: Where the generalized teacher has no prediction because it was not prompted (B, ...), bool.
    """
    candidate_class = 1 + (generalized[:, 1:] + specialized[:, 1:]).max(1).indices
    slices = torch.arange(len(candidate_class)).view(-1, *[1] * (candidate_class.ndim - 1))
    generalized_reliability = reliability.generalized[slices, candidate_class]
    discounted_generalized = discount_by_reliability(generalized, generalized_reliability)
    discounted_specialized = discount_by_reliability(specialized, reliability.specialized[slices, candidate_class])

    generalized_entropy = entropy_between_two(discounted_generalized)
    specialized_entropy = entropy_between_two(discounted_specialized)
    trust_generalized = (generalized_entropy <= threshold) & (generalized_reliability > 0) & ~unprompted
    trust_specialized = specialized_entropy <= threshold

    weight = torch.sigmoid(specialized_entropy - generalized_entropy)
    weight = torch.where(trust_generalized & trust_specialized, weight, trust_generalized.float())[:, None]
    fused = weight * discounted_generalized + (1 - weight) * discounted_specialized
    undiscounted = weight * generalized + (1 - weight) * specialized
    return PseudoLabel(fused.max(1).indices, trust_generalized | trust_specialized, undiscounted)


def fuse_by_share(generalized: Tensor, specialized: Tensor, share: Tensor, threshold: float) -> PseudoLabel:
    """Fuse the generalized sources with the specialized teacher as their agreement with each other says.

    `P = (1 - a) P_g + a P_s` for each structure, background is what they leave over (method, section 3), and a voxel
    counts where the entropy of that is at most the threshold (section 5, item 5).

    Args:
        generalized: Probability of each structure (B, N, ...).
        specialized: Class probabilities of the moving average (B, N + 1, ...).
        share: Part a of the moving average (B, N), in [0, 1].
        threshold: Entropy between two classes up to which voxels are trusted, in [0, 1].
    """
    part = share.view(*share.shape, *[1] * (generalized.ndim - 2))
    fused = with_background(((1 - part) * generalized + part * specialized[:, 1:]).movedim(1, 0)).movedim(0, 1)
    return PseudoLabel(fused.max(1).indices, entropy_between_two(fused) <= threshold, fused)


def reliability_at_distance(reliability: Tensor, gaps: Tensor) -> Tensor:
    """Return a teacher's reliability on each slice: 1 at an annotated one, falling linearly to what it reached far off.

    Args:
        reliability: Dice (C,) at the distance of one gap between annotated slices.
        gaps: Distance (B,) of each slice to the nearest annotated one, in gaps, at most 1.

    Returns:
        (B, C), in [0, 1].
    """
    return 1 - (1 - reliability) * gaps[:, None]


def discount_by_reliability(probabilities: Tensor, reliability: Tensor) -> Tensor:
    """Mix class probabilities (B, C, ...) with "anything is possible" as reliability (B, ...) in [0, 1] asks for."""
    kept = reliability[:, None]
    return kept * probabilities + (1 - kept) / probabilities.shape[1]


def gate_specialized(specialized: Tensor, threshold: float) -> PseudoLabel:
    """Take the specialized teacher's prediction (B, C, ...) where its entropy is at most the threshold."""
    return PseudoLabel(specialized.max(1).indices, entropy_between_two(specialized) <= threshold, specialized)


def gate_generalized(generalized: Tensor, threshold: float, reliability: Tensor, unprompted: Tensor) -> PseudoLabel:
    """Take the generalized teacher's prediction alone, where there is one and its discounted entropy is low enough.

    Args:
        generalized: Class probabilities (B, C, ...).
        threshold: Entropy between two classes up to which it is trusted, in [0, 1].
        reliability: Dice (B, C) by which it is discounted; background stands first and is not looked at.
        unprompted: Where it has no prediction because it was not prompted (B, ...), bool.
    """
    candidate_class = 1 + generalized[:, 1:].max(1).indices
    slices = torch.arange(len(candidate_class)).view(-1, *[1] * (candidate_class.ndim - 1))
    own = reliability[slices, candidate_class]
    entropy = entropy_between_two(discount_by_reliability(generalized, own))
    return PseudoLabel(generalized.max(1).indices, (entropy <= threshold) & (own > 0) & ~unprompted, generalized)


def unprompted_region(specialized: Tensor, prompted: Tensor) -> Tensor:
    """Return where the generalized teacher cannot have a prediction, because it was not prompted.

    Without a box the foundation model cannot see a structure, so its "background" says nothing where the
    specialized teacher sees signs of that structure, nor anywhere in a slice without a single box
    (method, section 7, row 14).

    Args:
        specialized: Class probabilities (B, C, H, W).
        prompted: Which structures the generalized teacher was prompted for (B, C - 1), bool.

    Returns:
        (B, H, W), bool.
    """
    signs = (specialized[:, 1:] > _SIGNS_OF_A_STRUCTURE) & ~prompted[:, :, None, None]
    return signs.any(1) | ~prompted.any(1)[:, None, None]
