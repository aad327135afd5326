"""Which grey values a network sees as black and white, and whether they are Hounsfield units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uncol.core.grey_values import SOFT_TISSUE_WINDOW_HU, GreyValues, Window
from uncol.core.volume import UNKNOWN_LABEL

_SAMPLE_LIMIT = 2_000_000
_AIR_HU, _BETWEEN_HU, _TISSUE_HU = (-1100.0, -500.0), (-500.0, -200.0), (-200.0, 200.0)
"""Air and lung; edges between air and tissue, for no anatomy has these values; fat and soft tissue."""
_PEAKS_HU = [(low, low + 100.0) for low in range(-1100, -749, 50)]
"""Where the values of air or lung may heap up."""
FAT_HU, _SOFT_HU = -20.0, (-160.0, 400.0)
"""Below the former, and above air, lie fat and edges; between the latter an organ without fat."""
_AIR_PART, _FAT_PART, _DARK_PART = 0.01, 0.005, 0.001
"""Least parts of a CT that are air or fat, and of an organ without fat that lie below water."""
_PEAK, _VALLEY = 1.2, 0.15
"""How much denser the values of air are than those between air and tissue, at least; and these than those of tissue,
at most, where there is no air."""
_LEAST_WIDTH_HU = 20.0
"""Values of a CT differ at least by as much: its noise."""
_PADDING_PART, _PADDING_GAP, _MOST_PADDINGS = 0.005, 0.5, 3
"""Least part of an image that counts as padding, how far below the other values it lies, in widths of those, and how
many such numbers there may be."""


def grey_values_of(voxels: NDArray[np.generic]) -> GreyValues:
    """Tell from the distribution of an image of any shape whether its grey values are Hounsfield units.

    They are where a part of it is air: at least 1 % between -1100 and -500 HU, heaped up there, with fat or edges
    between air and water. Padding and artifacts below air neither make a CT nor unmake one. A piece of a CT without
    air cannot be told from other images.
    """
    return "hounsfield" if _shows_air(_sample(voxels)) else "arbitrary"


def may_be_hounsfield(voxels: NDArray[np.generic]) -> bool:
    """Say whether an image can be a CT or a piece of one: it shows air, or fat, or soft tissue alone."""
    sample = _sample(voxels)
    if _shows_air(sample):
        return True
    sample, (low, high) = _own(sample)
    if _density(sample, _BETWEEN_HU) >= _VALLEY * _density(sample, _TISSUE_HU):
        return False
    has_fat, is_dark = (sample < FAT_HU).mean() >= _FAT_PART, (sample < 0).mean() >= _DARK_PART
    is_soft = _SOFT_HU[0] <= low and low + _LEAST_WIDTH_HU <= high <= _SOFT_HU[1]
    return bool(has_fat or (is_dark and is_soft))


def choose_window(voxels: NDArray[np.generic], labels: NDArray[np.uint8] | None = None) -> Window:
    """Choose the grey values that are spread over the networks' input range.

    A CT gets the soft-tissue window, widened by the annotated structures, any other image its own middle 99 %.

    Args:
        voxels: Image of any shape.
        labels: The structures to be segmented, of the same shape, 0 background and 255 unknown, or None.
    """
    return hounsfield_window(voxels, labels) if grey_values_of(voxels) == "hounsfield" else own_window(voxels)


def hounsfield_window(voxels: NDArray[np.generic], labels: NDArray[np.uint8] | None) -> Window:
    """Return the soft-tissue window, widened until it covers the middle 98 % of the annotated structures.

    Args:
        voxels: A CT of any shape.
        labels: As in `choose_window`.
    """
    low, high = SOFT_TISSUE_WINDOW_HU
    if labels is not None:
        structure = voxels[(labels != 0) & (labels != UNKNOWN_LABEL)]
        if structure.size:
            first, last = np.percentile(structure.astype(np.float32), (1, 99))
            low, high = min(low, float(first)), max(high, float(last))
    return low, high


def own_window(voxels: NDArray[np.generic]) -> Window:
    """Return the middle 99 % of an image of any shape without its padding: values that mean nothing in another one."""
    _, (low, high) = _own(_sample(voxels))
    if high == low:
        low, high = float(voxels.min()), float(voxels.max())
    return (low, high) if high > low else (low, low + 1)


def _sample(voxels: NDArray[np.generic]) -> NDArray[np.float32]:
    step = max(1, voxels.size // _SAMPLE_LIMIT)
    return voxels.flat[::step].astype(np.float32)  # `ravel` would copy a whole stack that is flipped


def _shows_air(sample: NDArray[np.float32]) -> bool:
    inside = sample[sample >= _AIR_HU[0]]
    if not inside.size:
        return False
    tissue = inside[inside > _AIR_HU[1]]
    is_heaped = max(_density(inside, each) for each in _PEAKS_HU) >= _PEAK * _density(inside, _BETWEEN_HU)
    has_fat = tissue.size > 0 and (tissue < FAT_HU).mean() >= _FAT_PART
    return bool(1 - tissue.size / inside.size >= _AIR_PART and is_heaped and has_fat)


def _density(values: NDArray[np.float32], between: Window) -> float:
    low, high = between
    return float(((values >= low) & (values <= high)).sum()) / (high - low)


def _own(sample: NDArray[np.float32]) -> tuple[NDArray[np.float32], Window]:
    """Return the values without padding, and their middle 99 %.

    Padding is a negative number, or a few, that fills a part of the image and lies far below all others.
    """
    kept = others = sample
    for _ in range(_MOST_PADDINGS):
        lowest = others.min()
        higher = others[others > lowest]
        if lowest >= 0 or not 0 < higher.size <= (1 - _PADDING_PART) * others.size:
            break
        others = higher
        low, high = _middle(others)
        if 0 < _PADDING_GAP * (high - low) <= low - lowest:
            kept = others
    return kept, _middle(kept)


def _middle(values: NDArray[np.float32]) -> Window:
    low, high = np.percentile(values, (0.5, 99.5))
    return float(low), float(high)
