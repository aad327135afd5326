"""How what the image shows moves from slice to slice: a displacement for every pixel, between all neighbors, both ways.

Source:
    Vercauteren, Pennec, Perchant & Ayache, "Diffeomorphic demons: efficient non-parametric image registration",
    NeuroImage 45(1), 2009, doi:10.1016/j.neuroimage.2008.10.040 (symmetric forces); the filter is ITK's.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Protocol

import numpy as np
import SimpleITK as sitk  # noqa: N813  # as everybody calls it
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Image = NDArray[np.float32]
Field = NDArray[np.float32]
"""Rows and columns (2, h, w), in pixels."""

_ITERATIONS = 20
_SMOOTHING_PIXELS = 1.0
_GREY_LEVELS = 255.0
"""Demons weigh grey value differences against displacements in pixels: images are scaled to this range."""
_BLOCK = 8
"""Pairs of slices whose displacements are found, and kept, together."""
_BLOCKS_IN_MEMORY = 16
_IDENTITY = "symmetric demons, 20 iterations, smoothed by 1 pixel, float16"
_LEAST_HALVED = 16
"""Slices of fewer pixels are not halved."""


class FieldStore(Protocol):
    """Keeps tensors by a content hash (SHA-256, hex)."""

    def find(self, key: str, shape: tuple[int, ...]) -> Tensor | None:
        """Return the tensor with this key, float16, or None; one of another shape is none."""

    def keep(self, key: str, embedding: Tensor) -> None:
        """Keep a tensor under its key."""


class SliceMotion:
    """The displacements between neighboring slices of one volume, found when they are asked for.

    Args:
        image: Gives slice 0 ... `count - 1` as float32 (h, w) in [0, 1].
        count: Number of slices, S.
        store: Where displacements are kept.
        threads: How many pairs are registered at once.
        is_coarse_first: Whether half the resolution is registered first: larger steps are found, fine ones less well.
    """

    def __init__(
        self,
        image: Callable[[int], Image],
        count: int,
        store: FieldStore,
        threads: int,
        *,
        is_coarse_first: bool = False,
    ) -> None:
        self.image, self._count, self._store, self._threads = image, count, store, threads
        self._is_coarse_first = is_coarse_first
        self._blocks: OrderedDict[int, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def follow(self, start: int, stop: int) -> Iterator[tuple[int, Field]]:
        """Yield slice after slice from the neighbor of `start` to `stop`, either way, with where it came from.

        Yields:
            The slice, and for each of its pixels the place (2, h, w) in slice `start` that it shows: rows, columns.
        """
        step = 1 if stop > start else -1
        place = _grid(self.image(start).shape)
        for index in range(start + step, stop + step, step):
            place = warp(place, _grid(place.shape[1:]) + self._displacement(index, index - step))
            yield index, place

    def _displacement(self, index: int, neighbor: int) -> Field:
        """Return how far away in `neighbor` each pixel of slice `index` lies."""
        pair, way = min(index, neighbor), int(index < neighbor)
        number, place = divmod(pair, _BLOCK)
        field: Field = self._block(number)[place, way].float().numpy()
        return field

    def _block(self, number: int) -> Tensor:
        """Return the displacements (pairs, 2 ways, 2, h, w), float16: from each upper slice to the lower, and back."""
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        first = number * _BLOCK
        slices = [self.image(index) for index in range(first, min(first + _BLOCK + 1, self._count))]
        key = hashlib.sha256(repr((_IDENTITY, self._is_coarse_first, len(slices), slices[0].shape)).encode())
        for each in slices:
            key.update(np.ascontiguousarray(each).tobytes())
        found = self._store.find(key.hexdigest(), (len(slices) - 1, 2, 2, *slices[0].shape))
        if found is None:
            found = self._registered(slices)
            self._store.keep(key.hexdigest(), found)
        self._blocks[number] = found
        while len(self._blocks) > _BLOCKS_IN_MEMORY:
            self._blocks.popitem(last=False)
        return found

    def _registered(self, slices: list[NDArray[np.float32]]) -> Tensor:
        def both_ways(pair: tuple[Image, Image]) -> tuple[Field, Field]:
            lower, upper = pair
            return tuple(  # type: ignore[return-value]  # two
                register(*each, is_coarse_first=self._is_coarse_first) for each in ((upper, lower), (lower, upper))
            )

        with ThreadPoolExecutor(self._threads) as pool:
            return torch.from_numpy(np.array(list(pool.map(both_ways, pairwise(slices))), dtype=np.float16))


def register(fixed: Image, moving: Image, *, is_coarse_first: bool = False) -> Field:
    """Return how far away in `moving` each pixel of `fixed` lies (2, h, w); both (h, w) in [0, 1].

    Args:
        fixed: One slice.
        moving: Its neighbor.
        is_coarse_first: Whether to start from what is found at half the resolution.
    """
    start = None
    if is_coarse_first and min(fixed.shape) >= _LEAST_HALVED:
        start = _doubled(_demons(*(_halved(each) for each in (fixed, moving))), fixed.shape)
    return _demons(fixed, moving, start)


def _demons(fixed: Image, moving: Image, start: Field | None = None) -> Field:
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(_ITERATIONS)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(_SMOOTHING_PIXELS)
    demons.SetNumberOfThreads(1)
    inputs = [sitk.GetImageFromArray(each * _GREY_LEVELS) for each in (fixed, moving)]
    if start is not None:
        columns_rows = np.moveaxis(start[::-1], 0, -1).astype(np.float64)
        inputs.append(sitk.GetImageFromArray(columns_rows, isVector=True))
    found: Field = np.moveaxis(sitk.GetArrayFromImage(demons.Execute(*inputs)), -1, 0)[::-1].astype(np.float32)
    return found


def _halved(image: Image) -> Image:
    """Return the means of 2 x 2 pixels; an odd row or column at the end is left out."""
    halved: Image = functional.avg_pool2d(torch.from_numpy(image)[None], 2)[0].numpy()
    return halved


def _doubled(field: Field, shape: tuple[int, ...]) -> Field:
    """Return displacements between halved slices as those between slices of a shape."""
    rows, columns = (
        np.minimum(np.arange(size) // 2, half - 1) for size, half in zip(shape, field.shape[1:], strict=True)
    )
    doubled: Field = 2 * field[:, rows[:, None], columns]
    return doubled


def warp(maps: NDArray[np.float32], place: Field) -> NDArray[np.float32]:
    """Return maps (C, h, w) at places (2, h, w), linearly between pixels; beyond the edge goes on what is there."""
    sizes = torch.tensor(place.shape[1:]).flip(0)
    columns_rows = torch.from_numpy(place).flip(0).movedim(0, -1)
    relative = columns_rows / (sizes - 1).clamp_min(1) * 2 - 1
    found: NDArray[np.float32] = functional.grid_sample(
        torch.from_numpy(maps)[None], relative[None], mode="bilinear", padding_mode="border", align_corners=True
    )[0].numpy()
    return found


def _grid(shape: tuple[int, ...]) -> Field:
    return np.indices(shape, dtype=np.float32)
