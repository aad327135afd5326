"""Class probabilities of slices, patches and whole volumes: any size goes in, the same size comes out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from uncol.inference.predict import predict, predict_volume, window_count

CPU = torch.device("cpu")


class Threshold(nn.Module):
    """Logits (-x, x) of an image x, voxel by voxel; sides must be multiples of 16, as for the students."""

    def forward(self, images: Tensor) -> Tensor:
        assert all(size % 16 == 0 for size in images.shape[2:])
        return torch.cat([-images, images], 1)


@pytest.mark.parametrize("size", [(5, 7), (16, 32), (3, 5, 7)], ids=["slice", "whole multiple", "patch"])
def test_any_size_goes_in_and_the_same_size_comes_out(size: tuple[int, ...]):
    images = torch.randn(2, 1, *size)

    probabilities = predict(Threshold(), images, CPU)

    assert probabilities.shape == (2, 2, *size)
    torch.testing.assert_close(probabilities[:, 1], torch.sigmoid(2 * images[:, 0]))


@pytest.mark.parametrize("size", [(20, 16, 40), (3, 40, 16)], ids=["larger than a window", "partly smaller"])
def test_windows_of_a_network_without_context_give_what_the_whole_gives(size: tuple[int, int, int]):
    image = torch.randn(1, 1, *size)

    whole = predict_volume(Threshold(), image, (16, 16, 16), CPU, windows_at_once=2)

    assert whole.shape == (2, *size)
    torch.testing.assert_close(whole[1], torch.sigmoid(2 * image[0, 0]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "windows"),
    [
        pytest.param((16, 16, 16), 1, id="one window"),
        pytest.param((5, 16, 3), 1, id="smaller than one"),
        # Windows begin every 12 voxels: at 0, 12 and, for 40, 24: 1 + ceil(24 / 12) = 3; for 17: 1 + ceil(1 / 12) = 2.
        pytest.param((16, 40, 17), 6, id="several"),
    ],
)
def test_as_many_windows_are_predicted_as_are_told(size: tuple[int, int, int], windows: int):
    calls: list[int] = []

    predict_volume(Threshold(), torch.zeros(1, 1, *size), (16, 16, 16), CPU, before_windows=lambda: calls.append(1))

    assert window_count(size, (16, 16, 16)) == windows
    assert len(calls) == windows
