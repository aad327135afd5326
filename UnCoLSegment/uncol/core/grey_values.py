"""What the grey values of images mean: Hounsfield units, or numbers that every scanner chooses by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

GreyValues = Literal["hounsfield", "arbitrary"]
"""Those of CT, or those of MR and everything else."""
Window = tuple[float, float]
"""The grey values that are shown as black and as white."""

KINDS: dict[GreyValues, str] = {
    "hounsfield": "CT (Hounsfield units)",
    "arbitrary": "MR or other (no Hounsfield units)",
}
"""Images by their grey values, in words."""
SOFT_TISSUE_WINDOW_HU: Window = (-160.0, 240.0)


def grey_values_in(card: Mapping[str, Any]) -> Any:
    """Return what a model's card says about grey values; of a card of before, what its window tells.

    A CT's window began at -160 HU or below; that of any other image was its percentiles.
    """
    if "grey_values" in card:
        return card["grey_values"]
    match card.get("window"):
        case [float() | int() as low, _] if low <= SOFT_TISSUE_WINDOW_HU[0]:
            return "hounsfield"
    return "arbitrary"
