"""Tests of the predictive entropy."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from uncol.inference.uncertainty import entropy_between_two, normalized_entropy


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        pytest.param([1.0, 0.0], 0.0, id="certain, with a probability of exactly 0"),
        pytest.param([0.5, 0.5], 1.0, id="two classes alike"),
        # (-1/4 ln 1/4 - 3/4 ln 3/4) / ln 2 = (0.25 * 2 + 0.75 * 0.415037) bits = 0.811278
        pytest.param([0.25, 0.75], 0.811278, id="one to three"),
        # ln 2 / ln 4 = 1/2
        pytest.param([0.5, 0.5, 0.0, 0.0], 0.5, id="two of four classes alike"),
        pytest.param([1 / 3, 1 / 3, 1 / 3], 1.0, id="three classes alike"),
    ],
)
def test_entropy_is_a_fraction_of_the_largest_possible(classes: list[float], expected: float) -> None:
    probabilities = torch.tensor(classes).reshape(1, -1, 1, 1)

    assert normalized_entropy(probabilities).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("spatial", [(), (2,), (2, 3), (2, 3, 4)])
def test_any_number_of_spatial_axes_keeps_its_shape(spatial: tuple[int, ...]) -> None:
    probabilities = torch.randn(2, 5, *spatial, generator=torch.Generator().manual_seed(0)).softmax(dim=1)

    entropy = normalized_entropy(probabilities)

    assert entropy.shape == (2, *spatial)
    assert entropy.min() >= 0
    assert entropy.max() <= 1


def test_each_voxel_has_its_own_entropy() -> None:
    # voxels in a row: certain, undecided
    probabilities = torch.tensor([[[1.0, 0.5]], [[0.0, 0.5]]]).reshape(1, 2, 1, 1, 2)

    assert normalized_entropy(probabilities).tolist() == [[[[0.0, 1.0]]]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_result_is_float32_whatever_comes_in(dtype: torch.dtype) -> None:
    entropy = normalized_entropy(torch.full((1, 3, 2), 1 / 3, dtype=dtype))

    assert entropy.dtype == torch.float32
    assert entropy.tolist() == [[pytest.approx(1.0, abs=2e-3)] * 2]
    assert entropy.max() <= 1


def test_sharper_logits_never_raise_the_entropy() -> None:
    logits = torch.randn(1, 4, 50, generator=torch.Generator().manual_seed(1))

    entropies = [normalized_entropy((logits * sharpness).softmax(dim=1)) for sharpness in (0.5, 1, 2, 1000)]

    assert all((sharp <= soft + 1e-6).all() for soft, sharp in pairwise(entropies))
    assert all(math.isfinite(value) for value in entropies[-1].flatten().tolist())


@pytest.mark.parametrize("shape", [(2, 1, 4), (2,)])
def test_fewer_than_two_classes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"at least 2 classes, got \(2,"):
        normalized_entropy(torch.ones(shape))


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        # -0.9 log2 0.9 - 0.1 log2 0.1, which is also the method's H / ln 2
        pytest.param([0.9, 0.1], 0.468996, id="two classes"),
        # H / ln 8 would be 1/3: certain enough for every threshold of the method
        pytest.param([0.5, 0.5, 0, 0, 0, 0, 0, 0], 1.0, id="torn between two of eight"),
        pytest.param([0.25, 0.25, 0.25, 0.25], 1.0, id="torn between more than two: no more than fully"),
    ],
)
def test_entropy_between_two_is_a_fraction_of_one_bit(classes: list[float], expected: float) -> None:
    entropy = entropy_between_two(torch.tensor(classes)[None, :, None])

    assert entropy.item() == pytest.approx(expected, abs=1e-6)
