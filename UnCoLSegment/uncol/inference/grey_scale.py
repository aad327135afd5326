"""The grey values that a student sees of an image as black and white, and whether it knows their like."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from uncol.core.grey_values import Window
from uncol.core.model_card import ModelCard
from uncol.data.windows import FAT_HU, grey_values_of, may_be_hounsfield, own_window

_LEAST_IN_COMMON = 1 / 3
"""What the middle 99 % of an image and a fixed window must have in common, as a part of what both cover."""


def window_for(card: ModelCard, voxels: NDArray[Any]) -> Window:
    """Return the grey values that become 0 and 1 for a model's student, in training and after.

    Hounsfield units mean the same everywhere, and so does a window that the configuration names. Every other image is
    scaled by itself: the same tissue has other numbers on the next scanner.

    Args:
        card: The model's card.
        voxels: The image, of any shape.
    """
    if card.has_fixed_window or grey_values_of(voxels) == "hounsfield":
        return card.window
    return own_window(voxels)


def says_unlike(card: ModelCard, voxels: NDArray[Any]) -> tuple[str, ...]:
    """Return what a user should know where a model never learned from grey values like those of an image (any shape).

    A piece of a CT without air is not remarked on as long as it can be one, nor is a CT where the model can have
    learned from such pieces: the grey values of its first image began where fat lies.
    """
    if card.grey_values == "hounsfield":
        return () if may_be_hounsfield(voxels) else (_NOT_HOUNSFIELD,)
    if grey_values_of(voxels) == "hounsfield":
        return () if card.window[0] < FAT_HU else (_HOUNSFIELD,)
    if card.has_fixed_window and _in_common(own_window(voxels), card.window) < _LEAST_IN_COMMON:
        return (_OUTSIDE.format(*own_window(voxels), *card.window),)
    return ()


def _in_common(first: Window, second: Window) -> float:
    common = min(first[1], second[1]) - max(first[0], second[0])
    return common / (max(first[1], second[1]) - min(first[0], second[0]))


_NOT_HOUNSFIELD = (
    "The model learned from CT, but the grey values of this image do not look like Hounsfield units, so they lie "
    "outside what the model knows. Use a model of such images, or fine-tune one; do not rely on this result."
)
_HOUNSFIELD = (
    "This image looks like a CT, but the model learned from images without Hounsfield units, such as MR, so the grey "
    "values lie outside what the model knows. Use a model of CT, or fine-tune one; do not rely on this result."
)
_OUTSIDE = (
    "The grey values of this image ({:.5g} to {:.5g}) lie outside what the model knows ({:.5g} to {:.5g}, fixed by its "
    "configuration). Bring the image to that scale, or fine-tune a model without data.window."
)
