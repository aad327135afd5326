"""What a run needs to ask the generalized teacher slice by slice: a watch, and masks to prompt with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from uncol.data.cases import Pool, SliceAddress, SliceStack
from uncol.data.patch_dataset import VolumePool, native_slice
from uncol.inference.predict import predict, predict_volume


class SliceWatch:
    """Called before every slice that the generalized teacher is asked about (`foundation.label_propagation.Watch`).

    Args:
        check: Told the phase and the part of it that is done; raises to stop.
        phase: What is being asked, in the user's words.
        calls: How many calls are expected.
        limit_s: Time for all of them; None takes as long as it takes.
    """

    def __init__(self, check: Callable[[str, float], None], phase: str, calls: int, limit_s: float | None) -> None:
        self._check, self._phase, self._calls, self._limit_s = check, phase, calls, limit_s
        self._started = self._last = time.monotonic()
        self._pauses: list[float] = []

    def __call__(self) -> None:
        """Tell the progress, and stop when asked."""
        now = time.monotonic()
        self._pauses.append(now - self._last)
        self._last = now
        self._check(self._phase, min(1.0, len(self._pauses) / max(1, self._calls)))

    @property
    def time_is_up(self) -> bool:
        """Whether the limit has passed."""
        return self._limit_s is not None and self.elapsed_s > self._limit_s

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first question."""
        return time.monotonic() - self._started

    def pause_s(self, part: float) -> float:
        """Return the time in s below which a part of the calls, in [0, 1], took; 0 before the first."""
        return float(np.quantile(self._pauses, part)) if self._pauses else 0.0


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
