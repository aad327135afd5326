"""What was carried to a slice from several sides becomes one answer, by how well the carried images agree with its own.

Source:
    Coupe, Manjon, Fonov, Pruessner, Robles & Collins, "Patch-based segmentation using expert priors: application to
    hippocampus and ventricle segmentation", NeuroImage 54(2), 2011, doi:10.1016/j.neuroimage.2010.09.018 (weights of
    patches, with the bandwidth taken from the best of them). Motion from slice to slice, and two sides, are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from uncol.evaluation.metrics import dice

Maps = NDArray[np.float32]

_EDGE_PIXELS = 0.5
"""Width of a carried contour's edge."""
_PATCH_PIXELS = 0.8
"""Standard deviation of the weights with which a pixel's neighbors tell how well images agree."""
_SHIFTS = [*product((-1, 0, 1), (-1, 0, 1))]
_SHIFT_PIXELS = 0.7
"""Standard deviation of the weights of shifted answers."""
_EVEN_HANDED = 10.0
"""How many times the median difference of a slice's best answers two answers may differ and still count alike."""
_LEAST_DIFFERENCE = 1e-5
_ALIKE = 12
"""Power of the Dice by which interpolated contours count beside carried ones."""


@dataclass(frozen=True)
class Source:
    """One annotated slice as it is seen from another.

    Attributes:
        image: Its image (h, w), carried there.
        probabilities: Its structures (N, h, w), carried there.
    """

    image: Maps
    probabilities: Maps


def match(image: Maps, sources: Sequence[Source], nearness: Sequence[float] | NDArray[np.float64]) -> Maps:
    """Fuse carried structures by how well the images carried with them agree with the slice's own.

    Each source answers for every pixel as it is and shifted by one pixel each way; an answer weighs
    `n g exp(-d / (d_min + e))` with its source's nearness n, a Gaussian g of the shift, and the squared difference d of
    the images, averaged over the pixel's neighbors (`d_min`: of the best answer there; e: ten times the median of d_min
    in the slice, so that noise decides nothing).

    Args:
        image: The slice (h, w) in [0, 1].
        sources: What was carried to it.
        nearness: How near each source's slice is, as its weight; one of 0 has no say at all, one must be above.

    Returns:
        Probabilities (N, h, w).
    """
    heard = [(source, near) for source, near in zip(sources, nearness, strict=True) if near > 0]
    differences = np.stack(
        [
            gaussian_filter((_shifted(source.image, shift) - image) ** 2, _PATCH_PIXELS, mode="nearest", truncate=2.5)
            for source, _ in heard
            for shift in _SHIFTS
        ]
    )
    best = differences.min(0)
    prior = [near * _gaussian(shift) for _, near in heard for shift in _SHIFTS]
    evenness = _EVEN_HANDED * np.median(best) + _LEAST_DIFFERENCE
    weights = np.exp(-differences / (best + evenness)) * np.array(prior, dtype=np.float32)[:, None, None]
    weights /= weights.sum(0)
    fused = np.zeros_like(sources[0].probabilities)
    answers = ((source.probabilities, shift) for source, _ in heard for shift in _SHIFTS)
    for weight, (probabilities, shift) in zip(weights, answers, strict=True):
        fused += weight * _shifted(probabilities, shift)
    return fused


def mix_alike(carried: Maps, interpolated: Maps) -> Maps:
    """Return carried structures, mixed with interpolated ones as far as both agree.

    The interpolated one has a share of `w / (1 + w)`, `w = A^12`, with their Dice A over all slices of the stretch:
    where shapes change little their errors differ and cancel, where they change much motion alone knows.

    Args:
        carried: Probabilities (L, N, h, w).
        interpolated: Likewise.
    """
    pairs = zip(carried.swapaxes(0, 1) > 0.5, interpolated.swapaxes(0, 1) > 0.5, strict=True)  # inside
    weights = np.array([dice(first, second) for first, second in pairs], dtype=np.float32) ** _ALIKE
    shares = (weights / (1 + weights))[:, None, None]
    mixed: Maps = (1 - shares) * carried + shares * interpolated
    return mixed


def inside(distance: Maps) -> Maps:
    """Return the probability of being inside, from a signed distance in pixels."""
    inside: Maps = 1 / (1 + np.exp(-distance / _EDGE_PIXELS))
    return inside


def _shifted(maps: Maps, shift: tuple[int, int]) -> Maps:
    """Return maps (..., h, w) of which each pixel shows what lies `shift` rows and columns away, inside the edges."""
    rows, columns = (np.arange(size) + by for size, by in zip(maps.shape[-2:], shift, strict=True))
    return maps[..., rows.clip(0, len(rows) - 1)[:, None], columns.clip(0, len(columns) - 1)]


def _gaussian(shift: tuple[int, int]) -> float:
    return float(np.exp(-(shift[0] ** 2 + shift[1] ** 2) / (2 * _SHIFT_PIXELS**2)))
