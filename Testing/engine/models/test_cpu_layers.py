"""The faster norm and dropout do what torch's do: the same numbers and gradients, the same distribution."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from uncol.models.cpu_layers import ChannelNorm, CpuDropout, with_cpu_layers

LAYOUTS = {
    "slices": ((3, 5, 6, 7), torch.contiguous_format),
    "slices, channels last": ((3, 5, 6, 7), torch.channels_last),
    "volumes": ((2, 5, 3, 4, 6), torch.contiguous_format),
    "volumes, channels last": ((2, 5, 3, 4, 6), torch.channels_last_3d),
    "one pixel wide": ((2, 5, 8, 1), torch.channels_last),
}


def norm_of(channels: int, dims: int) -> ChannelNorm:
    torch.manual_seed(0)
    norm = ChannelNorm((nn.InstanceNorm2d if dims == 2 else nn.InstanceNorm3d)(channels, affine=True))
    for each in norm.parameters():
        nn.init.normal_(each)
    return norm


def gradients(function: Callable[[Tensor], Tensor], features: Tensor, norm: nn.Module) -> tuple[Tensor, ...]:
    """Return the output, and the gradients of a sum of it with random weights for features and parameters."""
    output = function(features.requires_grad_())
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    return (output, *torch.autograd.grad((output * weights).sum(), (features, *norm.parameters())))


@pytest.mark.parametrize(("shape", "layout"), LAYOUTS.values(), ids=LAYOUTS)
def test_norm_and_its_gradients_are_those_of_instance_norm(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    norm = norm_of(shape[1], len(shape) - 2)
    features = (5 + 3 * torch.randn(shape)).to(memory_format=layout)

    ours = gradients(norm, features.clone(), norm)
    theirs = gradients(lambda each: functional.instance_norm(each, weight=norm.weight, bias=norm.bias), features, norm)

    for found, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert ours[0].is_contiguous(memory_format=layout)
    assert ours[1].is_contiguous(memory_format=layout)


def test_its_gradients_are_those_of_small_differences() -> None:
    norm = norm_of(2, 2).double()
    features = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(norm, (features,))


def test_norm_in_bfloat16_is_that_in_float32_within_rounding() -> None:
    norm = norm_of(4, 2)
    features = 5 + 3 * torch.randn(2, 4, 16, 16)

    rounded = norm(features.bfloat16())

    assert rounded.dtype is torch.bfloat16
    torch.testing.assert_close(rounded.float(), norm(features), atol=0.05, rtol=0.02)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("part", [0.1, 0.5])
def test_dropout_drops_a_part_anywhere_and_keeps_the_mean(part: float, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    features = torch.ones(4, 5, 99, 101).to(memory_format=layout).requires_grad_()

    kept = CpuDropout(part)(features)
    (gradient,) = torch.autograd.grad(kept.sum(), features)

    assert kept.unique().tolist() == pytest.approx([0.0, 1 / (1 - part)])
    dropped = (kept == 0).float()  # 200,000 values: five deviations are 0.0034 and 0.0056
    assert float(dropped.mean()) == pytest.approx(part, abs=0.006)
    assert dropped.mean((0, 2, 3)).tolist() == pytest.approx([part] * 5, abs=0.02)
    rows = dropped.mean((0, 1, 3))
    assert rows.tolist() == pytest.approx([part] * 99, abs=0.06)
    neighbors = float((dropped[..., 1:] * dropped[..., :-1]).mean())
    assert neighbors == pytest.approx(part**2, abs=0.006)  # one says nothing of the next
    assert torch.equal(gradient, kept.detach())
    assert kept.is_contiguous(memory_format=layout)


def test_dropout_follows_the_seed_and_rests_outside_training() -> None:
    features, dropout = torch.rand(2, 3, 5, 7), CpuDropout(0.3)

    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(dropout(features))

    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(dropout.eval()(features), features)
    assert torch.equal(CpuDropout(0.0)(features), features)


def test_a_network_keeps_its_weights_and_gets_the_faster_layers() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Sequential(nn.InstanceNorm2d(3, affine=True), nn.Dropout(0.25)))
    before = deepcopy(network.state_dict())

    with_cpu_layers(network)

    assert isinstance(network[1][0], ChannelNorm)
    assert isinstance(network[1][1], CpuDropout)
    assert network[1][1].p == 0.25
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
