"""A network's class probabilities for slices, for patches, and for whole volumes window by window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from uncol.data.transforms import pad_to_multiple
from uncol.models.devices import autocast
from uncol.models.unet import SIZE_MULTIPLE

_OVERLAP = 0.25
"""Part of a window's side that neighboring windows share; their middle counts more than their edge."""


def memory_format(dims: int) -> torch.memory_format:
    """Return the memory layout in which networks over slices (2) or volumes (3) compute fastest."""
    return torch.channels_last if dims == 2 else torch.channels_last_3d


@torch.no_grad()
def predict(student: nn.Module, slices: Tensor, device: torch.device) -> Tensor:
    """Return class probabilities (B, C, H, W), float32 on the CPU, for slices (B, neighbors, H, W) of any size.

    Patches of volumes (B, 1, D, H, W) give (B, C, D, H, W).
    """
    padded = pad_to_multiple(slices, SIZE_MULTIPLE).to(device, memory_format=memory_format(slices.ndim - 2))
    with autocast(device):
        logits = student(padded)
    inside = (..., *(slice(size) for size in slices.shape[2:]))
    return logits[inside].float().softmax(1).cpu()


def predict_volume(
    student: nn.Module,
    image: Tensor,
    patch: Sequence[int],
    device: torch.device,
    *,
    windows_at_once: int = 1,
    before_windows: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return class probabilities (C, D, H, W), float32 on the CPU, of a volume (1, 1, D, H, W) of any size.

    Args:
        student: A 3D network.
        image: Grey values in [0, 1].
        patch: Slices, rows and columns of a window.
        device: Where to compute.
        windows_at_once: How many windows are predicted together.
        before_windows: Called before each of these predictions, to tell progress and to stop.
    """

    def predict_windows(windows: Tensor) -> Tensor:
        before_windows()
        return predict(student, windows, device)

    windows = sliding_window_inference(
        image,
        tuple(patch),
        windows_at_once,
        predict_windows,
        overlap=_OVERLAP,
        mode="gaussian",
        padding_mode="replicate",
    )
    assert isinstance(windows, Tensor)  # one output of one network
    probabilities = windows[0]
    return probabilities / probabilities.sum(0, keepdim=True)


def window_count(size: Sequence[int], patch: Sequence[int]) -> int:
    """Return how many windows of a patch's size cover a volume."""
    return math.prod(
        1 if whole <= part else 1 + math.ceil((whole - part) / int(part * (1 - _OVERLAP)))
        for whole, part in zip(size, patch, strict=True)
    )
