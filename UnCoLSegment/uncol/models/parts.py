"""The parts of a student: its encoder, its decoder, and its head, in whose tensors some axes count the classes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

import torch

from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.models.build import build_student

Part = Literal["head", "decoder", "encoder"]

_HEAD = re.compile(r"unet\.final_conv\.|unet\.model\.2\.|heads\.")
_DECODER = re.compile(r"unet\.upcat_|unet\.model(\.1\.submodule)+\.2\.|backbone\.(up|merge)\.")
"""Names of weights in MONAI's `BasicUNet` and `UNet`, and in the paper's students."""


def part_of(name: str) -> Part:
    """Return the part of a student that a weight belongs to, by its name; the bottleneck is the encoder's."""
    if _HEAD.match(name):
        return "head"
    return "decoder" if _DECODER.match(name) else "encoder"


def class_axes(card: ModelCard) -> dict[str, list[int]]:
    """Return which axes of a student's tensors count classes, by name: outputs first, then inputs.

    An axis may count them several times, head by head. It is found by what becomes longer with one structure more.
    """
    unused = min({*range(1, 255)} - {each.value for each in card.structures})
    more = replace(card, structures=(*card.structures, Structure(unused, "one more")), is_connected=())
    with torch.device("meta"):
        before, after = build_student(card).state_dict(), build_student(more).state_dict()
    grown = {
        name: [axis for axis, size in enumerate(tensor.shape) if size != after[name].shape[axis]]
        for name, tensor in before.items()
    }
    return {name: axes for name, axes in grown.items() if axes}
