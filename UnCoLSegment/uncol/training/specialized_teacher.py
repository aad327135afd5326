"""The specialized teacher: an exponential moving average of the student, and how reliable it is."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.cases import FramedCase, Pool, SliceIndex
from uncol.data.patch_dataset import PatchDataset, native_slice
from uncol.evaluation.metrics import dice
from uncol.inference.predict import predict, predict_volume


def make_specialized_teacher(student: nn.Module) -> nn.Module:
    """Return a frozen copy of the student in evaluation mode."""
    return deepcopy(student).eval().requires_grad_(False)


@torch.no_grad()
def update_specialized_teacher(teacher: nn.Module, student: nn.Module, step: int, ema_decay: float) -> None:
    """Move the teacher's weights towards the student's; buffers are copied.

    `teacher = a * teacher + (1 - a) * student` with `a = min(1 - 1/(step + 1), ema_decay)`, after
    every step of both stages (method, sections 4 and 7, rows 1 and 10).

    Args:
        teacher: Moving average, changed in place.
        student: Network being trained.
        step: Steps done, from 0: the first update copies the student.
        ema_decay: Weight of the old value.
    """
    decay = min(1 - 1 / (step + 1), ema_decay)
    for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
        old.mul_(decay).add_(new, alpha=1 - decay)
    for old_buffer, new_buffer in zip(teacher.buffers(), student.buffers(), strict=True):
        old_buffer.copy_(new_buffer)


def dice_on_held_out(
    teacher: nn.Module, pool: Pool, class_count: int, device: torch.device, classes: Tensor | None = None
) -> dict[int, float]:
    """Return a network's mean Dice on what stage 1 did not see, by class; classes in none of it are left out.

    Args:
        teacher: The network.
        pool: What it is scored on.
        class_count: Classes with background.
        device: Where to compute.
        classes: For each class of the network (N,) that of the pool; None where they are the same.
    """
    scores: dict[int, list[float]] = {}
    for address in pool.held_out:
        truth = pool.targets([address])
        found = predict(teacher, pool.inputs([address]), device).argmax(1)
        found = found if classes is None else classes[found]
        found[truth == UNKNOWN_LABEL] = 0  # also where the image is padded and the structure seems to go on
        for label in range(1, class_count):
            if (truth == label).any():
                scores.setdefault(label, []).append(dice((found == label).numpy(), (truth == label).numpy()))
    return {label: float(np.mean(scores[label])) for label in sorted(scores)}


class SpecializedSlices:
    """The specialized teacher's class probabilities of single slices; in 3D a whole volume is predicted and kept.

    Args:
        teacher: The moving average.
        pool: Slices or volumes in the student's frame.
        framed: The same cases with their own slices.
        device: Where to compute.
    """

    def __init__(self, teacher: nn.Module, pool: Pool, framed: Sequence[FramedCase], device: torch.device) -> None:
        self._teacher, self._pool, self._stacks, self._device = teacher, pool, framed, device
        self._case: int | None = None
        self._volume = torch.empty(0)

    def __call__(self, addresses: Sequence[SliceIndex]) -> Tensor:
        """Return class probabilities (B, C, H, W) in the student's frame."""
        if isinstance(self._pool, PatchDataset):
            return torch.stack([self._slice_of(each, self._pool) for each in addresses])
        return predict(self._teacher, self._pool.inputs(addresses), self._device)

    def _slice_of(self, address: SliceIndex, pool: PatchDataset) -> Tensor:
        if address.case != self._case:
            self._volume = predict_volume(self._teacher, pool.whole(address.case), pool.size, self._device)
            self._case = address.case
        depth, native_depth = self._volume.shape[1], len(self._stacks[address.case].native_labels)
        return self._volume[:, native_slice(address.index, native_depth, depth)]
