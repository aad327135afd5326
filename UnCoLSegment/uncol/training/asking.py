"""What the generalized teacher is prompted with: the specialized teacher's masks, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uncol.data.cases import Pool, SliceAddress, SliceStack
from uncol.data.patch_dataset import VolumePool, native_slice
from uncol.inference.predict import predict, predict_volume


class SpecializedSlices:
    """The specialized teacher's class probabilities of single slices; in 3D a whole volume is predicted and kept.

    Args:
        teacher: The moving average.
        pool: Slices or volumes in the student's frame.
        stacks: The same cases with their own slices.
        device: Where to compute.
    """

    def __init__(self, teacher: nn.Module, pool: Pool, stacks: Sequence[SliceStack], device: torch.device) -> None:
        self._teacher, self._pool, self._stacks, self._device = teacher, pool, stacks, device
        self._case: int | None = None
        self._volume = torch.empty(0)

    def __call__(self, addresses: Sequence[SliceAddress]) -> Tensor:
        """Return class probabilities (B, C, H, W) in the student's frame."""
        if isinstance(self._pool, VolumePool):
            return torch.stack([self._slice_of(each, self._pool) for each in addresses])
        return predict(self._teacher, self._pool.inputs(addresses), self._device)

    def _slice_of(self, address: SliceAddress, pool: VolumePool) -> Tensor:
        if address.case != self._case:
            self._volume = predict_volume(self._teacher, pool.whole(address.case), pool.size, self._device)
            self._case = address.case
        depth, native_depth = self._volume.shape[1], len(self._stacks[address.case].native_labels)
        return self._volume[:, native_slice(address.index, native_depth, depth)]
