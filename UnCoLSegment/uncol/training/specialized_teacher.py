"""The specialized teacher: an exponential moving average of the student."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


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
