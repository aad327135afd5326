"""How unsure a set of class probabilities is, voxel by voxel."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def normalized_entropy(probabilities: Tensor) -> Tensor:
    """Return each voxel's predictive entropy as a fraction of the largest possible.

    It says how undecided the probabilities are, not how often they are wrong: see
    `uncol.core.error_detection.error_detection_auroc` for that.

    Args:
        probabilities: Softmax output (B, C, ...) with any spatial axes, C >= 2, in [0, 1], summing to 1 over C.

    Returns:
        Unitless, float32, in [0, 1], shape (B, ...): 0 is certain, 1 is "all classes alike".

    Raises:
        ValueError: If there are fewer than two classes.

    Source:
        Lu, Hong & Yang, "Harmonizing Generalization and Specialization" (UnCoL),
        IEEE TMI 2026, doi:10.1109/TMI.2026.3664940: the uncertainty U = H(p) / ln C of either teacher.
    """
    class_count = probabilities.shape[1] if probabilities.ndim > 1 else 1
    if class_count < 2:
        message = f"Entropy needs probabilities (B, C, ...) of at least 2 classes, got {tuple(probabilities.shape)}."
        raise ValueError(message)
    entropy = torch.special.entr(probabilities.float()).sum(dim=1)
    return (entropy / math.log(class_count)).clamp(0.0, 1.0)


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
