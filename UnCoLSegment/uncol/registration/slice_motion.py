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
_BLOCK = 16
"""Pairs of slices whose displacements are found, and kept, together."""
_BLOCKS_IN_MEMORY = 64
_IDENTITY = "symmetric demons, 20 iterations, smoothed by 1 pixel, float16"


class FieldStore(Protocol):
    """Keeps tensors by a content hash (SHA-256, hex)."""

    def find(self, key: str) -> Tensor | None:
        """Return the tensor with this key, or None."""

    def keep(self, key: str, embedding: Tensor) -> None:
        """Keep a tensor under its key."""


class SliceMotion:
    """The displacements between neighboring slices of one volume, found when they are asked for.

    Args:
        image: Gives slice 0 ... `count - 1` as float32 (h, w) in [0, 1].
        count: Number of slices, S.
        store: Where displacements are kept.
        threads: How many pairs are registered at once.
    """

    def __init__(
        self, image: Callable[[int], NDArray[np.float32]], count: int, store: FieldStore, threads: int
    ) -> None:
        self.image, self._count, self._store, self._threads = image, count, store, threads
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
        key = hashlib.sha256(repr((_IDENTITY, len(slices), slices[0].shape)).encode())
        for each in slices:
            key.update(np.ascontiguousarray(each).tobytes())
        found = self._store.find(key.hexdigest())
        if found is None:
            found = self._registered(slices)
            self._store.keep(key.hexdigest(), found)
        self._blocks[number] = found
        while len(self._blocks) > _BLOCKS_IN_MEMORY:
            self._blocks.popitem(last=False)
        return found

    def _registered(self, slices: list[NDArray[np.float32]]) -> Tensor:
        pairs = [(b, a) for a, b in pairwise(slices)]
        with ThreadPoolExecutor(self._threads) as pool:
            both = list(pool.map(lambda pair: (register(*pair), register(*pair[::-1])), pairs))
        return torch.from_numpy(np.array(both, dtype=np.float16))


def register(fixed: NDArray[np.float32], moving: NDArray[np.float32]) -> Field:
    """Return how far away in `moving` each pixel of `fixed` lies (2, h, w); both (h, w) in [0, 1]."""
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(_ITERATIONS)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(_SMOOTHING_PIXELS)
    demons.SetNumberOfThreads(1)
    images = (sitk.GetImageFromArray(each * _GREY_LEVELS) for each in (fixed, moving))
    columns_rows = sitk.GetArrayFromImage(demons.Execute(*images))
    field: Field = np.moveaxis(columns_rows, -1, 0)[::-1].astype(np.float32)
    return field


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
