"""How the chosen foundation model is loaded."""

from __future__ import annotations

import torch

from uncol.core.foundation_choice import FoundationChoice
from uncol.foundation.lite_medsam import load_lite_medsam
from uncol.foundation.promptable import PromptableModel
from uncol.foundation.segment_anything import load_segment_anything


def load_foundation_model(device: torch.device, choice: FoundationChoice) -> PromptableModel:
    """Load the foundation model on a device.

    Raises:
        CheckpointError: If its package or file is missing, damaged or another one.
    """
    if choice.family == "LiteMedSAM" or choice.weights is None:
        return load_lite_medsam(device, choice.weights)
    return load_segment_anything(choice.weights, device, choice.family)
