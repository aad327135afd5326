"""Pieces of a structure: the largest one, and false islands apart from a structure known to be in one piece."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import generate_binary_structure
from scipy.ndimage import label as connected_components

_COARSE_SIDE = 128
"""Pieces are found in slices of at most this many blocks of pixels, so that memory stays small."""
_LARGE_PIECE = 0.2
"""A piece of at least this part of the largest one is kept: a structure may be cut by the edge of the image."""
_ONE_PIECE_SHARE = 0.9
"""Part of a structure's annotated area that the largest piece of each slice holds if it is in one piece."""


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of a mask (H, W) or (D, H, W)."""
    parts, count = connected_components(mask)
    if count <= 1:
        return mask
    return parts == np.bincount(parts.ravel())[1:].argmax() + 1


def is_connected(masks: Iterable[NDArray[np.bool_]]) -> bool:
    """Say whether annotated slices (H, W) show a structure in one piece, as an organ, not scattered, as lesions."""
    areas = [(int(largest_component(mask).sum()), int(mask.sum())) for mask in masks]
    largest, total = (sum(each) for each in zip((0, 0), *areas, strict=True))
    return total > 0 and largest >= _ONE_PIECE_SHARE * total


def remove_small_components(labels: NDArray[np.uint8], values: Sequence[int]) -> dict[int, int]:
    """Set islands of structures to background, in place.

    An island lies apart from the largest piece of its structure and has less than a fifth of its volume.

    Args:
        labels: Label stack (S, H, W).
        values: Label values of structures that are in one piece.

    Returns:
        How many voxels were removed, by label value; values without islands are left out.
    """
    step = -(-max(labels.shape[1:]) // _COARSE_SIDE)
    removed: dict[int, int] = {}
    for value in values:
        kept = _large_pieces(np.stack([_count_in_blocks(each == value, step) for each in labels]))
        for labels_slice, kept_slice in zip(labels, kept, strict=True):
            near = np.repeat(np.repeat(kept_slice, step, 0), step, 1)[: labels.shape[1], : labels.shape[2]]
            islands = (labels_slice == value) & ~near
            if islands.any():
                labels_slice[islands] = 0
                removed[value] = removed.get(value, 0) + int(islands.sum())
    return removed


def _count_in_blocks(mask: NDArray[np.bool_], step: int) -> NDArray[np.int64]:
    """Return how many pixels of a slice (H, W) lie in each block of step x step: none is lost, however thin."""
    rows, columns = mask.shape
    padded = np.pad(mask, ((0, -rows % step), (0, -columns % step)))
    counts: NDArray[np.int64] = padded.reshape(-(-rows // step), step, -(-columns // step), step).sum((1, 3))
    return counts


def _large_pieces(counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the blocks (S, H, W) of the pieces that are no islands, from the voxels in every block."""
    pieces, _ = connected_components(counts > 0, generate_binary_structure(3, 3))
    volumes = np.bincount(pieces.ravel(), weights=counts.ravel())
    large = volumes >= _LARGE_PIECE * volumes.max()
    large[0] = False
    kept: NDArray[np.bool_] = large[pieces]
    return kept
