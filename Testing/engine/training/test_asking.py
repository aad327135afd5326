"""The watch over the foundation model's answers, and the specialized teacher's masks slice by slice."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from uncol.training.asking import SpecializedSlices

from uncol.core.volume import UNKNOWN_LABEL, SliceView
from uncol.data.cases import SliceAddress, SliceStack
from uncol.data.patch_dataset import VolumePool

VIEW = SliceView("axial", (0, 1, 2), (False, False, False), (2.0, 1.0, 1.0))


class CountingNetwork(nn.Module):
    """Says structure 1 where the image is above one half, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return torch.cat([0.5 - images, images - 0.5], 1) * 100


def pool_with_two_volumes() -> tuple[VolumePool, list[SliceStack]]:
    """Volumes of 16 slices from 32 of the image; the upper half is bright, in the second one the lower half."""
    images = torch.zeros(16, 16, 16)
    images[8:] = 1
    native = np.full((32, 16, 16), UNKNOWN_LABEL, dtype=np.uint8)
    native[0] = 1
    labels = torch.from_numpy(native[::2].copy())
    stacks = [SliceStack(VIEW, each, labels, native) for each in (images, 1 - images)]
    return VolumePool(stacks, 2, (16, 16, 16)), stacks


def test_a_slice_of_a_volume_is_the_nearest_one_that_was_predicted():
    pool, stacks = pool_with_two_volumes()
    specialized = SpecializedSlices(CountingNetwork(), pool, stacks, torch.device("cpu"))

    first, last = specialized([SliceAddress(0, 15), SliceAddress(0, 16)])

    assert first.shape == (2, 16, 16)
    assert (first.argmax(0) == 0).all()
    assert (last.argmax(0) == 1).all()


def test_a_volume_is_predicted_once_for_all_its_slices():
    pool, stacks = pool_with_two_volumes()
    network = CountingNetwork()
    specialized = SpecializedSlices(network, pool, stacks, torch.device("cpu"))

    for case, index in [(0, 1), (0, 2), (0, 30), (1, 1), (1, 2)]:
        specialized([SliceAddress(case, index)])

    assert network.calls == 2
